#include <algorithm>
#include <cctype>
#include <charconv>
#include <string>
#include <string_view>

#include "net/otlp_client.h"

namespace nuages::net {
namespace {

constexpr std::string_view kGrpcPath =
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr std::string_view kHttpPath = "v1/traces";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool loopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool secret_name(std::string_view header) {
  const std::string name = lower(header);
  return name.find("auth") != std::string::npos || name.find("key") != std::string::npos ||
         name.find("token") != std::string::npos;
}

Error invalid(std::string_view endpoint, std::string_view why) {
  return {ErrorCode::kInvalid, "OTLP endpoint \"" + std::string(endpoint) + "\" " +
                                   std::string(why) +
                                   "; write it as http://host:4317 or https://host:4317"};
}

}  // namespace

Result<Endpoint> parse_endpoint(const OtlpClientConfig& config) {
  const std::string_view text = trim(config.endpoint);
  const bool grpc = config.protocol == Protocol::kGrpc;
  if (text.empty()) return invalid(text, "is empty");

  std::string_view rest = text;
  bool has_scheme = false;
  Endpoint endpoint;
  endpoint.tls = !config.insecure;
  if (const size_t colon = text.find("://"); colon != std::string_view::npos) {
    const std::string scheme = lower(text.substr(0, colon));
    if (scheme != "http" && scheme != "https") {
      return invalid(text, "has the scheme \"" + scheme + "\", which is neither http nor https");
    }
    has_scheme = true;
    endpoint.tls = scheme == "https";
    rest.remove_prefix(colon + 3);
  }

  const size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  std::string path(slash == std::string_view::npos ? std::string_view() : rest.substr(slash));
  if (authority.find('@') != std::string_view::npos) {
    // Without the text: it may hold a password.
    return Error{ErrorCode::kInvalid,
                 "the OTLP endpoint holds a user name; pass credentials as a header instead"};
  }

  std::string_view host = authority;
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return invalid(text, "has no ] behind its IPv6 address");
    host = authority.substr(1, close - 1);
    const std::string_view behind = authority.substr(close + 1);
    if (!behind.empty() && behind[0] != ':')
      return invalid(text, "has text between ] and the port");
    if (!behind.empty()) port = behind.substr(1);
  } else if (std::count(authority.begin(), authority.end(), ':') == 1) {
    host = authority.substr(0, authority.find(':'));
    port = authority.substr(authority.find(':') + 1);
  }  // more colons: an IPv6 address without brackets and port
  if (host.empty()) return invalid(text, "names no host");
  if (!std::all_of(host.begin(), host.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == ':' || c == '%' ||
               c >= 0x80;
      })) {
    return invalid(text, "has a character in its host that no host name has");
  }

  unsigned number = 0;
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
      return invalid(text, "has the port \"" + std::string(port) + "\", which is not 1 to 65535");
    }
  } else if (grpc) {
    number = endpoint.tls && has_scheme ? 443 : 4317;
  } else if (!has_scheme) {
    number = 4318;
  }

  const bool ipv6 = host.find(':') != std::string_view::npos;
  endpoint.url = endpoint.tls ? "https://" : "http://";
  endpoint.url += ipv6 ? "[" + std::string(host) + "]" : std::string(host);
  if (number != 0) endpoint.url += ":" + std::to_string(number);
  if (grpc) {
    endpoint.url += kGrpcPath;
  } else if (config.endpoint_is_final) {
    endpoint.url += path.empty() ? "/" : path;
  } else {
    endpoint.url += path.empty() ? "/" : path;
    if (!endpoint.url.ends_with('/')) endpoint.url += '/';
    endpoint.url += kHttpPath;
  }

  const auto warn = [&endpoint](const std::string& sentence) {
    if (!endpoint.warning.empty()) endpoint.warning += "; ";
    endpoint.warning += sentence;
  };
  if (grpc && number == 4318) {
    warn("OTLP endpoint \"" + std::string(text) +
         "\" names port 4318, where OTLP/HTTP usually listens, but the protocol is gRPC: use port "
         "4317 or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf");
  } else if (!grpc && number == 4317) {
    warn("OTLP endpoint \"" + std::string(text) +
         "\" names port 4317, where OTLP/gRPC usually listens, but the protocol is http/protobuf: "
         "use port 4318 or OTEL_EXPORTER_OTLP_PROTOCOL=grpc");
  }
  if (has_scheme && config.insecure && endpoint.tls) {
    warn("insecure=True is ignored: the endpoint says https");
  }
  if (!endpoint.tls && !loopback(host)) {
    const auto secret = std::find_if(config.headers.begin(), config.headers.end(),
                                     [](const auto& header) { return secret_name(header.first); });
    if (secret != config.headers.end()) {
      warn("the header \"" + secret->first + "\" travels unencrypted to " + std::string(host) +
           ": use an https endpoint");
    }
  }
  return endpoint;
}

}  // namespace nuages::net
