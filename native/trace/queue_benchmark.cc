// What one push() costs: in anonymous memory and in a file on tmpfs, and the sum in it alone.
//
//   build/release/native/queue_benchmark
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "trace/queue.h"
#include "trace/queue_layout.h"

namespace nuages::trace {
namespace {

constexpr size_t kRecord = 360;  // a span with five attributes

void* map(size_t bytes, bool tmpfs) {
  if (!tmpfs) {
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  char path[] = "/dev/shm/nuages-benchmark-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return MAP_FAILED;
  unlink(path);
  void* memory = MAP_FAILED;
  if (fallocate(file, 0, 0, static_cast<off_t>(bytes)) == 0) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  return memory;
}

// A ring's worth of records and more, so that every page has been touched.
void push(benchmark::State& state, bool tmpfs) {
  const size_t bytes = RecordQueue::required_bytes({});
  void* memory = map(bytes, tmpfs);
  if (memory == MAP_FAILED) return state.SkipWithError("no memory of this kind");
  RecordQueue queue = RecordQueue::create(memory, {});
  const std::string record(kRecord, 'r');
  std::vector<std::string_view> views;
  for (int i = 0; i < 40'000; ++i) {
    queue.push(record);
    if (queue.pending() == 1024) queue.pop(1024);
  }
  queue.pop(queue.pending());
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.push(record));
    if (queue.pending() == 1024) {
      state.PauseTiming();
      queue.pop(1024);
      state.ResumeTiming();
    }
  }
  munmap(memory, bytes);
}

void push_anonymous(benchmark::State& state) { push(state, false); }
void push_tmpfs(benchmark::State& state) { push(state, true); }

void sum_alone(benchmark::State& state) {
  const std::string record(kRecord, 'r');
  for (auto _ : state) {
    std::string_view view = record;
    benchmark::DoNotOptimize(view);
    benchmark::DoNotOptimize(slots::record_word(view));
  }
}

BENCHMARK(push_anonymous);
BENCHMARK(push_tmpfs);
BENCHMARK(sum_alone);

}  // namespace
}  // namespace nuages::trace

BENCHMARK_MAIN();
