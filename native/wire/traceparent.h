// W3C trace context headers: traceparent and tracestate, read and written.
//
// Malformed input is nothing, never an error: a bad header from outside starts a new trace. Rules
// of opentelemetry-python where the recommendation leaves a choice: outer blanks are ignored, a
// tracestate with one bad or repeated member is dropped whole. Pure functions.
// Source: www.w3.org/TR/trace-context (2021), Trace Context Level 2 for the random flag.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace nuages::wire {

struct TraceParent {
  TraceId trace_id;
  SpanId span_id = 0;
  uint8_t flags = 0;

  friend bool operator==(const TraceParent&, const TraceParent&) = default;
};

inline constexpr size_t kTraceParentSize = 55;

std::optional<TraceParent> parse_traceparent(std::string_view header);
std::string format_traceparent(const TraceParent& parent);

// The header's members joined by single commas; empty when there is none or it must be ignored.
std::string parse_tracestate(std::string_view header);

}  // namespace nuages::wire
