// The thread's side of Exporter, second half: send what is oldest, keep it when the receiver is
// away, give it up when it is refused, and say so.
//
// An answer settles a batch (delivered, or refused for good). No answer, or one that says "later",
// begins trouble: the batch is put by in the outage buffer, and one batch at a time is tried after
// pauses that double and are jittered. Batches that come meanwhile go behind it, until the buffer
// is full; then records stay in the queue, which drops the newest. Without an outage buffer a batch
// is tried for export_timeout_ms and then given up.
#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "export/exporter.h"
#include "export/process.h"
#include "trace/id_generator.h"

namespace nuages::exporter {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kFirstBackoff = 500 * kMillisecond;
constexpr uint64_t kMaxBackoff = 8000 * kMillisecond;

// Half of the delay is fixed, half random: workers that failed together do not return together.
uint64_t with_jitter(uint64_t delay) { return delay / 2 + trace::new_span_id() % (delay / 2 + 1); }

std::string megabytes(size_t bytes) { return std::to_string((bytes + (1U << 19)) >> 20) + " MiB"; }

}  // namespace

bool Exporter::ensure_client(std::string& error) {
  if (client_) return true;
  auto made = net::OtlpClient::create(config_.client);
  register_exit_handler();  // libcurl and OpenSSL have theirs now
  if (!made.ok()) {
    error = made.error().message;
    return false;
  }
  (*made)->set_wait_hook([this](bool waiting) {
    if (waiting) {
      gate_.unlock();
    } else {
      gate_.lock();
    }
  });
  std::lock_guard lock(mutex_);
  client_ = std::move(*made);
  if (stopping_ || pausing_) client_->interrupt();
  return true;
}

