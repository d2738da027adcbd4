// The thread's side of Exporter: wait for a batch, encode it, deliver it, report losses.
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <ctime>
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
constexpr timespec kWriterPause = {0, 50'000};  // a producer is between reserve and commit

using WaitFor = trace::RecordQueue::WaitFor;

// Half of the delay is fixed, half random: workers that failed together do not return together.
uint64_t with_jitter(uint64_t delay) { return delay / 2 + trace::new_span_id() % (delay / 2 + 1); }

}  // namespace

void Exporter::run() noexcept {
  pthread_setname_np(pthread_self(), "nuages-export");
  gate_.lock();
  {
    std::lock_guard lock(mutex_);
    if (client_) client_->reset_interrupt();
  }
  while (wait_for_batch() == Next::kBatch) {
    if (!has_batch_) take_batch();
    deliver();
    report_losses(false);
  }
  {
    std::lock_guard lock(mutex_);
    if (has_batch_ && shut_down_) {
      counters_.failed += batch_spans_;
      has_batch_ = false;
    }
    alive_ = false;
    running_.store(false, std::memory_order_release);
    changed_.notify_all();
  }
  gate_.unlock();
}

// True when `next` says what to do at once.
bool Exporter::check_control(Next& next) {
  std::lock_guard lock(mutex_);
  if (stopping_ || pausing_) {
    next = Next::kStop;
    return true;
  }
  if (has_batch_) {
    next = Next::kBatch;
    return true;
  }
  if (flush_target_ > done_position_) {
    if (queue_.tail() >= flush_target_) {
      done_position_ = queue_.tail();
      changed_.notify_all();
    } else if (queue_.readable()) {
      next = Next::kBatch;
      return true;
    }
  }
  if (draining_ && done_position_ >= flush_target_) {
    next = Next::kStop;
    return true;
  }
  return false;
}

void Exporter::sleep_ungated(uint64_t nanoseconds) {
  gate_.unlock();
  queue_.sleep(nanoseconds);
  gate_.lock();
}

Exporter::Next Exporter::wait_for_batch() {
  for (;;) {
    const uint32_t control = control_.load(std::memory_order_seq_cst);
    Next next = Next::kStop;
    if (check_control(next)) return next;
    if (queue_.pending() == 0) {
      due_ = 0;
      queue_.arm(WaitFor::kAny);
      if (queue_.pending() == 0 && control_.load(std::memory_order_seq_cst) == control) {
        sleep_ungated(UINT64_MAX);
      } else {
        queue_.disarm();
      }
      continue;
    }
    const uint64_t now = steady_now();
    if (due_ == 0) due_ = now + config_.schedule_delay_ms * kMillisecond;
    const bool due = now >= due_ || queue_.batch_ready();
    if (due && queue_.readable()) return Next::kBatch;
    bool flushing = false;
    {
      std::lock_guard lock(mutex_);
      flushing = flush_target_ > done_position_;
    }
    if (due || flushing) {
      gate_.unlock();
      nanosleep(&kWriterPause, nullptr);
      gate_.lock();
      continue;
    }
    queue_.arm(WaitFor::kBatch);
    if (!queue_.batch_ready() && control_.load(std::memory_order_seq_cst) == control) {
      sleep_ungated(due_ - now);
    } else {
      queue_.disarm();
    }
  }
}

void Exporter::take_batch() {
  queue_.peek(records_, std::max(config_.max_export_batch_size, 1U), config_.max_request_bytes);
  batch_spans_ = static_cast<uint32_t>(records_.size());
  encoder_.encode(queue_, records_);
  queue_.pop(records_.size());
  records_.clear();
  has_batch_ = true;
  batch_end_ = queue_.tail();
  const uint64_t now = steady_now();
  batch_deadline_ = now + config_.export_timeout_ms * kMillisecond;
  due_ = queue_.pending() != 0 ? now + config_.schedule_delay_ms * kMillisecond : 0;
}

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

// Sends the batch until it is delivered, refused for good, or its time is over. Returns with the
// batch still there only when the thread has to pause.
void Exporter::deliver() {
  uint64_t backoff = kFirstBackoff;
  for (;;) {
    if (!ensure_client(trouble_)) return finish_batch(false);
    uint64_t deadline = batch_deadline_;
    {
      std::lock_guard lock(mutex_);
      deadline = std::min(deadline, shutdown_deadline_);
    }
    net::SendResult result = client_->send(encoder_.request(), deadline);
    if (result.outcome != net::Outcome::kAborted || trouble_.empty()) trouble_ = result.message;
    {
      std::lock_guard lock(mutex_);
      counters_.bytes += result.bytes_sent;
      if (result.outcome != net::Outcome::kSuccess) counters_.last_error = trouble_;
      if (pausing_ && result.outcome != net::Outcome::kSuccess) return;
      if (result.outcome == net::Outcome::kSuccess && result.rejected_spans != 0) {
        counters_.rejected += result.rejected_spans;
        counters_.last_error = "the receiver rejected spans: " + result.message;
      }
      if (result.outcome == net::Outcome::kAborted && !stopping_) client_->reset_interrupt();
    }
    switch (result.outcome) {
      case net::Outcome::kSuccess:
        return finish_batch(true);
      case net::Outcome::kPermanent:
        return finish_batch(false);
      case net::Outcome::kAborted:
        // An interruption by a pause() that gave up: go on. Otherwise the time is over.
        if (steady_now() < deadline && back_off(steady_now())) continue;
        return finish_batch(false);
      case net::Outcome::kRetry:
        break;
    }
    const uint64_t asked = result.retry_after_ms * kMillisecond;
    const uint64_t pause = std::max(asked, with_jitter(backoff));
    backoff = std::min(backoff * 2, kMaxBackoff);
    const uint64_t until = steady_now() + pause;
    if (until >= batch_deadline_ || !back_off(until)) return finish_batch(false);
    std::lock_guard lock(mutex_);
    if (pausing_) return;
    ++counters_.retries;
  }
}

// Waits outside of the gate; a flush, a shutdown or a pause ends the wait early. False: stop.
bool Exporter::back_off(uint64_t until_ns) {
  gate_.unlock();
  bool go_on = false;
  {
    std::unique_lock lock(mutex_);
    const uint32_t control = control_.load(std::memory_order_seq_cst);
    const auto until = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(
        static_cast<int64_t>(std::min({until_ns, shutdown_deadline_, retry_until_}))));
    changed_.wait_until(lock, until, [&] {
      return stopping_ || pausing_ || control_.load(std::memory_order_seq_cst) != control;
    });
    const uint64_t now = steady_now();
    go_on = !stopping_ && now < shutdown_deadline_ && now < retry_until_;
  }
  gate_.lock();
  return go_on;
}

void Exporter::finish_batch(bool delivered) {
  has_batch_ = false;
  encoder_.clear();
  std::lock_guard lock(mutex_);
  ++counters_.batches;
  if (delivered) {
    counters_.exported += batch_spans_;
    trouble_.clear();
  } else {
    counters_.failed += batch_spans_;
    counters_.last_error = trouble_;
  }
  done_position_ = batch_end_;
  changed_.notify_all();
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
