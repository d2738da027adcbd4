// How long a server with a full log waits at its start: every record is read and checked, and its
// hash remembered, before the first request is taken. The log holds 64 MiB, or as many as
// NUAGES_BENCH_WAL_MIB says.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "store/ingest.h"
#include "wire/otlp_reader_testing.h"

namespace nuages::store {
namespace {

constexpr size_t kSpansPerRequest = 500;
constexpr size_t kNoiseBytes = 160;  // of a span: what compression leaves of a real one

std::string make_request(std::mt19937_64& random) {
  using wire::testing::Message;
  Message scope_spans;
  for (size_t i = 0; i < kSpansPerRequest; ++i) {
    std::string noise(kNoiseBytes, ' ');
    for (char& c : noise) c = static_cast<char>(' ' + random() % 64);
    const Message attribute = wire::testing::key_value("noise", wire::testing::string_value(noise));
    scope_spans.message(2, wire::testing::span(random() | 1, random() | 1).message(9, attribute));
  }
  return Message().message(1, Message().message(2, scope_spans)).text();
}

void open_full_log(benchmark::State& state) {
  const char* wanted = std::getenv("NUAGES_BENCH_WAL_MIB");  // NOLINT(concurrency-mt-unsafe)
  const uint64_t bytes = (wanted == nullptr ? 64 : std::strtoull(wanted, nullptr, 10)) << 20;
  std::string folder = (std::filesystem::temp_directory_path() / "nuages-wal-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) std::abort();
  IngestOptions options;
  options.wal.folder = folder;
  options.wal.max_total_bytes = 2 * bytes;
  uint64_t spans = 0;
  {
    std::mt19937_64 random(1);
    auto ingest = Ingest::open(options);  // without a store everything stays in the log
    while ((*ingest)->counters().wal_bytes < bytes) {
      const auto accepted = (*ingest)->accept_and_wait(make_request(random));
      if (!accepted) std::abort();
      spans += accepted->spans;
    }
  }
  for (auto _ : state) {
    const auto ingest = Ingest::open(options);
    if (!ingest) state.SkipWithError(ingest.error().message.c_str());
    state.PauseTiming();  // its end is not part of a start
    benchmark::DoNotOptimize(ingest);
    state.ResumeTiming();
  }
  state.counters["spans"] = static_cast<double>(spans);
  std::filesystem::remove_all(folder);
}
BENCHMARK(open_full_log)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace nuages::store

BENCHMARK_MAIN();
