#include "wire/grpc_frame.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

constexpr std::array<std::string_view, 17> kNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

// google.protobuf.Duration inside RetryInfo.retry_delay.
std::optional<uint64_t> read_retry_info(std::string_view message) {
  ProtobufReader reader(message);
  while (reader.next()) {
    if (!reader.is(1, WireType::kLength)) {
      reader.skip();
      continue;
    }
    int64_t seconds = 0;
    int64_t nanos = 0;
    ProtobufReader duration(reader.bytes());
    while (duration.next()) {
      if (duration.is(1, WireType::kVarint)) {
        seconds = static_cast<int64_t>(duration.varint());
      } else if (duration.is(2, WireType::kVarint)) {
        nanos = static_cast<int64_t>(duration.varint());
      } else {
        duration.skip();
      }
    }
    constexpr int64_t kMaxSeconds = 1'000'000'000;
    if (!duration.ok() || seconds < 0 || seconds > kMaxSeconds || nanos < 0) return std::nullopt;
    nanos = std::min<int64_t>(nanos, 999'999'999);
    return static_cast<uint64_t>(seconds) * 1000 +
           (static_cast<uint64_t>(nanos) + 999'999) / 1'000'000;
  }
  return std::nullopt;
}

}  // namespace

std::string_view grpc_status_name(GrpcStatus status) {
  const auto index = static_cast<size_t>(status);
  return index < kNames.size() ? kNames[index] : kNames[2];
}

GrpcStatus grpc_status_from_text(std::string_view text) {
  unsigned code = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  if (error != std::errc() || end != text.data() + text.size() || code >= kNames.size()) {
    return GrpcStatus::kUnknown;
  }
  return static_cast<GrpcStatus>(code);
}

GrpcStatus grpc_status_from_http(int http_status) {
  switch (http_status) {
    case 400:
      return GrpcStatus::kInternal;
    case 401:
      return GrpcStatus::kUnauthenticated;
    case 403:
      return GrpcStatus::kPermissionDenied;
    case 404:
      return GrpcStatus::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus::kUnavailable;
    default:
      return GrpcStatus::kUnknown;
  }
}

void write_grpc_frame_header(char* out5, size_t message_size, bool compressed) {
  out5[0] = compressed ? 1 : 0;
  for (unsigned i = 0; i < 4; ++i) out5[1 + i] = static_cast<char>(message_size >> (24 - 8 * i));
}

std::optional<GrpcFrame> read_grpc_frame(std::string_view bytes) {
  if (bytes.size() < kGrpcFrameHeaderSize) return std::nullopt;
  size_t size = 0;
  for (unsigned i = 1; i < 5; ++i) size = size << 8 | static_cast<uint8_t>(bytes[i]);
  if (bytes.size() - kGrpcFrameHeaderSize < size) return std::nullopt;
  return GrpcFrame{bytes[0] != 0, bytes.substr(kGrpcFrameHeaderSize, size),
                   kGrpcFrameHeaderSize + size};
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
        hex_value(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte <= 0x7e && c != '%') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count));
    }
  }
  return out;
}

std::optional<uint64_t> retry_delay_ms(std::string_view status_details) {
  ProtobufReader status(status_details);
  while (status.next()) {
    if (!status.is(3, WireType::kLength)) {
      status.skip();
      continue;
    }
    std::string_view type;
    std::string_view value;
    ProtobufReader any(status.bytes());
    while (any.next()) {
      if (any.is(1, WireType::kLength)) {
        type = any.bytes();
      } else if (any.is(2, WireType::kLength)) {
        value = any.bytes();
      } else {
        any.skip();
      }
    }
    if (any.ok() && type.ends_with("/google.rpc.RetryInfo")) return read_retry_info(value);
  }
  return std::nullopt;
}

}  // namespace nuages::wire
