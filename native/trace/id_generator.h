// Random trace and span ids: one xoshiro256++ per thread (or per lock, IdGenerator), seeded by
// getrandom(2).
//
// Independent of Python's random module, so random.seed() never repeats ids. A forked child reseeds
// before its first id (process_generation changes). Never returns zero. Any thread; a few ns.
// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/ids.h"

namespace nuages::trace {

// Counts fork()s: changes in a child before fork() returns there. A pthread_atfork handler bumps
// it, so a compare is enough where getpid() would be a system call. (A raw clone() is not seen.)
inline std::atomic<uint32_t> g_process_generation{1};
inline uint32_t process_generation() noexcept {
  return g_process_generation.load(std::memory_order_relaxed);
}

// For one thread at a time. Zeroed memory is a valid one.
class IdGenerator {
 public:
  TraceId new_trace_id() noexcept { return {next(), next()}; }
  SpanId new_span_id() noexcept { return next(); }

 private:
  uint64_t next() noexcept {
    if (generation_ != process_generation()) [[unlikely]] {
      seed();
    }
    for (;;) {
      const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
      const uint64_t shifted = state_[1] << 17;
      state_[2] ^= state_[0];
      state_[3] ^= state_[1];
      state_[1] ^= state_[2];
      state_[0] ^= state_[3];
      state_[2] ^= shifted;
      state_[3] = std::rotl(state_[3], 45);
      if (result != 0) [[likely]] {
        return result;
      }
    }
  }
  void seed() noexcept;

  uint64_t state_[4] = {};
  uint32_t generation_ = 0;  // zero: never seeded
};

// Of the calling thread.
TraceId new_trace_id() noexcept;
SpanId new_span_id() noexcept;

}  // namespace nuages::trace
