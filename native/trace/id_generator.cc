#include "trace/id_generator.h"

#include <pthread.h>
#include <sys/random.h>

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

constinit thread_local IdGenerator t_generator;

}  // namespace

void IdGenerator::seed() noexcept {
  if (getrandom(state_, sizeof state_, GRND_NONBLOCK) != static_cast<ssize_t>(sizeof state_)) {
    // Only in the first instants of a machine: times and an address still tell threads apart.
    uint64_t mix = wall_now() ^ (steady_now() << 20) ^ reinterpret_cast<uintptr_t>(this);
    for (uint64_t& word : state_) word = split_mix(mix);
  }
  if ((state_[0] | state_[1] | state_[2] | state_[3]) == 0) state_[0] = 1;
  generation_ = process_generation();
}

TraceId new_trace_id() noexcept { return t_generator.new_trace_id(); }
SpanId new_span_id() noexcept { return t_generator.new_span_id(); }

}  // namespace nuages::trace
