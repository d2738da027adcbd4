// RateLimiter: at most so many yes answers a second, for the rate-limited sampler.
//
// A token bucket that holds at most one second's worth (at least one token), kept as a single time:
// when the bucket will be full again (the "generic cell rate algorithm"). Any thread, no lock, no
// allocation; a child of fork goes on from its parent's state. Cost: one clock and one compare-and-
// swap for a yes, one clock and one load for a no. Times are steady nanoseconds (base/clock.h).
#pragma once

#include <atomic>
#include <cstdint>

namespace nuages::trace {

class RateLimiter {
 public:
  // Not a positive number (NaN too): never. Rates above a billion count as one.
  explicit RateLimiter(double per_second) noexcept;

  // Takes a token if there is one at the time `now`. Time going backwards gives no token twice.
  bool allow(uint64_t now) noexcept;

 private:
  int64_t interval_ = 0;  // nanoseconds a token takes to come back; 0: there are none
  int64_t burst_ = 0;     // nanoseconds that the full bucket stands for, less one token
  std::atomic<int64_t> full_at_{0};
};

}  // namespace nuages::trace
