// What the store costs: building a block, inserting it (CPU of the whole process, merges included)
// and bytes per span at rest.
// The environment variable NUAGES_CHDB_LIBRARY names the engine's library.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <ctime>
#include <string>

#include "base/clock.h"
#include "store/bench_store.h"

namespace nuages::store {
namespace {

void build_block(benchmark::State& state) {
  const auto spans = testing::make_requests(1'000, 1);
  for (auto _ : state) {
    const SpanBlock block = testing::make_block("shop", spans, testing::kBenchStart);
    benchmark::DoNotOptimize(block.rows());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * spans.size()));
}
BENCHMARK(build_block);

// Blocks of the given number of requests; reports CPU of the whole process per span (merges
// included) and bytes per span when done.
void insert_block(benchmark::State& state) {
  static ChdbStore* const opened = testing::open_store();
  if (opened == nullptr) {
    state.SkipWithError("no store: set NUAGES_CHDB_LIBRARY");
    return;
  }
  ChdbStore& store = *opened;
  static uint64_t seed = 0;
  const uint64_t cpu_before = clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  uint64_t prepared = 0;
  size_t spans = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const uint64_t before = clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    const auto block = testing::make_block(
        "shop", testing::make_requests(static_cast<size_t>(state.range(0)), ++seed),
        testing::kBenchStart);
    prepared += clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - before;
    state.ResumeTiming();
    if (!store.insert(block, "bench-" + std::to_string(seed))) {
      state.SkipWithError("insert failed");
      return;
    }
    spans += block.rows();
  }
  const uint64_t cpu = clock_nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_before - prepared;
  state.SetItemsProcessed(static_cast<int64_t>(spans));
  state.counters["cpu_ns_per_span"] = static_cast<double>(cpu) / static_cast<double>(spans);
  auto size = store.query(
      "SELECT sum(bytes_on_disk) / (SELECT count() FROM nuages.spans) FROM system.parts WHERE"
      " active AND database = 'nuages'",
      {});
  if (size) {
    const size_t at = size->find("\"data\"");
    state.counters["bytes_per_span"] =
        strtod(size->c_str() + size->find_first_of("0123456789", at), nullptr);
  }
}
BENCHMARK(insert_block)->Arg(1'000)->Arg(10'000)->Arg(40'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace nuages::store

int main(int argc, char** argv) { return nuages::store::testing::run_benchmarks(argc, argv); }
