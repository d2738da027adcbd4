#include "trace/id_generator.h"

#include <pthread.h>
#include <sys/random.h>

#include <bit>

#include "base/clock.h"

namespace nuages::trace {
namespace {

// Runs when the library is loaded, so before any fork that could matter.
const int g_registered = pthread_atfork(
    nullptr, nullptr, [] { g_process_generation.fetch_add(1, std::memory_order_relaxed); });

uint64_t split_mix(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

struct Generator {
  uint64_t state[4];
  uint32_t generation;  // zero: never seeded

  uint64_t next() noexcept {
    if (generation != process_generation()) [[unlikely]] {
      seed();
    }
    const uint64_t result = std::rotl(state[0] + state[3], 23) + state[0];
    const uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = std::rotl(state[3], 45);
    return result;
  }

  void seed() noexcept {
    if (getrandom(state, sizeof state, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof state)) {
      // Only in the first instants of a machine: times and an address still tell threads apart.
      uint64_t mix = wall_now() ^ (steady_now() << 20) ^ reinterpret_cast<uintptr_t>(this);
      for (uint64_t& word : state) word = split_mix(mix);
    }
    if ((state[0] | state[1] | state[2] | state[3]) == 0) state[0] = 1;
    generation = process_generation();
  }
};

thread_local Generator t_generator{};

uint64_t next_nonzero() noexcept {
  uint64_t value = 0;
  while (value == 0) value = t_generator.next();
  return value;
}

}  // namespace

TraceId new_trace_id() noexcept { return {next_nonzero(), next_nonzero()}; }
SpanId new_span_id() noexcept { return next_nonzero(); }

}  // namespace nuages::trace
