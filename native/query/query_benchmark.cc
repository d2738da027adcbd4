// What reads cost beside a full store: a trace by id, the newest traces, searches, roll-ups. The
// store holds two million spans, or as many as NUAGES_BENCH_SPANS says. NUAGES_CHDB_LIBRARY names
// the engine.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>

#include "query/insight.h"
#include "query/lists.h"
#include "query/trace_reader.h"
#include "store/bench_store.h"

namespace nuages::query {
namespace {

using store::testing::kSpansPerRequest;

constexpr size_t kRequestsPerBlock = 40'000;

struct Filled {
  store::ChdbStore* store = nullptr;
  std::vector<TraceId> traces;  // a sample

  Filled() {
    store = store::testing::open_store();
    if (store == nullptr) return;
    const char* wanted = std::getenv("NUAGES_BENCH_SPANS");  // NOLINT(concurrency-mt-unsafe)
    const size_t spans = wanted == nullptr ? 2'000'000 : std::strtoull(wanted, nullptr, 10);
    const size_t blocks = spans / (kRequestsPerBlock * kSpansPerRequest) + 1;
    for (size_t i = 1; i <= blocks; ++i) {
      const auto made = store::testing::make_requests(kRequestsPerBlock, i);
      const auto block = store::testing::make_block("shop", made, store::testing::kBenchStart);
      if (!store->insert(block, "fill-" + std::to_string(i))) std::abort();
      for (size_t row = 0; row < made.size(); row += 997) traces.push_back(made[row].trace_id);
    }
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
BENCHMARK(trace_by_id)->Unit(benchmark::kMillisecond)->UseRealTime();

void list(benchmark::State& state, const TraceFilter& filter) {
  const Filled* data = filled(state);
  if (data == nullptr) return;
  for (auto _ : state) {
    const auto traces = list_traces(*data->store, filter);
    if (!traces || traces->rows.empty()) state.SkipWithError("nothing found");
  }
}

TraceFilter newest() { return {}; }
TraceFilter of_route() { return {.service = "shop", .route = "/orders/7/{order_id}/"}; }
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

BENCHMARK_CAPTURE(list, newest, newest())->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(list, route, of_route())->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(list, slow, slow())->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(list, attribute, of_attribute())->Unit(benchmark::kMillisecond)->UseRealTime();

// An hour of the roll-ups; everything there is lies in it.
InsightFilter hour() {
  return {.service = "shop",
          .start = static_cast<int64_t>(store::testing::kBenchStart),
          .end = static_cast<int64_t>(store::testing::kBenchStart) + 3'600'000'000'000};
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
  insight(state, [](store::Store& store) { return list_red(store, hour()); });
}
void queries(benchmark::State& state) {
  insight(state, [](store::Store& store) { return list_queries(store, hour()); });
}
void edges(benchmark::State& state) {
  insight(state, [](store::Store& store) { return list_edges(store, hour()); });
}
void services(benchmark::State& state) {
  insight(state, [](store::Store& store) { return list_services(store); });
}
BENCHMARK(red)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(queries)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(edges)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(services)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace nuages::query

int main(int argc, char** argv) { return nuages::store::testing::run_benchmarks(argc, argv); }
