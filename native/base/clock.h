// Clocks in nanoseconds. wall_now() is Unix time as OTLP wants it; steady_now() never goes back and
// measures durations.
//
// A span takes its start from both and its end as start + steady difference, so a wall clock that
// jumps can never make a negative duration.
#pragma once

#include <cstdint>
#include <ctime>

namespace nuages {

inline uint64_t clock_nanoseconds(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<uint64_t>(now.tv_nsec);
}

inline uint64_t wall_now() { return clock_nanoseconds(CLOCK_REALTIME); }
inline uint64_t steady_now() { return clock_nanoseconds(CLOCK_MONOTONIC); }

}  // namespace nuages
