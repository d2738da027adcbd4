#include "server/otlp_http.h"

#include <string>
#include <string_view>
#include <utility>

#include "server/otlp_reply.h"

namespace nuages::server {
namespace {

constexpr char kProtobuf[] = "application/x-protobuf";

GrpcStatus grpc_status_of_http(int status) {
  switch (status) {
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

Response OtlpHttp::error(int status, const std::string& message) const {
  Response response;
  response.status = status;
  response.content_type = kProtobuf;
  const bool retry = status == 429 || status == 503;
  response.body = rpc_status(grpc_status_of_http(status), message, retry);
  if (retry) response.headers.emplace_back("Retry-After", std::to_string(kRetryAfterSeconds));
  return response;
}

void OtlpHttp::handle(Request request, Done done) {
  if (request.path == "/v1/metrics" || request.path == "/v1/logs") {
    return done(error(404, "this server takes traces only: " + request.path +
                               " is not implemented; set the exporter of that signal to none"));
  }
  if (request.path != "/v1/traces") {
    return done(error(404, "unknown path " + request.path +
                               "; traces go to /v1/traces, the web UI has its own port"));
  }
  if (request.method != "POST") {
    Response response = error(405, "method " + request.method + " is not POST");
    response.headers.emplace_back("Allow", "POST");
    return done(std::move(response));
  }
  std::string_view type = request.headers["content-type"];
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (type != kProtobuf && type != "application/protobuf") {
    return done(error(415, "content-type \"" + std::string(type) +
                               "\" is not supported: send application/x-protobuf "
                               "(OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)"));
  }
  ingest_.accept(std::move(request.body),
                 [this, done = std::move(done)](const Result<store::Accepted>& result) {
                   if (!result.ok())
                     return done(error(http_status(result.error().code), result.error().message));
                   Response response;
                   response.content_type = kProtobuf;
                   response.body = export_response(*result);
                   done(std::move(response));
                 });
}

}  // namespace nuages::server
