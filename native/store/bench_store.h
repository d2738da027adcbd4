// Spans and a store for benchmarks. One request of a Django application is 12 spans here, with
// random ids, a few hundred names and statements, and an order id per request. The environment
// variable NUAGES_CHDB_LIBRARY names the engine's library. Benchmark code only.
#pragma once

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "store/chdb_store.h"
#include "store/test_spans.h"

namespace nuages::store::testing {

inline constexpr uint64_t kBenchStart = 1'790'000'000'000'000'000;
inline constexpr size_t kSpansPerRequest = 12;

// `gap` nanoseconds apart. Another seed goes on where the one before it ended.
inline std::vector<TestSpan> make_requests(size_t count, uint64_t seed, uint64_t gap = 1'000'000) {
  std::mt19937_64 random(seed);
  std::vector<TestSpan> spans;
  for (size_t request = 0; request < count; ++request) {
    const TraceId trace{random(), random()};
    const uint64_t start = kBenchStart + (seed * count + request) * gap;
    const uint64_t shape = random() % 40;
    const SpanId root = random();
    const std::string route = "/orders/" + std::to_string(shape) + "/{order_id}/";
    spans.push_back({.trace_id = trace,
                     .span_id = root,
                     .name = "GET " + route,
                     .kind = wire::SpanKind::kServer,
                     .start = start,
                     .duration = 40'000'000 + random() % 20'000'000,
                     .attributes = {{"http.method", "GET"},
                                    {"http.route", route},
                                    {"http.status_code", int64_t{200}},
                                    {"http.target", route + std::to_string(random() % 100'000)},
                                    {"net.peer.ip", "10.0.0." + std::to_string(random() % 200)},
                                    {"order.id", static_cast<int64_t>(random() % 1'000'000)},
                                    {"db.query_count", int64_t{8}}}});
    for (size_t i = 1; i < kSpansPerRequest; ++i) {
      const std::string table = "table_" + std::to_string((shape * 7 + i) % 60);
      spans.push_back(
          {.trace_id = trace,
           .span_id = random(),
           .parent_id = root,
           .name = "SELECT FROM " + table + " WHERE id = ?",
           .kind = wire::SpanKind::kClient,
           .start = start + i * 2'000'000,
           .duration = 300'000 + random() % 900'000,
           .attributes = {
               {"db.system", "postgresql"},
               {"db.name", "shop"},
               {"db.statement", "SELECT id, a, b, c FROM " + table + " WHERE id = ? LIMIT ?"},
               {"nuages.db.fingerprint", static_cast<int64_t>(1000 + (shape * 7 + i) % 60)},
               {"db.operation", "SELECT"},
               {"db.sql.table", table},
               {"code.filepath", "orders/views.py"},
               {"code.lineno", static_cast<int64_t>(10 + shape)},
               {"code.function", "view_" + std::to_string(shape)}}});
    }
  }
  return spans;
}

struct OpenStore {
  std::string folder;
  bool keep = false;
  std::unique_ptr<ChdbStore> store;
};

inline OpenStore& the_store() {
  static OpenStore open;
  return open;
}

// The store of this process: in the folder that NUAGES_BENCH_STORE names, which stays, or in a
// temporary one.
inline ChdbStore* open_store() {
  const char* library = std::getenv("NUAGES_CHDB_LIBRARY");  // NOLINT(concurrency-mt-unsafe)
  const char* kept = std::getenv("NUAGES_BENCH_STORE");      // NOLINT(concurrency-mt-unsafe)
  std::string folder =
      kept != nullptr ? std::string(kept)
                      : (std::filesystem::temp_directory_path() / "nuages-bench-XXXXXX").string();
  if (kept == nullptr && mkdtemp(folder.data()) == nullptr) return nullptr;
  auto opened = ChdbStore::open({.library = library == nullptr ? "" : library, .folder = folder});
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().message.c_str());
    return nullptr;
  }
  OpenStore& open = the_store();
  open.folder = folder;
  open.keep = kept != nullptr;
  open.store = std::move(*opened);
  return open.store.get();
}

// main of a benchmark program that uses open_store: the store is closed before the exit handlers,
// when the engine's merge threads still have their statics.
inline int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  OpenStore& open = the_store();
  open.store.reset();
  std::error_code ignored;
  if (!open.folder.empty() && !open.keep) std::filesystem::remove_all(open.folder, ignored);
  return 0;
}

}  // namespace nuages::store::testing
