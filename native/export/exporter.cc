// The callers' side of Exporter: publish, flush, shutdown, fork. The thread is in
// exporter_thread.cc.
#include "export/exporter.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <new>

#include "base/clock.h"
#include "base/log.h"
#include "export/process.h"
#include "trace/scope.h"

namespace nuages::exporter {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
// How long shutdown() waits for a thread that it has told to stop; it needs microseconds unless a
// name lookup of libcurl is stuck, and then it is left behind.
constexpr uint64_t kStopGrace = 200 * kMillisecond;
// A process that never reached its receiver does not hold up its exit by more retries than this.
constexpr uint64_t kHopelessRetries = 1000 * kMillisecond;

std::chrono::steady_clock::time_point time_point(uint64_t steady_ns) {
  return std::chrono::steady_clock::time_point(
      std::chrono::nanoseconds(static_cast<int64_t>(std::min<uint64_t>(steady_ns, INT64_MAX))));
}

trace::QueueOptions queue_options(const PipelineConfig& config) {
  trace::QueueOptions options;
  options.max_records = std::max(config.max_queue_size, 1U);
  options.ring_bytes = config.max_queue_bytes;
  options.batch_records =
      std::min(config.max_export_batch_size, std::max(options.max_records / 2, 1U));
  return options;
}

}  // namespace

Exporter::Exporter(PipelineConfig config)
    : config_(std::move(config)), encoder_(config_.mask, config_.sql) {
  const trace::QueueOptions options = queue_options(config_);
  memory_bytes_ = trace::RecordQueue::required_bytes(options);
  memory_ =
      mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED) throw std::bad_alloc();
  queue_ = trace::RecordQueue::create(memory_, options);
  copy_scopes();
  if (auto endpoint = net::parse_endpoint(config_.client); !endpoint.ok()) {
    counters_.last_error = endpoint.error().message;  // said by who made the configuration
  }
  add_exporter(this);
}

Exporter::~Exporter() {
  remove_exporter(this);
  free_outage_memory();
  munmap(memory_, memory_bytes_);
}

void Exporter::copy_scopes() noexcept {
  std::lock_guard guard(scopes_mutex_);
  const uint32_t count = std::min(trace::scope_count(), trace::RecordQueue::kMaxScopes);
  for (uint32_t id = queue_.scope_count(); id < count; ++id) {
    queue_.add_scope(trace::scope_description(id));
  }
}

void Exporter::set_resource(std::string_view description) {
  std::lock_guard guard(scopes_mutex_);
  if (!queue_.set_resource(description)) {
    log(LogLevel::kError, "export",
        "the resource is too large or was changed too often; the previous one stays");
  }
}

void Exporter::publish(std::string_view record) noexcept {
  if (closed_.load(std::memory_order_relaxed)) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const uint32_t scope = trace::load<trace::RecordHeader>(record.data()).scope;
  if (scope >= queue_.scope_count()) copy_scopes();
  if (queue_.push(record) != trace::RecordQueue::Push::kPushed) return;
  if (!running_.load(std::memory_order_acquire)) resume();
}

void Exporter::resume() noexcept {
  std::lock_guard lock(mutex_);
  if (!shut_down_ && queue_.head() > done_position_) start_thread_locked();
}

void Exporter::start_thread_locked() noexcept {
  if (alive_ || pausing_ || stopping_) return;
  try {
    alive_ = start_exporter_thread(shared_from_this());
  } catch (const std::bad_alloc&) {
    alive_ = false;
  }
  if (alive_) {
    running_.store(true, std::memory_order_release);
  } else {
    // No thread to be had now: the next record tries again, the queue's bound holds.
    counters_.last_error = "the exporter thread could not be started (thread limit reached?)";
  }
}

void Exporter::control_changed_locked() noexcept {
  control_.fetch_add(1, std::memory_order_seq_cst);
  changed_.notify_all();
  queue_.wake();
}

// Waits until the thread has got past `position` or is gone.
bool Exporter::wait_locked(std::unique_lock<std::mutex>& lock, uint64_t deadline_ns,
                           uint64_t position) {
  changed_.wait_until(lock, time_point(deadline_ns), [&] {
    return done_position_ >= position || hopeless_target_ >= position || !alive_;
  });
  return done_position_ >= position;
}

