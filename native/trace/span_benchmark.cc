// What one span costs in native code: start, five attributes, end, publish; and its leaf form.
//
//   build/release/native/span_benchmark
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "trace/id_generator.h"
#include "trace/queue.h"
#include "trace/span.h"

namespace nuages::trace {
namespace {

class QueueSink : public RecordSink {
 public:
  QueueSink() {
    const size_t bytes = (RecordQueue::required_bytes({}) + 4095) / 4096 * 4096;
    memory_ = std::aligned_alloc(4096, bytes);
    std::memset(memory_, 0, bytes);
    queue_ = RecordQueue::create(memory_, {});
  }
  ~QueueSink() override { std::free(memory_); }
  QueueSink(const QueueSink&) = delete;
  QueueSink& operator=(const QueueSink&) = delete;

  void publish(std::string_view record) noexcept override { queue_.push(record); }
  void drain_when_half_full() {
    if (queue_.pending() < 1024) return;
    queue_.peek(views_, 1024, SIZE_MAX);
    queue_.pop(views_.size());
  }

 private:
  void* memory_;
  RecordQueue queue_;
  std::vector<std::string_view> views_;
};

void set_five(Span& span) {
  span.set_attribute("http.method", text_value("GET"));
  span.set_attribute("http.route", text_value("/orders/{order_id}/"));
  span.set_attribute("http.status_code", int_value(200));
  span.set_attribute("http.scheme", text_value("http"));
  span.set_attribute("user.authenticated", bool_value(true));
}

SpanRef new_root() { return Span::start({.name = "GET /orders/"}); }

void start_five_attributes_end(benchmark::State& state) {
  QueueSink sink;
  SpanRef root = new_root();
  int spans = 0;
  for (auto _ : state) {
    if (++spans == 1000) {  // a trace has 10,000 spans at most
      spans = 0;
      root = new_root();
    }
    const SpanRef span =
        Span::start({.name = "orders.views.order_detail", .local_parent = root.get()});
    set_five(*span);
    span->end();
    span->publish(sink);
    sink.drain_when_half_full();
  }
}
BENCHMARK(start_five_attributes_end);

void start_end(benchmark::State& state) {
  SpanRef root = new_root();
  int spans = 0;
  for (auto _ : state) {
    if (++spans == 1000) {
      spans = 0;
      root = new_root();
    }
    const SpanRef span = Span::start({.name = "view", .local_parent = root.get()});
    span->end();
  }
}
BENCHMARK(start_end);

void root_span(benchmark::State& state) {
  for (auto _ : state) {
    const SpanRef span = new_root();
    span->end();
  }
}
BENCHMARK(root_span);

void set_attribute(benchmark::State& state) {
  const SpanRef span = new_root();
  for (auto _ : state) span->set_attribute("http.route", text_value("/orders/{order_id}/"));
}
BENCHMARK(set_attribute);

void leaf_five_attributes(benchmark::State& state) {
  QueueSink sink;
  RecordSink* const sinks[] = {&sink};
  SpanRef root = new_root();
  int spans = 0;
  const AttributeView attributes[] = {
      {"db.system", text_value("postgresql")},
      {"db.name", text_value("shop")},
      {"db.statement", text_value("SELECT * FROM orders WHERE id = ?")},
      {"db.operation", text_value("SELECT")},
      {"nuages.db.fingerprint", int_value(0x1234567890abcdef)}};
  for (auto _ : state) {
    if (++spans == 1000) {
      spans = 0;
      root = new_root();
    }
    const uint64_t start = root->local_root()->now();
    record_leaf(*root,
                {.name = "SELECT FROM orders WHERE id = ?",
                 .start_ns = start,
                 .attributes = attributes,
                 .sql_clean = true},
                sinks);
    sink.drain_when_half_full();
  }
}
BENCHMARK(leaf_five_attributes);

void count_query(benchmark::State& state) {
  const auto root = LocalRoot::create();
  uint64_t fingerprint = 0;
  for (auto _ : state) {
    root->count_query(7, ++fingerprint % 30, 1000, "SELECT * FROM orders WHERE id = ?");
  }
}
BENCHMARK(count_query);

void new_ids(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(new_span_id());
}
BENCHMARK(new_ids);

}  // namespace
}  // namespace nuages::trace

BENCHMARK_MAIN();
