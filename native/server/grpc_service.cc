#include "server/grpc_service.h"

#include <string>
#include <string_view>

#include "server/gunzip.h"

namespace nuages::server {
namespace {

constexpr std::string_view kTraceExport =
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr std::string_view kCollector = "/opentelemetry.proto.collector.";
constexpr std::string_view kHealthCheck = "/grpc.health.v1.Health/Check";
constexpr std::string_view kServing("\x08\x01", 2);  // HealthCheckResponse{status: SERVING}

}  // namespace

Result<std::string> GrpcService::body_of(GrpcCall& call) const {
  if (call.encoding.empty()) return std::move(call.message);
  return decompress(call.message, call.encoding == "gzip" ? Compression::kGzip : Compression::kZlib,
                    max_message_bytes_);
}

void GrpcService::handle(GrpcCall call, const GrpcOptions::Done& done) {
  if (call.path == kHealthCheck) {
    return done({GrpcStatus::kOk, "", false, std::string(kServing)});
  }
  if (call.path != kTraceExport) {
    const bool other_signal = call.path.starts_with(kCollector) && call.path.ends_with("/Export");
    return done({GrpcStatus::kUnimplemented,
                 other_signal ? "this server takes traces only: " + call.path +
                                    " is not implemented; set the exporter of that signal to none"
                              : "unknown method " + call.path,
                 false, ""});
  }
  if (!call.encoding.empty() && call.encoding != "gzip" && call.encoding != "deflate") {
    return done({GrpcStatus::kUnimplemented,
                 "grpc-encoding " + call.encoding + " is not supported; use gzip or none", false,
                 ""});
  }
  Result<std::string> body = body_of(call);
  if (!body.ok()) {
    // The same message will not fit later either, so no RetryInfo.
    return done({grpc_status(body.error().code), body.error().message, false, ""});
  }
  ingest_.accept(std::move(body).value(), [done](const Result<store::Accepted>& result) {
    if (!result.ok()) {
      const Error& error = result.error();
      return done({grpc_status(error.code), error.message, retryable(error.code), ""});
    }
    done({GrpcStatus::kOk, "", false, export_response(*result)});
  });
}

}  // namespace nuages::server
