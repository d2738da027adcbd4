// Pipeline: queue and exporter thread of one span processor + exporter pair.
//
// publish() copies a record into a lock-free ring and returns; one thread per pipeline, started by
// the first record of a process, pops, masks, encodes OTLP into one reused buffer and sends. It
// never touches Python, blocks all signals and sleeps until a batch is due: no polling.
//
// Fork: handlers registered once bring the thread to a safe point (outside libcurl, OpenSSL and
// the allocator's users) before fork() proceeds; the child starts with an empty queue, no thread,
// zero counters, and leaks the parent's connection instead of closing it.
// Lifetime: shared_ptr; the thread keeps the state alive, so a pipeline that misses its deadline
// can be abandoned safely. Losses are counted and reported at most once per warn_interval_ms.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "export/batch_encoder.h"
#include "export/mask_profile.h"
#include "net/otlp_client.h"
#include "trace/attribute.h"
#include "trace/sink.h"

namespace nuages::exporter {

// Whether spans outlive a killed process, in a file on tmpfs (export/tmpfs_file.h), and this
// process sends those that others left behind (export/orphan.h).
struct Survival {
  bool enabled = false;
  std::vector<std::string> directories = {};  // tried in this order; must be on tmpfs
  uint32_t scan_interval_ms = 10'000;  // between two looks for others' files, while spans come
};

struct PipelineConfig {
  uint32_t max_queue_size = 2048;        // spans
  uint32_t max_export_batch_size = 512;  // spans; at most max_queue_size
  uint32_t schedule_delay_ms = 5000;
  uint32_t export_timeout_ms = 30'000;  // one batch, retries included
  size_t max_queue_bytes = 4U << 20;
  size_t max_outage_bytes = 8U << 20;   // packed batches kept while the receiver is away
  size_t max_request_bytes = 3U << 20;  // receivers refuse messages above 4 MiB by default
  uint32_t warn_interval_ms = 60'000;
  uint32_t self_metrics_ms = 0;  // send otel.sdk.* metrics at most so often; 0: never
  Filters filters;               // empty: nothing is masked
  MaskProfile mask_profile;      // describes them; without it nobody else can send masked spans
  bool process_policy = false;   // mask by mask::process_policy(), whatever the two above say
  Survival survival;
  bool serialised = false;  // all publish() come under one lock of the caller
  net::OtlpClientConfig client;
};

struct Counters {
  uint64_t enqueued = 0;
  uint64_t dropped_full = 0;  // the queue was full in spans or bytes, or shut down
  uint64_t exported = 0;
  uint64_t failed = 0;    // spans of batches given up
  uint64_t rejected = 0;  // spans the receiver refused (partial success)
  uint64_t retries = 0;
  uint64_t batches = 0;
  uint64_t bytes = 0;         // request bodies sent, as on the wire
  uint64_t queued = 0;        // spans in the queue now
  uint64_t outage_spans = 0;  // spans kept now until the receiver is back
  uint64_t outage_bytes = 0;  // packed
  uint64_t adopted = 0;       // spans of killed processes sent
  uint64_t adopted_lost = 0;  // spans of killed processes that could not be sent
  uint64_t kept = 0;          // spans left to the next process at shutdown
  std::string last_error;
};

class Exporter;

class Pipeline final : public trace::RecordSink {
 public:
  static std::shared_ptr<Pipeline> create(PipelineConfig config);
  ~Pipeline() override;  // stops the thread without flushing; call shutdown() first
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Replaces the resource for all records exported from now on (again after fork, say).
  void set_resource(std::span<const trace::AttributeView> attributes, std::string_view schema_url);

  void publish(std::string_view record) noexcept override;

  // True iff every record published before the call has been delivered by the deadline.
  bool force_flush(uint32_t timeout_ms) noexcept;
  // Flushes, stops the thread and refuses further records; true as force_flush. The transfer in
  // flight is aborted at the deadline. Later calls return the first answer.
  bool shutdown(uint32_t timeout_ms) noexcept;
  // Before a fork that must see one thread only (Python >= 3.12 warns): ends the thread within
  // timeout_ms without losing records; the next record starts it again.
  bool pause(uint32_t timeout_ms) noexcept;
  // Starts the thread again when records are waiting.
  void resume() noexcept;

  Counters counters() const;
  const PipelineConfig& config() const noexcept;

 private:
  explicit Pipeline(std::shared_ptr<Exporter> exporter) noexcept;
  std::shared_ptr<Exporter> exporter_;
};

}  // namespace nuages::exporter
