// Exporter: the state and the thread behind a Pipeline. Inside export only.
//
// Locks. `gate` is held by the exporter thread except while it waits (for records, for the network,
// between retries): whoever holds it has the thread at a safe point, which is what the fork
// handlers do. `mutex` guards the control fields for moments; it is taken under the gate, never
// the other way round. Callers of flush and shutdown wait on `changed`.
//
// Positions are byte positions of the queue: a flush is done when `done_position` has reached the
// queue's head at the time of the call.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "export/adoption.h"
#include "export/batch_encoder.h"
#include "export/outage_buffer.h"
#include "export/pipeline.h"
#include "export/queue_memory.h"
#include "export/self_metrics.h"
#include "export/tmpfs_file.h"
#include "net/otlp_client.h"
#include "trace/queue.h"
#include "wire/gzip.h"

namespace nuages::exporter {

class Exporter : public std::enable_shared_from_this<Exporter> {
 public:
  explicit Exporter(PipelineConfig config);  // throws std::bad_alloc
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  void publish(std::string_view record) noexcept;
  void set_resource(std::string_view description);
  bool force_flush(uint64_t deadline_ns) noexcept;
  bool shutdown(uint64_t deadline_ns) noexcept;
  bool pause(uint64_t deadline_ns) noexcept;
  void resume() noexcept;
  void abandon() noexcept;  // stop soon, do not wait
  Counters counters() const;
  const PipelineConfig& config() const noexcept { return config_; }

  // For export/process.cc: the thread's body, and what fork and exit ask for.
  void run() noexcept;
  void lock_for_fork() noexcept;
  void unlock_after_fork() noexcept;
  void reset_in_child() noexcept;
  // As shutdown(), on a thread that may hold any lock: gives up at lock_deadline. CLOCK_REALTIME.
  void drain_for_exit(uint64_t deadline_ns, const timespec& lock_deadline) noexcept;
  void hold_for_exit(const timespec& deadline) noexcept;
  void destroy_client() noexcept { client_.reset(); }
  void leak_client() noexcept;

 private:
  // What the thread does next: take records of the queue, send what waits already, or end.
  enum class Next : uint8_t { kBatch, kSend, kStop };

  // Callers' side; mutex_ is held where the name says so.
  void start_thread_locked() noexcept;
  void control_changed_locked() noexcept;
  bool wait_locked(std::unique_lock<std::mutex>& lock, uint64_t deadline_ns, uint64_t position);
  uint64_t begin_shutdown_locked(uint64_t deadline_ns) noexcept;  // how far to drain
  void stop_thread_locked(std::unique_lock<std::mutex>& lock) noexcept;
  void give_up_rest_locked() noexcept;
  void copy_scopes() noexcept;
  void copy_scopes_locked() noexcept;  // scopes_mutex_ is held here and below
  void settle_memory_locked() noexcept;
  uint64_t audience_locked() const noexcept;
  FileOptions file_options(FileKind kind, uint64_t audience) const;

  // The thread's side; the gate is held. exporter_thread.cc:
  Next wait_for_batch();
  bool check_control(Next& next);
  bool wait_in_outage(uint32_t control);
  void sleep_ungated(uint64_t nanoseconds);
  void pause_for_writer();
  void take_batch();
  void skip_claimed();
  // delivery.cc:
  bool backlog() const { return has_batch_ || !outage_.empty(); }
  bool may_park() const { return !has_batch_ && config_.max_outage_bytes != 0; }
  bool park_batch();
  bool ensure_outage_memory();
  void free_outage_memory();
  void attempt();
  std::string_view oldest_request();
  bool ensure_client(std::string& error);
  void settle(const net::SendResult& result, uint64_t deadline);
  void schedule_retry(uint64_t asked_ms);
  void finish_oldest(bool delivered);
  void report_trouble();
  void report_losses(bool last);
  void send_metrics(bool last);
  // adoption.cc:
  bool may_adopt();
  uint64_t adoption_wait(uint64_t now) const;  // until the next look, while spans wait anyway
  void adopt();
  void send_orphan(Orphan& orphan);

  const PipelineConfig config_;
  const std::string receiver_;  // the audience's second half: endpoint and headers
  QueueMemory memory_;
  trace::RecordQueue queue_;
  std::mutex scopes_mutex_;  // one writer of the queue's descriptions at a time, and of these:
  std::string resource_;
  std::atomic<bool> memory_settled_{false};  // the queue is where it stays in this process

  std::mutex gate_;
  // Used by the thread only.
  BatchEncoder encoder_;
  std::vector<std::string_view> records_;
  bool has_batch_ = false;
  uint32_t batch_spans_ = 0;
  uint64_t batch_end_ = 0;  // queue position behind the batch
  // Batches that wait for a receiver, oldest first; has_batch_ is younger than all of them.
  OutageBuffer outage_;
  void* outage_memory_ = nullptr;
  TmpfsFile outage_file_;             // has outage_memory_ when it exists
  std::deque<uint64_t> outage_ends_;  // queue position behind each
  wire::Gzip packer_{};
  std::string packed_;
  std::string unpacked_;
  // Trouble: since when, how long the next pause is, and before when nothing is sent.
  uint64_t trouble_since_ = 0;  // 0: the last attempt was answered for good
  uint64_t backoff_ = 0;
  uint64_t retry_at_ = 0;
  bool throttled_ = false;        // the receiver said when: a flush does not shorten it
  uint32_t attempt_control_ = 0;  // control_ at the last attempt
  uint64_t trouble_logged_ = 0;
  bool told_of_trouble_ = false;
  std::string told_warning_;
  std::string error_type_;  // of the last attempt
  SelfMetrics metrics_;
  const uint32_t number_;  // of this exporter in its process
  uint64_t metrics_sent_ = 0;
  bool metrics_refused_ = false;
  uint64_t started_ns_ = wall_now();  // since when the counters count
  // Of the last attempt that failed by itself since the last success: being interrupted explains
  // nothing.
  std::string trouble_;
  uint64_t due_ = 0;  // when waiting records must go; 0: none is waiting
  Adoption adoption_;
  uint64_t reported_ = 0;
  uint64_t last_report_ = 0;

  std::atomic<bool> running_{false};  // false: publish() must look at the control fields
  std::atomic<bool> closed_{false};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint32_t> control_{0};  // counts changes of the fields below

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool alive_ = false;  // the thread exists
  bool stopping_ = false;
  bool pausing_ = false;
  bool draining_ = false;
  bool shut_down_ = false;
  bool shutdown_answer_ = false;
  bool rest_given_up_ = false;
  uint64_t shutdown_deadline_ = UINT64_MAX;
  uint64_t retry_until_ = UINT64_MAX;  // while shutting down without ever having reached a receiver
  uint64_t flush_target_ = 0;
  uint64_t hopeless_target_ = 0;  // flushes up to here need not wait any longer
  uint64_t done_position_ = 0;
  uint64_t awaited_ = UINT64_MAX;  // the nearest position a flush waits for; perhaps none does
  Counters counters_;
  std::unique_ptr<net::OtlpClient> client_;
};

}  // namespace nuages::exporter
