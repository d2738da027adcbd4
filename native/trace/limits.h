// SpanLimits: how much one span may hold (OpenTelemetry SDK specification, defaults included).
//
// What is over a limit is dropped and counted. The order of dropping follows opentelemetry-python:
// the oldest goes; kNewest is the specification's order. String values, also inside arrays, are cut
// after max_value_length code points.
#pragma once

#include <cstdint>
#include <string_view>

namespace nuages::trace {

struct SpanLimits {
  static constexpr uint32_t kUnlimited = UINT32_MAX;
  enum class Drop : uint8_t { kOldest, kNewest };

  uint32_t max_attributes = 128;
  uint32_t max_events = 128;
  uint32_t max_links = 128;
  uint32_t max_event_attributes = 128;
  uint32_t max_link_attributes = 128;
  uint32_t max_value_length = kUnlimited;  // of span, event and link attributes
  Drop drop = Drop::kOldest;
};

// The longest prefix of `text` with at most `code_points` code points; text is UTF-8.
std::string_view truncate_code_points(std::string_view text, uint32_t code_points) noexcept;

}  // namespace nuages::trace
