// SelfMetrics: the agent's figures about itself as OpenTelemetry's `otel.sdk.*` metrics.
//
// Kept by the exporter thread without a metrics SDK: what the counters of the pipeline do not hold
// (how long exports took, why they failed) is recorded here, and encode() makes one cumulative
// ExportMetricsServiceRequest of everything. It goes to the spans' receiver, after spans and at
// most once per interval: an idle process is not woken for it. Threading: one thread. Cost: some
// ten additions per export, about 10 us per encode(). Source: OpenTelemetry semantic conventions,
// "OTel SDK metrics"; opentelemetry-proto metrics v1.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "export/pipeline.h"
#include "wire/protobuf_writer.h"

namespace nuages::exporter {

class SelfMetrics {
 public:
  // `error_type` is empty for a delivered batch.
  void record_operation(std::string_view error_type, uint64_t duration_ns);
  void record_failed(std::string_view error_type, uint64_t spans);

  struct Facts {
    std::string_view resource;  // a Resource message, encoded
    std::string_view server_address;
    uint16_t server_port = 0;
    uint32_t number = 0;  // of this pipeline in its process
    uint64_t start_ns = 0;
    uint64_t now_ns = 0;
  };
  // The view lives until the next call.
  std::string_view encode(const PipelineConfig& config, const Counters& counters,
                          const Facts& facts);
  void reset();

 private:
  // The default boundaries of OpenTelemetry's histograms, for seconds.
  static constexpr std::array<double, 14> kBounds = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                     0.5,   0.75, 1,     2.5,  5,     7.5, 10};
  struct Histogram {
    std::array<uint64_t, kBounds.size() + 1> buckets{};
    uint64_t count = 0;
    double sum = 0;
  };
  std::map<std::string, Histogram, std::less<>> operations_;  // by error type
  std::map<std::string, uint64_t, std::less<>> failed_;
  wire::ProtobufWriter out_;
};

}  // namespace nuages::exporter
