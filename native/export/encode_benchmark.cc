// What the exporter thread spends per span: 512 records with five attributes to OTLP bytes, without
// and with masking, and with gzip.
//
//   build/release/native/encode_benchmark
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "export/batch_encoder.h"
#include "export/mask_profile.h"
#include "trace/scope.h"
#include "trace/span.h"
#include "wire/gzip.h"

namespace nuages::exporter {
namespace {

using trace::bool_value;
using trace::int_value;
using trace::text_value;

// What differs from span to span: nothing, one attribute (as in bench/export.py), all of them.
enum class Vary : int64_t { kNothing, kTarget, kAll, kStatement };

class Records : public trace::RecordSink {
 public:
  explicit Records(size_t count, Vary vary = Vary::kNothing) {
    const size_t bytes = (trace::RecordQueue::required_bytes({}) + 4095) / 4096 * 4096;
    memory_ = std::aligned_alloc(4096, bytes);
    std::memset(memory_, 0, bytes);
    queue = trace::RecordQueue::create(memory_, {});
    const trace::AttributeView resource[] = {{"service.name", text_value("django-order-service")}};
    queue.set_resource(trace::describe({}, resource));
    queue.add_scope(trace::scope_description(0));
    const auto root = trace::Span::start({.name = "GET /orders/"});
    for (size_t i = 0; i < count; ++i) {
      const auto span =
          trace::Span::start({.name = "orders.views.order_detail", .local_parent = root.get()});
      const std::string number = std::to_string(i);
      if (vary == Vary::kNothing) {
        span->set_attribute("http.method", text_value("GET"));
        span->set_attribute("http.route", text_value("/orders/{order_id}/"));
        span->set_attribute("http.status_code", int_value(200));
        span->set_attribute("http.scheme", text_value("http"));
        span->set_attribute("user.authenticated", bool_value(true));
      } else if (vary == Vary::kTarget) {
        span->set_attribute("http.method", text_value("GET"));
        span->set_attribute("http.route", text_value("/orders/{order_id}/"));
        span->set_attribute("http.target", text_value("/orders/" + number + "/"));
        span->set_attribute("http.status_code", int_value(200));
        span->set_attribute("user.id", text_value("user-4711"));
      } else if (vary == Vary::kAll) {
        span->set_attribute("http.method", text_value("GET " + number));
        span->set_attribute("http.route", text_value("/orders/{order_id}/" + number));
        span->set_attribute("http.target", text_value("/orders/" + number + "/"));
        span->set_attribute("http.status_code", int_value(static_cast<int64_t>(i)));
        span->set_attribute("user.id", text_value("user-" + number));
      } else {
        span->set_attribute("db.system", text_value("postgresql"));
        span->set_attribute("db.name", text_value("shop"));
        span->set_attribute("db.operation", text_value("SELECT"));
        span->set_attribute(
            "db.statement",
            text_value(
                "SELECT \"orders_order\".\"id\", \"orders_order\".\"user_id\", "
                "\"orders_order\".\"total\", \"orders_order\".\"created_at\" FROM "
                "\"orders_order\" INNER JOIN \"auth_user\" ON (\"orders_order\".\"user_id\" = "
                "\"auth_user\".\"id\") WHERE \"orders_order\".\"id\" = %s LIMIT 21"));
        span->set_attribute("db.row_count", int_value(static_cast<int64_t>(i)));
        span->mark_sql_clean();
      }
      span->end();
      span->publish(*this);
    }
    views.assign(copies_.begin(), copies_.end());
  }
  ~Records() override { std::free(memory_); }
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;
  void publish(std::string_view record) noexcept override { copies_.emplace_back(record); }

  trace::RecordQueue queue;
  std::vector<std::string_view> views;

 private:
  void* memory_;
  std::vector<std::string> copies_;
};

constexpr size_t kBatch = 512;

void encode(benchmark::State& state) {
  Records records(kBatch);
  BatchEncoder encoder({}, {});
  size_t bytes = 0;
  for (auto _ : state) bytes = encoder.encode(records.queue, records.views).size();
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
  state.counters["bytes_per_span"] = static_cast<double>(bytes) / kBatch;
  state.counters["record_bytes"] = static_cast<double>(records.views[0].size());
}
BENCHMARK(encode);

void encode_masked(benchmark::State& state) {
  mask::set_process_profile("default", true);
  Records records(kBatch, static_cast<Vary>(state.range(0)));
  Filters filters = process_filters();
  BatchEncoder encoder(filters.mask, filters.sql, filters.attribute);
  size_t bytes = 0;
  for (auto _ : state) bytes = encoder.encode(records.queue, records.views).size();
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
  state.counters["bytes_per_span"] = static_cast<double>(bytes) / kBatch;
}
BENCHMARK(encode_masked)->DenseRange(0, 3);

void encode_and_gzip(benchmark::State& state) {
  Records records(kBatch);
  BatchEncoder encoder({}, {});
  wire::Gzip gzip(wire::Packing::kGzip, static_cast<int>(state.range(0)));
  std::string packed;
  for (auto _ : state) gzip.compress(encoder.encode(records.queue, records.views), packed);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
  state.counters["bytes_per_span"] = static_cast<double>(packed.size()) / kBatch;
}
BENCHMARK(encode_and_gzip)->Arg(1)->Arg(2)->Arg(3)->Arg(4)->Arg(6)->Arg(9);

}  // namespace
}  // namespace nuages::exporter

BENCHMARK_MAIN();
