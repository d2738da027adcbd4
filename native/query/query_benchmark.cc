// What reads cost beside a full store: a trace by id, the newest traces, searches, roll-ups. The
// store holds two million spans of a day, or as many as NUAGES_BENCH_SPANS says; NUAGES_BENCH_STORE
// names a folder to keep and use again. NUAGES_CHDB_LIBRARY names the engine.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>

#include "query/insight.h"
#include "query/lists.h"
#include "query/rows.h"
#include "query/trace_reader.h"
#include "store/bench_store.h"

namespace nuages::query {
namespace {

using store::testing::kSpansPerRequest;

constexpr size_t kRequestsPerBlock = 40'000;
constexpr int64_t kHour = 3'600'000'000'000;
constexpr int64_t kStart = store::testing::kBenchStart;

struct Filled {
  store::ChdbStore* store = nullptr;
  std::vector<TraceId> traces;  // a sample

  Filled() {
    store = store::testing::open_store();
    if (store == nullptr) return;
    const char* wanted = std::getenv("NUAGES_BENCH_SPANS");  // NOLINT(concurrency-mt-unsafe)
    const size_t spans = wanted == nullptr ? 2'000'000 : std::strtoull(wanted, nullptr, 10);
    const size_t blocks = spans / (kRequestsPerBlock * kSpansPerRequest) + 1;
    const uint64_t gap = 24 * kHour / ((blocks + 1) * kRequestsPerBlock);
    if (count("spans") == 0) {
      for (size_t i = 1; i <= blocks; ++i) {
        const auto made = store::testing::make_requests(kRequestsPerBlock, i, gap);
        const auto block = store::testing::make_block("shop", made, kStart);
        if (!store->insert(block, "fill-" + std::to_string(i))) std::abort();
      }
    }
    const auto sample = Rows::select(
        *store,
        "SELECT lower(hex(trace_id)) FROM nuages.trace_ix ORDER BY cityHash64(trace_id)"
        " LIMIT 500",
        {});
    if (!sample) std::abort();
    for (size_t i = 0; i < sample->size(); ++i) {
      traces.push_back(trace_id_from_hex((*sample)[i].text(0)).value_or(TraceId{}));
    }
  }

  uint64_t count(const std::string& table) const {
    const auto rows = Rows::select(*store, "SELECT count() FROM nuages." + table, {});
    if (!rows) std::abort();
    return (*rows)[0].natural(0);
  }
};

Filled* filled(benchmark::State& state) {
  static Filled once;
  if (once.store != nullptr) return &once;
  state.SkipWithError("no store: set NUAGES_CHDB_LIBRARY");
  return nullptr;
}

void trace_by_id(benchmark::State& state) {
  const Filled* data = filled(state);
  if (data == nullptr) return;
  std::mt19937_64 random(7);
  for (auto _ : state) {
    const TraceId id = data->traces[random() % data->traces.size()];
    const auto read = read_traces({data->store, nullptr}, {id});
    if (!read || read->spans.size() != kSpansPerRequest) state.SkipWithError("trace not whole");
  }
}
BENCHMARK(trace_by_id)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();

void list(benchmark::State& state, TraceFilter filter) {
  const Filled* data = filled(state);
  if (data == nullptr) return;
  for (auto _ : state) {
    // Never the same question: the engine remembers what a condition excluded.
    filter.min_duration = filter.min_duration.value_or(0) + 1;
    const auto traces = list_traces(*data->store, filter);
    if (!traces || traces->rows.empty()) state.SkipWithError("nothing found");
  }
}

TraceFilter newest() { return {}; }
TraceFilter of_route() { return {.service = "shop", .route = "/orders/7/{order_id}/"}; }
TraceFilter search() {
  return {.service = "shop", .route = "/orders/7/{order_id}/", .min_duration = 59'000'000};
}
TraceFilter slow() { return {.min_duration = 59'900'000}; }
TraceFilter of_attribute() {
  // The first request's order id, as make_requests draws it.
  const auto made = store::testing::make_requests(1, 1);
  for (const auto& [key, value] : made[0].attributes) {
    if (key == "order.id") {
      return {.attribute_key = key, .attribute_value = std::to_string(std::get<int64_t>(value))};
    }
  }
  return {};
}

BENCHMARK_CAPTURE(list, newest, newest())
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(list, route, of_route())
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(list, search, search())
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(list, slow, slow())
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(list, attribute, of_attribute())
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

InsightFilter last_hours(int64_t hours) {
  return {.service = "shop", .start = kStart + (24 - hours) * kHour, .end = kStart + 24 * kHour};
}

template <typename List>
void insight(benchmark::State& state, List list) {
  const Filled* data = filled(state);
  if (data == nullptr) return;
  for (auto _ : state) {
    const auto rows = list(*data->store);
    if (!rows || rows->empty()) state.SkipWithError("nothing found");
  }
}
void red(benchmark::State& state) {
  insight(state, [&](store::Store& store) { return list_red(store, last_hours(state.range(0))); });
}
void queries(benchmark::State& state) {
  insight(state,
          [&](store::Store& store) { return list_queries(store, last_hours(state.range(0))); });
}
void edges(benchmark::State& state) {
  insight(state,
          [&](store::Store& store) { return list_edges(store, last_hours(state.range(0))); });
}
void services(benchmark::State& state) {
  insight(state, [](store::Store& store) { return list_services(store); });
}
BENCHMARK(red)
    ->Arg(1)
    ->Arg(24)
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(queries)
    ->Arg(1)
    ->Arg(24)
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(edges)
    ->Arg(1)
    ->Arg(24)
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(services)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace nuages::query

int main(int argc, char** argv) { return nuages::store::testing::run_benchmarks(argc, argv); }
