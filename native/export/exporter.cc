// The callers' side of Exporter: publish, flush, shutdown, fork. The thread is in
// exporter_thread.cc.
#include "export/exporter.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
// A thread with records in hand shows that it lives more often than this.
constexpr uint64_t kStaleAfter = 60'000 * kMillisecond;

std::chrono::steady_clock::time_point time_point(uint64_t steady_ns) {
  return std::chrono::steady_clock::time_point(
      std::chrono::nanoseconds(static_cast<int64_t>(std::min<uint64_t>(steady_ns, INT64_MAX))));
}

trace::QueueOptions queue_options(const PipelineConfig& config) {
  trace::QueueOptions options;
  options.max_records = std::max(config.max_queue_size, 1U);
  options.ring_bytes = config.max_queue_bytes;
  options.serialised = config.serialised;
  options.batch_records =
      std::min(config.max_export_batch_size, std::max(options.max_records / 2, 1U));
  return options;
}

// Whose spans may share a request's way: headers carry keys and tenants.
std::string receiver_of(const PipelineConfig& config) {
  const auto endpoint = net::parse_endpoint(config.client);
  std::string text = endpoint.ok() ? endpoint->url + ' ' + endpoint->unix_socket : std::string();
  text += config.client.protocol == net::Protocol::kGrpc ? " grpc" : " http";
  for (const auto& [name, value] : config.client.headers) {
    text.append(1, '\n').append(name).append(1, ':').append(value);
  }
  return text;
}

std::string_view service_of(std::string_view resource) noexcept {
  for (const trace::AttributeView& each : trace::read_description(resource).attributes) {
    if (each.key == "service.name") return each.value.text;
  }
  return {};
}

PipelineConfig with_policy(PipelineConfig config) {
  if (config.process_policy) config.filters = process_filters();
  return config;
}

