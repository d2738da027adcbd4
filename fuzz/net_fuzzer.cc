// What comes from outside into the OTLP client: answers (headers, trailers, RetryInfo, partial
// success, error pages), a stranger's first bytes, and endpoints as people write them. The first
// byte chooses; nothing may crash, and messages stay short and printable.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/otlp_client.h"
#include "net/otlp_response.h"
#include "net/peer_probe.h"

namespace {

using nuages::net::OtlpClientConfig;
using nuages::net::Protocol;

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const nuages::net::SendResult& result) {
  require(result.message.size() < 4096);
  for (const char c : result.message) require(static_cast<unsigned char>(c) >= 0x20);
}

void endpoint(std::string_view text, Protocol protocol) {
  OtlpClientConfig config;
  config.endpoint = text;
  config.protocol = protocol;
  const auto parsed = nuages::net::parse_endpoint(config);
  if (parsed.ok()) require(parsed->url.starts_with(parsed->tls ? "https://" : "http://"));
}

// Lines up to an empty one are headers, the rest is the body.
void answer(std::string_view text, bool grpc, int status) {
  static const nuages::net::Endpoint kEndpoint{"http://host:4317/x", "", "host", 4317, false, ""};
  nuages::net::Response response;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) break;
    response.add_header(line);
  }
  response.body = text;
  nuages::net::SendResult result;
  if (grpc) {
    judge_grpc(response, status, kEndpoint, result);
  } else {
    judge_http(response, status, kEndpoint, result);
  }
  check(result);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 6) {
    case 0:
      endpoint(text, Protocol::kGrpc);
      break;
    case 1:
      endpoint(text, Protocol::kHttpProtobuf);
      break;
    case 2:
      answer(text, true, 200);
      break;
    case 3:
      answer(text, true, 503);
      break;
    case 4:
      answer(text, false, data[0] < 128 ? 200 : 429);
      break;
    default:
      nuages::net::peer_from_answer(text);
      break;
  }
  return 0;
}
