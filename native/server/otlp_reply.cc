#include "server/otlp_reply.h"

#include <cstdint>

#include "query/json_writer.h"

namespace nuages::server {
namespace {

void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void put_integer(std::string& out, uint32_t field, uint64_t value) {
  put_varint(out, field << 3);
  put_varint(out, value);
}

void put_bytes(std::string& out, uint32_t field, std::string_view value) {
  put_varint(out, field << 3 | 2);
  put_varint(out, value.size());
  out += value;
}

}  // namespace

GrpcStatus grpc_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return GrpcStatus::kInvalidArgument;
    case ErrorCode::kNotFound:
      return GrpcStatus::kNotFound;
    case ErrorCode::kUnavailable:
      return GrpcStatus::kUnavailable;
    case ErrorCode::kExhausted:
      return GrpcStatus::kResourceExhausted;
    case ErrorCode::kDenied:
      return GrpcStatus::kPermissionDenied;
    case ErrorCode::kInternal:
      break;
  }
  return GrpcStatus::kInternal;
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kExhausted:
      return 429;
    case ErrorCode::kDenied:
      return 403;
    case ErrorCode::kInternal:
      break;
  }
  return 500;
}

bool retryable(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kExhausted;
}

std::string export_response(const store::Accepted& accepted) {
  std::string out;
  if (accepted.rejected == 0 && accepted.message.empty()) return out;
  std::string partial;
  if (accepted.rejected != 0) put_integer(partial, 1, accepted.rejected);
  if (!accepted.message.empty()) put_bytes(partial, 2, accepted.message);
  put_bytes(out, 1, partial);
  return out;
}

std::string export_response_json(const store::Accepted& accepted, wire::Signal signal) {
  query::JsonWriter json;
  json.begin_object();
  if (accepted.rejected != 0 || !accepted.message.empty()) {
    constexpr std::string_view kCounts[] = {"rejectedSpans", "rejectedLogRecords",
                                            "rejectedDataPoints"};
    json.key("partialSuccess").begin_object();
    // 64-bit integers are strings in protobuf's JSON.
    json.field(kCounts[static_cast<size_t>(signal)],
               std::string_view(std::to_string(accepted.rejected)));
    json.field("errorMessage", std::string_view(accepted.message)).end_object();
  }
  json.end_object();
  return json.take();
}

std::string rpc_status_json(GrpcStatus code, std::string_view message) {
  query::JsonWriter json;
  json.begin_object().field("code", static_cast<int>(code)).field("message", message).end_object();
  return json.take();
}

std::string rpc_status(GrpcStatus code, std::string_view message, bool retry) {
  std::string out;
  if (code != GrpcStatus::kOk) put_integer(out, 1, static_cast<uint64_t>(code));
  put_bytes(out, 2, message);
  if (retry) {
    std::string delay;
    put_integer(delay, 1, kRetryAfterSeconds);
    std::string retry_info;
    put_bytes(retry_info, 1, delay);
    std::string any;
    put_bytes(any, 1, "type.googleapis.com/google.rpc.RetryInfo");
    put_bytes(any, 2, retry_info);
    put_bytes(out, 3, any);
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte <= 0x7E && c != '%') {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    count += 8;
    while (count >= 6) {
      count -= 6;
      out += kDigits[bits >> count & 63];
    }
  }
  if (count > 0) out += kDigits[bits << (6 - count) & 63];
  return out;
}

}  // namespace nuages::server