bool Exporter::force_flush(uint64_t deadline_ns) noexcept {
  std::unique_lock lock(mutex_);
  const uint64_t target = queue_.head();
  if (done_position_ >= target) return true;
  const uint64_t failed = counters_.failed;
  flush_target_ = std::max(flush_target_, target);
  hopeless_target_ = 0;
  if (!shut_down_) start_thread_locked();
  control_changed_locked();
  return wait_locked(lock, deadline_ns, target) && counters_.failed == failed;
}

bool Exporter::shutdown(uint64_t deadline_ns) noexcept {
  std::unique_lock lock(mutex_);
  if (shut_down_) return shutdown_answer_;
  closed_.store(true, std::memory_order_relaxed);
  const uint64_t target = queue_.head();
  const uint64_t failed = counters_.failed;
  flush_target_ = std::max(flush_target_, target);
  shutdown_deadline_ = deadline_ns;
  if (counters_.exported == 0) retry_until_ = steady_now() + kHopelessRetries;
  draining_ = true;
  pausing_ = false;
  if (done_position_ < target) start_thread_locked();
  shut_down_ = true;
  control_changed_locked();
  changed_.wait_until(lock, time_point(deadline_ns), [&] { return !alive_; });
  shutdown_answer_ = done_position_ >= target && counters_.failed == failed;
  if (alive_) {
    stopping_ = true;
    if (client_) client_->interrupt();
    control_changed_locked();
    changed_.wait_until(lock, time_point(steady_now() + kStopGrace), [&] { return !alive_; });
  }
  if (!alive_) {
    counters_.failed += queue_.pending();
    report_losses(true);
  }
  return shutdown_answer_;
}

bool Exporter::pause(uint64_t deadline_ns) noexcept {
  std::unique_lock lock(mutex_);
  if (!alive_) return true;
  pausing_ = true;
  if (client_) client_->interrupt();
  control_changed_locked();
  changed_.wait_until(lock, time_point(deadline_ns), [&] { return !alive_; });
  pausing_ = false;
  return !alive_;
}

void Exporter::abandon() noexcept {
  std::lock_guard lock(mutex_);
  closed_.store(true, std::memory_order_relaxed);
  shut_down_ = stopping_ = true;
  if (client_) client_->interrupt();
  control_changed_locked();
}

Counters Exporter::counters() const {
  std::lock_guard lock(mutex_);
  Counters copy = counters_;
  copy.enqueued = queue_.pushed();
  copy.queued = queue_.pending();
  copy.dropped_full = queue_.dropped() + refused_.load(std::memory_order_relaxed);
  return copy;
}

void Exporter::lock_for_fork() noexcept {
  scopes_mutex_.lock();
  gate_.lock();
  mutex_.lock();
}

void Exporter::unlock_after_fork() noexcept {
  mutex_.unlock();
  gate_.unlock();
  scopes_mutex_.unlock();
}

void Exporter::hold_for_exit(const timespec& deadline) noexcept {
  pthread_mutex_timedlock(gate_.native_handle(), &deadline);
}

void Exporter::reset_in_child() noexcept {
  leak_client();  // closing the parent's connection from here would speak on it
  new (&changed_) std::condition_variable;  // the old one counts waiters that do not exist here
  const std::string_view ring = queue_.ring();
  const bool zeroed = madvise(const_cast<char*>(ring.data()), ring.size(), MADV_DONTNEED) == 0;
  queue_.reset(!zeroed);
  records_.clear();
  has_batch_ = false;
  free_outage_memory();
  due_ = reported_ = last_report_ = 0;
  trouble_since_ = retry_at_ = trouble_logged_ = 0;
  told_of_trouble_ = throttled_ = false;
  trouble_.clear();
  running_.store(false);
  refused_.store(0);
  alive_ = pausing_ = draining_ = stopping_ = false;
  shutdown_deadline_ = retry_until_ = UINT64_MAX;
  flush_target_ = hopeless_target_ = done_position_ = 0;
  counters_ = {};
  // A pipeline that the parent had shut down stays shut down.
}

}  // namespace nuages::exporter
