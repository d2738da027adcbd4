// Built-in samplers, bit-exact with opentelemetry-python so that mixed fleets agree on each trace.
//
// TraceIdRatioBased keeps a trace iff (trace id & 2^64-1) < round(rate * 2^64). ParentBased asks
// one of five delegates. A rate limiter may stand in the place of the root sampler. Any thread, no
// allocation; user samplers stay in Python.
#pragma once

#include <cstdint>
#include <memory>

#include "trace/rate_limiter.h"
#include "trace/span_context.h"

namespace nuages::trace {

enum class Decision : uint8_t { kDrop, kRecordOnly, kRecordAndSample };

// AlwaysOn, AlwaysOff or TraceIdRatioBased.
class RootSampler {
 public:
  static RootSampler always_on() noexcept { return RootSampler(1.0); }
  static RootSampler always_off() noexcept { return RootSampler(0.0); }
  // rate outside [0, 1] (NaN too) is clamped; callers validate and report.
  static RootSampler ratio(double rate) noexcept { return RootSampler(rate); }

  double rate() const noexcept { return rate_; }
  Decision decide(TraceId id) const noexcept {
    return all_ || id.low < bound_ ? Decision::kRecordAndSample : Decision::kDrop;
  }

 private:
  explicit RootSampler(double rate) noexcept;

  double rate_;
  uint64_t bound_ = 0;  // all_ stands for a bound of 2^64
  bool all_ = false;
};

struct Sampler {
  RootSampler root = RootSampler::always_on();
  std::shared_ptr<RateLimiter> limiter;  // set: asked instead of `root`
  bool parent_based = true;              // false: `root` decides for every span
  RootSampler remote_sampled = RootSampler::always_on();
  RootSampler remote_not_sampled = RootSampler::always_off();
  RootSampler local_sampled = RootSampler::always_on();
  RootSampler local_not_sampled = RootSampler::always_off();

  // `parent` may be null or invalid: a root span.
  Decision decide(const SpanContext* parent, TraceId id) const noexcept;
};

}  // namespace nuages::trace
