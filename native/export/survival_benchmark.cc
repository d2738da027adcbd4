// What survival costs off the hot path: a process' file, a look for orphans, reading one.
//
//   build/release/native/survival_benchmark
#include <benchmark/benchmark.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "export/orphan.h"
#include "export/queue_memory.h"
#include "trace/span.h"

namespace nuages::exporter {
namespace {

constexpr size_t kSpans = 2000;

class Folder {
 public:
  Folder() {
    char path[] = "/dev/shm/nuages-benchmark-XXXXXX";
    if (mkdtemp(path) != nullptr) name = path;
  }
  ~Folder() {
    if (!name.empty()) std::filesystem::remove_all(name);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string name;
};

struct Sink : trace::RecordSink {
  explicit Sink(trace::RecordQueue to) : queue(to) {}
  void publish(std::string_view record) noexcept override { queue.push(record); }
  trace::RecordQueue queue;
};

// The file of a process that recorded so many spans and was killed.
void leave(const std::string& folder) {
  const pid_t pid = fork();
  if (pid == 0) {
    QueueMemory memory({});
    FileOptions options;
    options.audience = 1;
    if (!memory.back_with_file({folder}, options, {}).ok()) _exit(1);
    Sink sink(memory.queue());
    sink.queue.add_scope({});
    for (size_t i = 0; i < kSpans; ++i) {
      const auto span = trace::Span::start({.name = "GET /orders/{order_id}/"});
      span->set_attribute("http.method", trace::text_value("GET"));
      span->set_attribute("http.route", trace::text_value("/orders/{order_id}/"));
      span->set_attribute("http.status_code", trace::int_value(200));
      span->set_attribute("http.scheme", trace::text_value("http"));
      span->set_attribute("user.authenticated", trace::bool_value(true));
      span->end();
      span->publish(sink);
    }
    kill(getpid(), SIGKILL);
  }
  waitpid(pid, nullptr, 0);
}

void first_span_of_a_process(benchmark::State& state) {
  const Folder folder;
  for (auto _ : state) {
    state.PauseTiming();
    QueueMemory memory({});
    state.ResumeTiming();
    if (!memory.back_with_file({folder.name}, {}, {}).ok()) return state.SkipWithError("no tmpfs");
    state.PauseTiming();
    memory.remove_file();
    state.ResumeTiming();
  }
}

void look_for_orphans(benchmark::State& state) {
  const Folder folder;
  QueueMemory neighbour({});
  if (!neighbour.back_with_file({folder.name}, {}, {}).ok()) return state.SkipWithError("no tmpfs");
  for (auto _ : state) benchmark::DoNotOptimize(scan_orphans({folder.name}, 2, {}));
}

void read_an_orphan(benchmark::State& state) {
  const Folder folder;
  leave(folder.name);
  const auto places = scan_orphans({folder.name}, 1, {}).mine;
  if (places.empty()) return state.SkipWithError("no tmpfs");
  for (auto _ : state) {
    const auto orphan = Orphan::adopt(places[0], 1);
    // Nothing is marked as sent: the next round reads it again.
    if (orphan->next(kSpans, SIZE_MAX).spans != kSpans)
      return state.SkipWithError("spans are missing");
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kSpans));
}

BENCHMARK(first_span_of_a_process);
BENCHMARK(look_for_orphans);
BENCHMARK(read_an_orphan);

}  // namespace
}  // namespace nuages::exporter

BENCHMARK_MAIN();
