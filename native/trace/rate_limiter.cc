#include "trace/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace nuages::trace {

namespace {
constexpr double kNanoseconds = 1e9;
// A token every 30 years; keeps every sum below within int64.
constexpr double kLongestInterval = 1e18;
}  // namespace

RateLimiter::RateLimiter(double per_second) noexcept {
  if (!(per_second > 0)) return;
  const double interval =
      std::min(kNanoseconds / std::min(per_second, kNanoseconds), kLongestInterval);
  interval_ = std::max<int64_t>(1, std::llround(interval));
  burst_ = std::max<int64_t>(0, std::llround(kNanoseconds - interval));
}

bool RateLimiter::allow(uint64_t now) noexcept {
  if (interval_ == 0) return false;
  const auto time = static_cast<int64_t>(now);
  int64_t full_at = full_at_.load(std::memory_order_relaxed);
  while (full_at - time <= burst_) {
    const int64_t next = std::max(full_at, time) + interval_;
    if (full_at_.compare_exchange_weak(full_at, next, std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace nuages::trace
