#include "server/grpc_service.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/decompress.h"
#include "wire/protobuf_reader.h"

namespace nuages::server {
namespace {

constexpr std::string_view kServices[wire::kSignals] = {
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
};
constexpr std::string_view kHealthCheck = "/grpc.health.v1.Health/Check";
constexpr std::string_view kServing("\x08\x01", 2);  // HealthCheckResponse{status: SERVING}

std::optional<wire::Signal> signal_of(std::string_view path) {
  for (size_t i = 0; i < wire::kSignals; ++i) {
    if (path.starts_with('/') && path.substr(1).starts_with(kServices[i]) &&
        path.substr(1 + kServices[i].size()) == "/Export") {
      return static_cast<wire::Signal>(i);
    }
  }
  return std::nullopt;
}

// HealthCheckRequest{service}: empty stands for the whole server.
GrpcReply check_health(std::string_view request) {
  std::string_view service;
  wire::ProtobufReader reader(request);
  while (reader.next()) {
    if (reader.is(1, wire::WireType::kLength)) {
      service = reader.bytes();
    } else {
      reader.skip();
    }
  }
  if (!reader.ok() || !wire::valid_utf8(service)) {
    return {GrpcStatus::kInvalidArgument, "the message is not a valid HealthCheckRequest", false,
            ""};
  }
  bool known = service.empty();
  for (const std::string_view name : kServices) known |= service == name;
  if (!known) {
    return {GrpcStatus::kNotFound, "unknown service " + std::string(service), false, ""};
  }
  return {GrpcStatus::kOk, "", false, std::string(kServing)};
}

}  // namespace

Result<std::string> GrpcService::body_of(GrpcCall& call) const {
  if (call.encoding.empty()) return std::move(call.message);
  if (const auto kind = compression_named(call.encoding)) {
    return decompress(call.message, *kind, max_message_bytes_);
  }
  return Error{ErrorCode::kInvalid, "unknown encoding " + call.encoding};
}

void GrpcService::handle(GrpcCall call, const GrpcOptions::Done& done) {
  const auto signal = signal_of(call.path);
  if (!signal && call.path != kHealthCheck) {
    return done({GrpcStatus::kUnimplemented, "unknown method " + call.path, false, ""});
  }
  if (!call.encoding.empty() && !compression_named(call.encoding)) {
    return done(
        {GrpcStatus::kUnimplemented,
         "grpc-encoding " + call.encoding + " is not supported; use gzip, deflate, zstd or none",
         false, ""});
  }
  std::shared_ptr<KeyUse> key;
  if (signal) {
    auto admitted = intake_.admit(call.authorization, call.api_key);
    if (!admitted.ok()) {
      const bool denied = admitted.error().code == ErrorCode::kDenied;
      return done({denied ? GrpcStatus::kUnauthenticated : GrpcStatus::kResourceExhausted,
                   admitted.error().message, !denied, ""});
    }
    key = std::move(admitted).value();
  }
  Result<std::string> body = body_of(call);
  if (!body.ok()) {
    if (key != nullptr) key->count(body.error());
    // The same message will not fit later either, so no RetryInfo.
    return done({grpc_status(body.error().code), body.error().message, false, ""});
  }
  if (!signal) return done(check_health(*body));
  intake_.accept(
      *signal, std::move(body).value(), std::move(key),
      [done](const Result<store::Accepted>& result) {
        if (!result.ok()) {
          const Error& error = result.error();
          return done({grpc_status(error.code), error.message, retryable(error.code), ""});
        }
        done({GrpcStatus::kOk, "", false, export_response(*result)});
      });
}

}  // namespace nuages::server
