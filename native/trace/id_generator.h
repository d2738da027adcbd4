// Random trace and span ids: one xoshiro256++ per thread, seeded by getrandom(2).
//
// Independent of Python's random module, so random.seed() never repeats ids. A forked child reseeds
// before its first id (process_generation changes). Never returns zero. Any thread; a few ns.
// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/ids.h"

namespace nuages::trace {

TraceId new_trace_id() noexcept;
SpanId new_span_id() noexcept;

// Counts fork()s: changes in a child before fork() returns there. A pthread_atfork handler bumps
// it, so a compare is enough where getpid() would be a system call. (A raw clone() is not seen.)
inline std::atomic<uint32_t> g_process_generation{1};
inline uint32_t process_generation() noexcept {
  return g_process_generation.load(std::memory_order_relaxed);
}

}  // namespace nuages::trace