// Mapped at the first outage, given back when it is over: no process pays for what it does not use.
bool Exporter::ensure_outage_memory() {
  if (outage_memory_ != nullptr) return true;
  const size_t bytes = OutageBuffer::required_bytes(config_.max_outage_bytes);
  if (memory_.has_file()) {
    const FileOptions options = file_options(FileKind::kOutage, memory_.audience());
    if (auto made = TmpfsFile::create(config_.survival.directories, options, bytes); made.ok()) {
      outage_file_ = std::move(*made);
      outage_memory_ = outage_file_.payload();
      outage_ = OutageBuffer::create(outage_memory_, config_.max_outage_bytes);
      outage_file_.announce();
      return true;
    }
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  outage_memory_ = memory;
  outage_ = OutageBuffer::create(memory, config_.max_outage_bytes);
  return true;
}

void Exporter::free_outage_memory() {
  if (outage_memory_ == nullptr) return;
  if (outage_file_.mapped()) {
    if (outage_.empty()) outage_file_.remove();
    outage_file_ = TmpfsFile();
  } else {
    munmap(outage_memory_, OutageBuffer::required_bytes(config_.max_outage_bytes));
  }
  outage_memory_ = nullptr;
  outage_ = OutageBuffer();
  outage_ends_.clear();
}

// Moves the batch at hand behind those that wait already. False: no room, it stays at hand.
bool Exporter::park_batch() {
  if (!has_batch_ || config_.max_outage_bytes == 0 || !ensure_outage_memory()) return false;
  const std::string_view request = encoder_.request();
  if (!packer_.compress(request, packed_) ||
      !outage_.push({packed_, batch_spans_, static_cast<uint32_t>(request.size())})) {
    return false;
  }
  queue_.release();
  outage_ends_.push_back(batch_end_);
  has_batch_ = false;
  encoder_.clear();
  std::lock_guard lock(mutex_);
  counters_.outage_spans = outage_.spans();
  counters_.outage_bytes = outage_.bytes();
  return true;
}

// Empty: what was put by cannot be read.
std::string_view Exporter::oldest_request() {
  if (outage_.empty()) return encoder_.request();
  const auto batch = outage_.front();
  if (!batch || !wire::decompress(wire::Packing::kGzip, batch->packed, batch->size, unpacked_)) {
    return {};
  }
  return unpacked_;
}

// Sends the oldest batch, once.
void Exporter::attempt() {
  attempt_control_ = control_.load(std::memory_order_seq_cst);
  memory_.beat();
  if (!ensure_client(trouble_)) return finish_oldest(false);
  const std::string_view request = oldest_request();
  if (request.empty()) {
    trouble_ = "a batch kept through an outage could not be read again";
    return finish_oldest(false);
  }
  const uint64_t now = steady_now();
  uint64_t deadline = UINT64_MAX;
  {
    std::lock_guard lock(mutex_);
    deadline = shutdown_deadline_;
    if (trouble_since_ != 0) ++counters_.retries;
  }
  if (config_.max_outage_bytes == 0) {
    const uint64_t since = trouble_since_ == 0 ? now : trouble_since_;
    deadline = std::min(deadline, since + config_.export_timeout_ms * kMillisecond);
  }
  const net::SendResult result = client_->send(request, deadline);
  error_type_ = result.error_type;
  if (config_.self_metrics_ms != 0) {
    metrics_.record_operation(error_type_, steady_now() - now);
  }
  settle(result, deadline);
}

void Exporter::settle(const net::SendResult& result, uint64_t deadline) {
  using net::Outcome;
  if (result.outcome != Outcome::kAborted || trouble_.empty()) trouble_ = result.message;
  bool interrupted = false;
  {
    std::lock_guard lock(mutex_);
    counters_.bytes += result.bytes_sent;
    if (result.outcome != Outcome::kSuccess) counters_.last_error = trouble_;
    if (result.rejected_spans != 0) {
      counters_.rejected += result.rejected_spans;
      counters_.last_error = "the receiver rejected spans: " + result.message;
    }
    interrupted = stopping_ || pausing_;
    if (result.outcome == Outcome::kAborted && !stopping_) client_->reset_interrupt();
  }
  switch (result.outcome) {
    case Outcome::kSuccess:
      if (result.rejected_spans == 0 && !result.message.empty() &&
          result.message != told_warning_) {
        told_warning_ = result.message;
        log(LogLevel::kWarning, "export",
            "the receiver accepted the spans and said: " + result.message);
      }
      return finish_oldest(true);
    case Outcome::kPermanent:
      return finish_oldest(false);
    case Outcome::kAborted:
      // The thread ends, or an interruption by a pause() that gave up: the batch stays either way.
      if (interrupted || steady_now() < deadline) return;
      break;
    case Outcome::kRetry:
      break;
  }
  schedule_retry(result.retry_after_ms);
}

void Exporter::schedule_retry(uint64_t asked_ms) {
  const uint64_t now = steady_now();
  if (trouble_since_ == 0) {
    trouble_since_ = now;
    backoff_ = kFirstBackoff;
  }
  throttled_ = asked_ms != 0;
  retry_at_ = now + std::max(asked_ms * kMillisecond, with_jitter(backoff_));
  backoff_ = std::min(backoff_ * 2, kMaxBackoff);
  const uint64_t given_up = trouble_since_ + config_.export_timeout_ms * kMillisecond;
  if (config_.max_outage_bytes == 0) {
    if (retry_at_ >= given_up) finish_oldest(false);
    return;
  }
  park_batch();
  report_trouble();
  if (now >= given_up || retry_at_ >= given_up) {
    // Flushes have waited long enough; the spans stay.
    std::lock_guard lock(mutex_);
    hopeless_target_ = flush_target_;
    changed_.notify_all();
  }
}

// The oldest batch is settled: what it was, and that trouble is over.
void Exporter::finish_oldest(bool delivered) {
  uint64_t spans = batch_spans_;
  uint64_t end = batch_end_;
  const bool was_parked = !outage_ends_.empty();
  if (was_parked) {
    const uint64_t before = outage_.spans();
    outage_.pop();
    spans = before - outage_.spans();
    end = outage_ends_.front();
    outage_ends_.pop_front();
  } else {
    has_batch_ = false;
    encoder_.clear();
    queue_.release();
  }
  if (delivered && told_of_trouble_) {
    log(LogLevel::kInfo, "export",
        "the receiver answers again; " + std::to_string(outage_.spans()) +
            " spans kept meanwhile follow");
    told_of_trouble_ = false;
  }
  if (was_parked && outage_.empty()) free_outage_memory();
  trouble_since_ = retry_at_ = 0;
  throttled_ = false;
  if (!delivered) metrics_.record_failed(error_type_, spans);
  std::unique_lock lock(mutex_);
  ++counters_.batches;
  counters_.outage_spans = outage_.spans();
  counters_.outage_bytes = outage_.bytes();
  if (delivered) {
    counters_.exported += spans;
    trouble_.clear();
  } else {
    counters_.failed += spans;
    counters_.last_error = trouble_;
  }
  done_position_ = end;
  const bool last = draining_ && done_position_ >= flush_target_;
  // A flush sleeps through the batches before its last, and finds the mutex free when it wakes.
  const bool awaited = done_position_ >= awaited_;
  if (awaited) awaited_ = UINT64_MAX;
  lock.unlock();
  if (awaited) changed_.notify_all();
  if (delivered) send_metrics(last);
}

// Behind spans that arrived, so that nothing is woken and nothing new can fail for it.
void Exporter::send_metrics(bool last) {
  const uint64_t now = steady_now();
  if (config_.self_metrics_ms == 0 || metrics_refused_ || !client_) return;
  if (!last && metrics_sent_ != 0 && now - metrics_sent_ < config_.self_metrics_ms * kMillisecond) {
    return;
  }
  metrics_sent_ = now;
  const Counters figures = counters();
  BatchEncoder encoder(config_.filters.mask, config_.filters.sql, config_.filters.attribute);
  uint64_t deadline = UINT64_MAX;
  {
    std::lock_guard lock(mutex_);
    deadline = shutdown_deadline_;
  }
  const net::Endpoint& receiver = client_->endpoint();
  const auto result =
      client_->send(metrics_.encode(config_, figures,
                                    {encoder.encode_resource(queue_), receiver.host, receiver.port,
                                     number_, started_ns_, wall_now()}),
                    deadline, net::Signal::kMetrics);
  if (result.outcome == net::Outcome::kPermanent) {
    metrics_refused_ = true;
    log(LogLevel::kWarning, "export",
        "the receiver does not take metrics, so none about the agent are sent: " + result.message);
  }
}

// At the second failure in a row, or the first ever, and then once per interval.
void Exporter::report_trouble() {
  const uint64_t now = steady_now();
  bool never_reached = false;
  {
    std::lock_guard lock(mutex_);
    never_reached = counters_.exported == 0;
  }
  if (told_of_trouble_ || (!never_reached && backoff_ == 2 * kFirstBackoff)) return;
  if (trouble_logged_ != 0 && now - trouble_logged_ < config_.warn_interval_ms * kMillisecond) {
    return;
  }
  trouble_logged_ = now;
  told_of_trouble_ = true;
  log(LogLevel::kWarning, "export",
      trouble_ + "; trying again, up to " + megabytes(config_.max_outage_bytes) +
          " of packed spans are kept until then");
}

// One line per interval, and one at the end, says how many spans were lost and why.
void Exporter::report_losses(bool last) {
  const uint64_t full = queue_.dropped();
  uint64_t failed = 0;
  uint64_t rejected = 0;
  std::string error;
  {
    std::unique_lock lock(mutex_, std::defer_lock);
    if (!last) lock.lock();  // shutdown() holds it already
    failed = counters_.failed;
    rejected = counters_.rejected;
    error = counters_.last_error;
  }
  const uint64_t lost = full + failed + rejected;
  const uint64_t now = steady_now();
  if (lost == reported_) return;
  const bool recent =
      last_report_ != 0 && now - last_report_ < config_.warn_interval_ms * kMillisecond;
  if (recent && !last) return;
  std::string text = std::to_string(lost - reported_) + " spans were lost";
  if (reported_ != 0) text += " since the last report";
  text += " (in all: " + std::to_string(failed) + " could not be sent, " + std::to_string(full) +
          " found the queue full at max_queue_size=" + std::to_string(config_.max_queue_size) +
          ", " + std::to_string(rejected) + " were rejected by the receiver)";
  if (!error.empty()) text += "; last error: " + error;
  reported_ = lost;
  last_report_ = now;
  log(LogLevel::kWarning, "export", text);
}

}  // namespace nuages::exporter
