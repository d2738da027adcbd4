#include "export/self_metrics.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>
#include <vector>

#include "wire/otlp_writer.h"

namespace nuages::exporter {
namespace {

constexpr size_t kMaxErrorTypes = 32;  // they come from the receiver; a bound keeps the maps small
constexpr uint32_t kCumulative = 2;

using Attributes = std::vector<std::pair<std::string_view, wire::Value>>;

wire::Value text(std::string_view value) {
  wire::Value out;
  out.type = wire::ValueType::kString;
  out.text = value;
  return out;
}

wire::Value number(int64_t value) {
  wire::Value out;
  out.type = wire::ValueType::kInt;
  out.integer = value;
  return out;
}

// One metric being written: name and unit first, its points between begin and end.
class Metric {
 public:
  enum class Kind : uint32_t { kSum = 7, kHistogram = 9 };

  Metric(wire::ProtobufWriter& out, std::string_view name, std::string_view unit, Kind kind,
         bool monotonic, const SelfMetrics::Facts& facts)
      : out_(out), facts_(facts), monotonic_(monotonic), kind_(kind), metric_(out.begin(2)) {
    out_.string(1, name);
    out_.string(3, unit);
    data_ = out_.begin(static_cast<uint32_t>(kind));
  }
  ~Metric() {
    out_.varint(2, kCumulative);
    if (kind_ == Kind::kSum && monotonic_) out_.boolean(3, true);
    out_.end(data_);
    out_.end(metric_);
  }
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;

  void point(const Attributes& attributes, std::string_view error_type, uint64_t value) {
    const auto message = out_.begin(1);
    times();
    out_.fixed64(6, value);
    labels(7, attributes, error_type);
    out_.end(message);
  }
  void histogram(const Attributes& attributes, std::string_view error_type, uint64_t count,
                 double sum, const auto& buckets, const auto& bounds) {
    const auto message = out_.begin(1);
    times();
    out_.fixed64(4, count);
    out_.number(5, sum);
    out_.length(6, buckets.size() * 8);
    for (const uint64_t each : buckets) little_endian(each);
    out_.length(7, bounds.size() * 8);
    for (const double each : bounds) little_endian(std::bit_cast<uint64_t>(each));
    labels(9, attributes, error_type);
    out_.end(message);
  }

 private:
  void times() {
    out_.fixed64(2, facts_.start_ns);
    out_.fixed64(3, facts_.now_ns);
  }
  void labels(uint32_t field, const Attributes& attributes, std::string_view error_type) {
    for (const auto& [key, value] : attributes) wire::write_key_value(out_, field, key, value);
    if (!error_type.empty()) wire::write_key_value(out_, field, "error.type", text(error_type));
  }
  void little_endian(uint64_t value) {
    char bytes[8];
    for (unsigned i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
    out_.raw({bytes, sizeof bytes});
  }

  wire::ProtobufWriter& out_;
  const SelfMetrics::Facts& facts_;
  const bool monotonic_;
  const Kind kind_;
  wire::ProtobufWriter::Message metric_;
  wire::ProtobufWriter::Message data_{};
};

}  // namespace

void SelfMetrics::record_operation(std::string_view error_type, uint64_t duration_ns) {
  auto found = operations_.find(error_type);
  if (found == operations_.end()) {
    if (operations_.size() >= kMaxErrorTypes) error_type = "_OTHER";
    found = operations_.try_emplace(std::string(error_type)).first;
  }
  Histogram& histogram = found->second;
  const double seconds = static_cast<double>(duration_ns) * 1e-9;
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++histogram.buckets[static_cast<size_t>(bound - kBounds.begin())];
  ++histogram.count;
  histogram.sum += seconds;
}

void SelfMetrics::record_failed(std::string_view error_type, uint64_t spans) {
  if (error_type.empty() || failed_.size() >= kMaxErrorTypes) error_type = "_OTHER";
  failed_[std::string(error_type)] += spans;
}

void SelfMetrics::reset() {
  operations_.clear();
  failed_.clear();
}

std::string_view SelfMetrics::encode(const PipelineConfig& config, const Counters& counters,
                                     const Facts& facts) {
  const bool grpc = config.client.protocol == net::Protocol::kGrpc;
  const std::string_view exporter_type =
      grpc ? "otlp_grpc_span_exporter" : "otlp_http_span_exporter";
  const std::string_view processor_type = "batching_span_processor";
  const std::string suffix = "/" + std::to_string(facts.number);
  const std::string exporter_name = std::string(exporter_type) + suffix;
  const std::string processor_name = std::string(processor_type) + suffix;
  const Attributes processor = {{"otel.component.type", text(processor_type)},
                                {"otel.component.name", text(processor_name)}};
  const Attributes exporter = {{"otel.component.type", text(exporter_type)},
                               {"otel.component.name", text(exporter_name)},
                               {"server.address", text(facts.server_address)},
                               {"server.port", number(facts.server_port)}};
  using Kind = Metric::Kind;
  out_.clear();
  const auto resource_metrics = out_.begin_large(1);
  out_.raw(facts.resource);
  const auto scope_metrics = out_.begin_large(2);
  const auto scope = out_.begin(1);
  out_.string(1, "nuages.sdk");
  out_.string(2, config.client.version);
  out_.end(scope);
  {
    Metric metric(out_, "otel.sdk.processor.span.queue.capacity", "{span}", Kind::kSum, false,
                  facts);
    metric.point(processor, "", config.max_queue_size);
  }
  {
    Metric metric(out_, "otel.sdk.processor.span.queue.size", "{span}", Kind::kSum, false, facts);
    metric.point(processor, "", counters.queued);
  }
  {
    Metric metric(out_, "otel.sdk.processor.span.processed", "{span}", Kind::kSum, true, facts);
    metric.point(processor, "", counters.enqueued - std::min(counters.queued, counters.enqueued));
    if (counters.dropped_full != 0) metric.point(processor, "queue_full", counters.dropped_full);
  }
  {
    Metric metric(out_, "otel.sdk.exporter.span.inflight", "{span}", Kind::kSum, false, facts);
    metric.point(exporter, "", counters.outage_spans);
  }
  {
    Metric metric(out_, "otel.sdk.exporter.span.exported", "{span}", Kind::kSum, true, facts);
    metric.point(exporter, "", counters.exported - std::min(counters.rejected, counters.exported));
    if (counters.rejected != 0) metric.point(exporter, "rejected", counters.rejected);
    for (const auto& [type, spans] : failed_) metric.point(exporter, type, spans);
  }
  if (!operations_.empty()) {
    Metric metric(out_, "otel.sdk.exporter.operation.duration", "s", Kind::kHistogram, false,
                  facts);
    for (const auto& [type, each] : operations_) {
      metric.histogram(exporter, type, each.count, each.sum, each.buckets, kBounds);
    }
  }
  out_.end(scope_metrics);
  out_.end(resource_metrics);
  return out_.view();
}

}  // namespace nuages::exporter
