// gRPC's own bytes, apart from HTTP/2: message frames, status codes, status details.
//
// A message is one flag byte (1: compressed), a 4-byte big-endian length and the body. Pure
// functions, any thread.
// Source: grpc/grpc doc/PROTOCOL-HTTP2.md, doc/http-grpc-status-mapping.md,
// google/rpc/status.proto.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nuages::wire {

enum class GrpcStatus : uint8_t {
  kOk,
  kCancelled,
  kUnknown,
  kInvalidArgument,
  kDeadlineExceeded,
  kNotFound,
  kAlreadyExists,
  kPermissionDenied,
  kResourceExhausted,
  kFailedPrecondition,
  kAborted,
  kOutOfRange,
  kUnimplemented,
  kInternal,
  kUnavailable,
  kDataLoss,
  kUnauthenticated,
};

// "UNAVAILABLE"; a number gRPC does not know gives "UNKNOWN".
std::string_view grpc_status_name(GrpcStatus status);
// From the text of a grpc-status header; text that is no known code gives kUnknown.
GrpcStatus grpc_status_from_text(std::string_view text);
// What an answer without grpc-status means.
GrpcStatus grpc_status_from_http(int http_status);

inline constexpr size_t kGrpcFrameHeaderSize = 5;
void write_grpc_frame_header(char* out5, size_t message_size, bool compressed);

struct GrpcFrame {
  bool compressed = false;
  std::string_view message;
  size_t size = 0;  // of frame and header
};
// The first frame of `bytes`, or nothing when it is not complete.
std::optional<GrpcFrame> read_grpc_frame(std::string_view bytes);

std::string percent_decode(std::string_view text);                // grpc-message
std::string percent_encode(std::string_view text);                // for servers
std::optional<std::string> base64_decode(std::string_view text);  // with or without padding

// The delay of a google.rpc.RetryInfo inside a google.rpc.Status, in milliseconds (rounded up).
std::optional<uint64_t> retry_delay_ms(std::string_view status_details);

}  // namespace nuages::wire
