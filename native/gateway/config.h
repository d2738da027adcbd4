// The configuration of nuages-server: the OpenTelemetry Collector's YAML, for the parts we have.
//
//   receivers   otlp (grpc and http endpoints)
//   processors  batch, memory_limiter, attributes, filter
//   exporters   nuages (this server's store), otlp, otlphttp, debug
//   extensions  health_check, bearertokenauth, file_storage
//   service     extensions, pipelines of traces, logs and metrics, telemetry (logs.level)
//
// Names with a suffix (otlp/2), ${env:NAME} and ${env:NAME:-text} work as there. A component, key
// or value that this server does not know is a Problem with its line: nothing is ignored silently
// but what only tells a collector about its own metrics. Parsing has no side effects. Threading:
// pure. Source: go.opentelemetry.io/collector and -contrib READMEs of each component.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/condition.h"
#include "gateway/yaml_map.h"
#include "net/otlp_client.h"
#include "wire/otlp_fields.h"

namespace nuages::gateway {

struct ReceiverConfig {
  std::optional<std::string> grpc;  // HOST:PORT
  std::optional<std::string> http;
  std::optional<uint64_t> max_body_bytes;
};

struct BatchConfig {
  uint64_t timeout_ns = 200'000'000;
  uint64_t size = 8192;
  uint64_t max_size = 0;  // 0: requests that are larger already stay whole
};

struct MemoryConfig {
  uint64_t limit_bytes = 0;
  uint64_t spike_bytes = 0;  // refused above the limit less this
};

struct AttributeAction {
  enum class Kind : uint8_t { kInsert, kUpdate, kUpsert, kDelete };
  Kind kind = Kind::kInsert;
  std::string key;
  std::string value;  // encoded AnyValue
  std::string from;   // another attribute; empty: the value
};

struct ProcessorConfig {
  enum class Kind : uint8_t { kBatch, kMemory, kAttributes, kFilter };
  Kind kind = Kind::kBatch;
  BatchConfig batch;
  MemoryConfig memory;
  std::vector<AttributeAction> actions;
  std::vector<Condition> drop;  // a span for which one of them holds
};

struct RetryConfig {
  bool enabled = true;
  uint64_t initial_ns = 5'000'000'000;
  uint64_t max_ns = 30'000'000'000;
  uint64_t max_elapsed_ns = 0;  // 0: as long as it takes
};

struct ForwardConfig {
  net::OtlpClientConfig client;
  // Whole URLs for single signals (otlphttp); empty: the endpoint's.
  std::array<std::string, wire::kSignals> urls;
  RetryConfig retry;
  uint64_t queue_requests = 1000;
  uint64_t queue_bytes = uint64_t{1} << 30;
  std::string queue_folder;  // of file_storage; empty: in the data folder
};

struct ExporterConfig {
  enum class Kind : uint8_t { kNuages, kForward, kDebug };
  Kind kind = Kind::kDebug;
  ForwardConfig forward;
  bool detailed = false;  // debug
  std::string source;     // its text in the file, to see whether a reload changed it
};

struct PipelineConfig {
  std::string name;  // "traces/2"
  wire::Signal signal = wire::Signal::kTraces;
  std::vector<std::string> processors;
  std::vector<std::string> exporters;
};

struct Config {
  ReceiverConfig receiver;
  std::optional<std::string> data;  // of the exporter nuages: path
  std::optional<std::string> ui;    // and its web UI: HOST:PORT
  std::optional<std::string> health;
  std::optional<std::string> log_level;
  std::map<std::string, ProcessorConfig> processors;
  std::map<std::string, ExporterConfig> exporters;
  std::vector<PipelineConfig> pipelines;

  bool stores() const;
};

// What is usable of it, and every problem found in `context`, ordered by line.
Config parse_config(std::string_view text, YamlContext& context);

// "F:12: ..." for each problem, one a line.
std::string problem_text(const std::string& file, const std::vector<Problem>& problems);

// Reads the file and refuses it when it has any problem: the Error is problem_text.
Result<Config> load_config(const std::string& file);

}  // namespace nuages::gateway
