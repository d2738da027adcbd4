// The thread's side of Exporter, first half: wait for what is to be done, take batches. The other
// half is delivery.cc.
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
constexpr uint64_t kBeat = 20'000 * kMillisecond;
constexpr timespec kWriterPause = {0, 50'000};  // a producer is between reserve and commit

using WaitFor = trace::RecordQueue::WaitFor;

}  // namespace

void Exporter::run() noexcept {
  pthread_setname_np(pthread_self(), "nuages-export");
  gate_.lock();
  {
    std::lock_guard lock(mutex_);
    if (client_) client_->reset_interrupt();
  }
  for (Next next = wait_for_batch(); next != Next::kStop; next = wait_for_batch()) {
    if (next == Next::kBatch) take_batch();
    if (trouble_since_ == 0 || next == Next::kSend) {
      attempt();
    } else {
      park_batch();
    }
    report_losses(false);
  }
  {
    std::lock_guard lock(mutex_);
    adoption_.give_back();
    if (shut_down_) give_up_rest_locked();
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
  const bool flushing = flush_target_ > done_position_;
  if (backlog()) {
    const uint64_t now = steady_now();
    const uint64_t end = std::min(shutdown_deadline_, retry_until_);
    const bool newly_asked = flushing && control_.load() != attempt_control_ && !throttled_;
    if (draining_ && trouble_since_ != 0 && (now >= end || (!newly_asked && retry_at_ >= end))) {
      next = Next::kStop;  // nothing more can be done in time
      return true;
    }
    next = Next::kSend;
    return now >= retry_at_ || newly_asked;
  }
  if (flushing) {
    if (queue_.taken() >= flush_target_) {
      done_position_ = queue_.taken();
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

void Exporter::pause_for_writer() {
  gate_.unlock();
  nanosleep(&kWriterPause, nullptr);
  gate_.lock();
}

// The receiver is away and it is not time to ask it again. True: a full batch can be put by.
bool Exporter::wait_in_outage(uint32_t control) {
  const uint64_t now = steady_now();
  if (now >= retry_at_) return false;
  if (!may_park()) {
    // Nothing that producers do matters now.
    gate_.unlock();
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::nanoseconds(retry_at_ - now),
                        [&] { return control_.load(std::memory_order_seq_cst) != control; });
    }
    gate_.lock();
    return false;
  }
  if (queue_.batch_ready()) {
    if (queue_.readable()) return true;
    pause_for_writer();
    return false;
  }
  queue_.arm(WaitFor::kBatch);
  if (!queue_.batch_ready() && control_.load(std::memory_order_seq_cst) == control) {
    sleep_ungated(retry_at_ - now);
  } else {
    queue_.disarm();
  }
  return false;
}

Exporter::Next Exporter::wait_for_batch() {
  for (;;) {
    const uint32_t control = control_.load(std::memory_order_seq_cst);
    Next next = Next::kStop;
    if (check_control(next)) return next;
    memory_.beat();
    if (backlog()) {
      if (wait_in_outage(control)) return Next::kBatch;
      continue;
    }
    if (queue_.pending() == 0) {
      due_ = 0;
      if (may_adopt()) {
        adopt();
        continue;
      }
      queue_.arm(WaitFor::kAny);
      if (queue_.pending() == 0 && control_.load(std::memory_order_seq_cst) == control) {
        sleep_ungated(adoption_.idle_wait());
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
      pause_for_writer();
      continue;
    }
    if (may_adopt()) {
      adopt();
      continue;
    }
    queue_.arm(WaitFor::kBatch);
    if (!queue_.batch_ready() && control_.load(std::memory_order_seq_cst) == control) {
      sleep_ungated(std::min({due_ - now, kBeat, adoption_wait(now)}));
    } else {
      queue_.disarm();
    }
  }
}

// A neighbour in another pid namespace took this process for dead (it was frozen, say) and sends
// what was here then.
void Exporter::skip_claimed() {
  const uint64_t claimed = memory_.claimed();
  if (claimed <= queue_.taken()) return;
  uint64_t skipped = 0;
  while (queue_.taken() < claimed && queue_.readable()) {
    queue_.pop(1);
    ++skipped;
  }
  if (skipped != 0) {
    log(LogLevel::kWarning, "export",
        std::to_string(skipped) +
            " spans were taken over by a process of another pid namespace, "
            "to which this one looked dead");
  }
}

void Exporter::take_batch() {
  if (memory_.claimed() != 0) skip_claimed();
  queue_.peek(records_, std::max(config_.max_export_batch_size, 1U), config_.max_request_bytes);
  batch_spans_ = static_cast<uint32_t>(records_.size());
  encoder_.encode(queue_, records_);
  queue_.take(records_.size());  // released when they have arrived or are put by
  records_.clear();
  has_batch_ = true;
  batch_end_ = queue_.taken();
  const uint64_t now = steady_now();
  due_ = queue_.pending() != 0 ? now + config_.schedule_delay_ms * kMillisecond : 0;
}

}  // namespace nuages::exporter
