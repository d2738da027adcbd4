// SpanContext: what identifies a span across processes (W3C trace context).
//
// Immutable once made. The tracestate is shared header text, because nearly every span of a trace
// repeats it; null means empty, which is the usual case and costs nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace nuages::trace {

inline constexpr uint8_t kSampledFlag = 0x01;
inline constexpr uint8_t kRandomFlag = 0x02;  // the trace id's low 56 bits are random

using TraceState = std::shared_ptr<const std::string>;

struct SpanContext {
  TraceId trace_id;
  SpanId span_id = 0;
  uint8_t flags = 0;
  bool remote = false;
  TraceState trace_state;

  bool valid() const noexcept { return trace_id.valid() && span_id != 0; }
  bool sampled() const noexcept { return (flags & kSampledFlag) != 0; }
  std::string_view trace_state_text() const noexcept {
    return trace_state ? std::string_view(*trace_state) : std::string_view();
  }
};

}  // namespace nuages::trace
