#include "trace/sampler.h"

#include <cmath>

#include "base/clock.h"

namespace nuages::trace {

RootSampler::RootSampler(double rate) noexcept : rate_(rate >= 0 ? (rate > 1 ? 1 : rate) : 0) {
  // Python's round() on a float is to even, as nearbyint in the default rounding mode.
  const double bound = std::nearbyint(std::ldexp(rate_, 64));
  all_ = bound >= 0x1p64;
  bound_ = all_ ? 0 : static_cast<uint64_t>(bound);
}

Decision Sampler::decide(const SpanContext* parent, TraceId id) const noexcept {
  if (!parent_based || parent == nullptr || !parent->valid()) {
    if (limiter == nullptr) return root.decide(id);
    return limiter->allow(steady_now()) ? Decision::kRecordAndSample : Decision::kDrop;
  }
  if (parent->remote) return (parent->sampled() ? remote_sampled : remote_not_sampled).decide(id);
  return (parent->sampled() ? local_sampled : local_not_sampled).decide(id);
}

}  // namespace nuages::trace
