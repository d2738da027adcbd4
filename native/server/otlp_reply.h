// Answers of the OTLP receivers: the export response, and errors as gRPC statuses, HTTP statuses
// and google.rpc.Status messages. Pure functions.
//
// Retryable errors (kExhausted, kUnavailable) carry how long to wait: google.rpc.RetryInfo in the
// status details, Retry-After over HTTP. Without it OTLP clients must not retry RESOURCE_EXHAUSTED.
// Source: opentelemetry.io/docs/specs/otlp, google/rpc/{status,error_details}.proto.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "store/ingest.h"
#include "wire/otlp_fields.h"

namespace nuages::server {

enum class GrpcStatus {
  kOk = 0,
  kInvalidArgument = 3,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

inline constexpr int kRetryAfterSeconds = 1;

GrpcStatus grpc_status(ErrorCode code);
int http_status(ErrorCode code);
bool retryable(ErrorCode code);

// Export{Trace,Logs,Metrics}ServiceResponse: the same bytes for all; empty when nothing was
// rejected.
std::string export_response(const store::Accepted& accepted);
// The same in OTLP/JSON, where the count's name tells the signal.
std::string export_response_json(const store::Accepted& accepted, wire::Signal signal);
// google.rpc.Status, with RetryInfo when `retry` is set.
std::string rpc_status(GrpcStatus code, std::string_view message, bool retry);
std::string rpc_status_json(GrpcStatus code, std::string_view message);

// For the grpc-message and grpc-status-details-bin trailers.
std::string percent_encode(std::string_view text);
std::string base64(std::string_view bytes);

}  // namespace nuages::server
