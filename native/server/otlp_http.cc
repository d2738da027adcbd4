#include "server/otlp_http.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/otlp_reply.h"
#include "wire/otlp_json.h"

namespace nuages::server {
namespace {

constexpr char kProtobuf[] = "application/x-protobuf";
constexpr char kJson[] = "application/json";

// The media type alone, in lower case.
std::string media_type(std::string_view type) {
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  std::string out(type);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::optional<wire::Signal> signal_at(std::string_view path) {
  if (path == "/v1/traces") return wire::Signal::kTraces;
  if (path == "/v1/logs") return wire::Signal::kLogs;
  if (path == "/v1/metrics") return wire::Signal::kMetrics;
  return std::nullopt;
}

GrpcStatus grpc_status_of_http(int status) {
  switch (status) {
    case 401:
      return GrpcStatus::kUnauthenticated;
    case 403:
      return GrpcStatus::kPermissionDenied;
    case 404:
      return GrpcStatus::kNotFound;
    case 405:
    case 501:
      return GrpcStatus::kUnimplemented;
    case 429:
      return GrpcStatus::kResourceExhausted;
    case 503:
      return GrpcStatus::kUnavailable;
    case 500:
      return GrpcStatus::kInternal;
    default:
      return GrpcStatus::kInvalidArgument;
  }
}

}  // namespace

Response OtlpHttp::error(int status, const std::string& message,
                         std::string_view request_type) const {
  Response response;
  response.status = status;
  const bool retry = status == 429 || status == 503;
  if (media_type(request_type) == kJson) {
    response.content_type = kJson;
    response.body = rpc_status_json(grpc_status_of_http(status), message);
  } else {
    response.content_type = kProtobuf;
    response.body = rpc_status(grpc_status_of_http(status), message, retry);
  }
  if (retry) response.headers.emplace_back("Retry-After", std::to_string(kRetryAfterSeconds));
  return response;
}

void OtlpHttp::handle(Request request, Done done) {
  const std::string type = media_type(request.headers["content-type"]);
  const auto signal = signal_at(request.path);
  if (!signal) {
    return done(error(404,
                      "unknown path " + request.path +
                          "; OTLP goes to /v1/traces, /v1/logs and /v1/metrics, the web UI has its "
                          "own port",
                      type));
  }
  if (request.method != "POST") {
    Response response = error(405, "method " + request.method + " is not POST", type);
    response.headers.emplace_back("Allow", "POST");
    return done(std::move(response));
  }
  auto key = intake_.admit(request.headers["authorization"], request.headers["x-api-key"]);
  if (!key.ok()) {
    const bool denied = key.error().code == ErrorCode::kDenied;
    return done(error(denied ? 401 : 429, key.error().message, type));
  }
  const bool json = type == kJson;
  if (!json && type != kProtobuf && type != "application/protobuf") {
    return done(error(415,
                      "content-type \"" + type +
                          "\" is not supported: send application/x-protobuf or application/json",
                      type));
  }
  if (json) {
    Result<std::string> body = wire::otlp_json_to_protobuf(request.body, *signal, max_body_bytes_);
    if (!body.ok()) {
      (*key)->count(body.error());
      const bool large = body.error().code == ErrorCode::kExhausted;
      return done(error(large ? 413 : 400, body.error().message, type));
    }
    request.body = std::move(body).value();
  }
  intake_.accept(*signal, std::move(request.body), *key,
                 [this, json, signal = *signal, type,
                  done = std::move(done)](const Result<store::Accepted>& result) {
                   if (!result.ok()) {
                     const Error& failure = result.error();
                     return done(error(http_status(failure.code), failure.message, type));
                   }
                   Response response;
                   response.content_type = json ? kJson : kProtobuf;
                   response.body =
                       json ? export_response_json(*result, signal) : export_response(*result);
                   done(std::move(response));
                 });
}

}  // namespace nuages::server
