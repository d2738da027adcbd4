// Trace and span ids: W3C trace context widths (16 and 8 bytes), kept as integers in network order
// of significance.
//
// Zero means "none" for both, as in OTLP. Hex is lower case, 32 and 16 digits. All functions are
// pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nuages {

struct TraceId {
  uint64_t high = 0;
  uint64_t low = 0;

  bool valid() const { return (high | low) != 0; }
  friend bool operator==(const TraceId&, const TraceId&) = default;
  friend auto operator<=>(const TraceId&, const TraceId&) = default;
};

using SpanId = uint64_t;

// Big-endian bytes, as OTLP and the store keep them. The span must have exactly 16 (8) bytes.
TraceId trace_id_from_bytes(std::string_view bytes16);
SpanId span_id_from_bytes(std::string_view bytes8);
void trace_id_to_bytes(TraceId id, char* out16);
void span_id_to_bytes(SpanId id, char* out8);

std::string to_hex(TraceId id);
std::string to_hex(SpanId id);

// Accept exactly 32 (16) hexadecimal digits of either case; anything else, and zero, is nothing.
std::optional<TraceId> trace_id_from_hex(std::string_view text);
std::optional<SpanId> span_id_from_hex(std::string_view text);

}  // namespace nuages

template <>
struct std::hash<nuages::TraceId> {
  size_t operator()(const nuages::TraceId& id) const noexcept {
    return static_cast<size_t>(id.low ^ (id.high * 0x9E3779B97F4A7C15ULL));
  }
};