uint32_t next_number() noexcept {
  static std::atomic<uint32_t> count{0};
  return count.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Exporter::Exporter(PipelineConfig config)
    : config_(with_policy(std::move(config))),
      receiver_(receiver_of(config_)),
      memory_(queue_options(config_)),
      queue_(memory_.queue()),
      encoder_(config_.filters.mask, config_.filters.sql, config_.filters.attribute),
      number_(next_number()) {
  copy_scopes();
  if (auto endpoint = net::parse_endpoint(config_.client); !endpoint.ok()) {
    counters_.last_error = endpoint.error().message;  // said by who made the configuration
  }
  add_exporter(this);
}

Exporter::~Exporter() {
  remove_exporter(this);
  {
    std::lock_guard lock(mutex_);
    give_up_rest_locked();
  }
  free_outage_memory();
}

void Exporter::copy_scopes() noexcept {
  std::lock_guard guard(scopes_mutex_);
  copy_scopes_locked();
}

uint64_t Exporter::audience_locked() const noexcept {
  return hash_bytes(receiver_, hash_bytes(service_of(resource_), geteuid()));
}

FileOptions Exporter::file_options(FileKind kind, uint64_t audience) const {
  const bool described =
      config_.mask_profile.bits() != 0 || (!config_.filters.mask && !config_.filters.sql);
  FileOptions options;
  options.kind = kind;
  options.mask = (config_.process_policy ? MaskProfile::of(mask::process_policy())
                  : described            ? config_.mask_profile
                                         : MaskProfile::indescribable())
                     .bits();
  options.audience = audience;
  options.stale_after = kStaleAfter + uint64_t{2} * config_.client.timeout_ms * kMillisecond;
  return options;
}

// Before the first record of a process: it has something to lose now.
void Exporter::settle_memory_locked() noexcept {
  if (memory_settled_.load(std::memory_order_relaxed)) return;
  if (config_.survival.enabled) {
    try {
      const Status backed =
          memory_.back_with_file(config_.survival.directories,
                                 file_options(FileKind::kQueue, audience_locked()), resource_);
      if (backed.ok()) {
        copy_scopes_locked();
      } else {
        static std::atomic<bool> said{false};
        if (!said.exchange(true)) {
          log(LogLevel::kWarning, "export",
              "spans do not survive a kill of this process, the queue is in its own memory: " +
                  backed.error().message);
        }
      }
    } catch (const std::bad_alloc&) {
      memory_settled_.store(false, std::memory_order_relaxed);  // the anonymous memory serves
    }
  }
  memory_.set_audience(audience_locked());
  memory_settled_.store(true, std::memory_order_release);
}

void Exporter::copy_scopes_locked() noexcept {
  const uint32_t count = std::min(trace::scope_count(), trace::RecordQueue::kMaxScopes);
  for (uint32_t id = queue_.scope_count(); id < count; ++id) {
    queue_.add_scope(trace::scope_description(id));
  }
}

void Exporter::set_resource(std::string_view description) {
  std::lock_guard guard(scopes_mutex_);
  resource_ = description;
  memory_.set_audience(audience_locked());
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
  if (!memory_settled_.load(std::memory_order_acquire)) {
    std::lock_guard guard(scopes_mutex_);
    settle_memory_locked();
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
    const bool over = done_position_ >= position || hopeless_target_ >= position || !alive_;
    if (!over) awaited_ = std::min(awaited_, position);
    return over;
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

uint64_t Exporter::begin_shutdown_locked(uint64_t deadline_ns) noexcept {
  closed_.store(true, std::memory_order_relaxed);
  const uint64_t target = queue_.head();
  flush_target_ = std::max(flush_target_, target);
  shutdown_deadline_ = deadline_ns;
  if (counters_.exported == 0) retry_until_ = steady_now() + kHopelessRetries;
  draining_ = true;
  pausing_ = false;
  if (done_position_ < target) start_thread_locked();
  shut_down_ = true;
  control_changed_locked();
  return target;
}

void Exporter::stop_thread_locked(std::unique_lock<std::mutex>& lock) noexcept {
  if (!alive_) return;
  stopping_ = true;
  if (client_) client_->interrupt();
  control_changed_locked();
  changed_.wait_until(lock, time_point(steady_now() + kStopGrace), [&] { return !alive_; });
}

bool Exporter::shutdown(uint64_t deadline_ns) noexcept {
  std::unique_lock lock(mutex_);
  if (shut_down_) return shutdown_answer_;
  const uint64_t failed = counters_.failed;
  const uint64_t target = begin_shutdown_locked(deadline_ns);
  changed_.wait_until(lock, time_point(deadline_ns), [&] { return !alive_; });
  shutdown_answer_ = done_position_ >= target && counters_.failed == failed;
  stop_thread_locked(lock);
  if (!alive_) {
    give_up_rest_locked();
    report_losses(true);
  }
  return shutdown_answer_;
}

void Exporter::drain_for_exit(uint64_t deadline_ns, const timespec& lock_deadline) noexcept {
  if (pthread_mutex_timedlock(mutex_.native_handle(), &lock_deadline) != 0) return;
  std::unique_lock lock(mutex_, std::adopt_lock);
  if (shut_down_ || (!alive_ && queue_.pending() == 0)) return;
  begin_shutdown_locked(deadline_ns);
  changed_.wait_until(lock, time_point(deadline_ns), [&] { return !alive_; });
  stop_thread_locked(lock);
  // Nobody would read a report, and it would allocate. With something left the files stay.
  if (!alive_ && queue_.pending() == 0 && !backlog()) give_up_rest_locked();
}

// The thread has ended for good. What is left goes with the files, or stays in them for the next
// process when this one knows that there is a receiver.
void Exporter::give_up_rest_locked() noexcept {
  if (rest_given_up_) return;
  rest_given_up_ = true;
  const uint64_t left = queue_.pending() + outage_.spans() + (has_batch_ ? batch_spans_ : 0);
  const bool keep = left != 0 && memory_.has_file() && counters_.exported != 0;
  if (keep) {
    counters_.kept = left;
    log(LogLevel::kWarning, "export",
        std::to_string(left) +
            " spans could not be sent before the end; the next process of this "
            "service sends them from " +
            memory_.path());
  } else {
    counters_.failed += left;
    memory_.remove_file();
    outage_file_.remove();
    outage_.reset();
  }
  has_batch_ = false;
  outage_ends_.clear();
  counters_.outage_spans = counters_.outage_bytes = 0;
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

// Where leak checkers find it: it is meant to stay.
void Exporter::leak_client() noexcept {
  static std::array<std::atomic<net::OtlpClient*>, 64> left;
  static std::atomic<size_t> count{0};
  if (client_) left[count.fetch_add(1) % left.size()] = client_.release();
}

void Exporter::reset_in_child() noexcept {
  leak_client();  // closing the parent's connection from here would speak on it
  new (&changed_) std::condition_variable;  // the old one counts waiters that do not exist here
  memory_.renew();
  memory_settled_.store(false);
  queue_ = memory_.queue();
  queue_.set_resource(resource_);
  adoption_.reset_in_child();
  records_.clear();
  has_batch_ = false;
  if (outage_file_.mapped()) {
    outage_file_.forget();
    outage_memory_ = nullptr;
    outage_ = OutageBuffer();
    outage_ends_.clear();
  }
  free_outage_memory();
  due_ = reported_ = last_report_ = 0;
  trouble_since_ = retry_at_ = trouble_logged_ = 0;
  told_of_trouble_ = throttled_ = false;
  metrics_.reset();
  metrics_sent_ = 0;
  started_ns_ = wall_now();
  trouble_.clear();
  running_.store(false);
  refused_.store(0);
  alive_ = pausing_ = draining_ = stopping_ = false;
  shutdown_deadline_ = retry_until_ = UINT64_MAX;
  flush_target_ = hopeless_target_ = done_position_ = 0;
  awaited_ = UINT64_MAX;
  counters_ = {};
  // A pipeline that the parent had shut down stays shut down.
}

}  // namespace nuages::exporter
