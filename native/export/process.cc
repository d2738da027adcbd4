#include "export/process.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "export/exporter.h"

namespace nuages::exporter {
namespace {

// A thread reaches its safe point within microseconds unless libcurl computes (a TLS handshake);
// the exit of the process does not wait longer than this for it.
constexpr time_t kExitGraceSeconds = 1;

std::atomic<uint32_t> exit_timeout_ms{5000};

timespec exit_deadline() {
  timespec deadline{};
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += kExitGraceSeconds;
  return deadline;
}

// Never destroyed: an abandoned thread may outlive static destruction.
struct Registry {
  std::mutex mutex;
  std::vector<Exporter*> exporters;
  std::mutex ended_mutex;
  std::vector<pthread_t> ended;  // past their last use of any lock of ours, not joined yet
  std::atomic<bool> exiting{false};
  pthread_t exiting_thread{};

  Registry() {
    pthread_atfork(&prepare, &parent, &child);
    std::atexit(&at_exit);  // should libcurl never be initialised before the exit
  }

  static Registry& instance() {
    static Registry* const registry = new Registry;
    return *registry;
  }

  void join_ended_locked() {
    for (const pthread_t each : ended) pthread_join(each, nullptr);
    ended.clear();
  }

  static void prepare() {
    Registry& r = instance();
    r.mutex.lock();
    for (Exporter* each : r.exporters) each->lock_for_fork();
    r.ended_mutex.lock();
    r.join_ended_locked();
  }
  static void parent() {
    Registry& r = instance();
    r.ended_mutex.unlock();
    for (Exporter* each : r.exporters) each->unlock_after_fork();
    r.mutex.unlock();
  }
  static void child() {
    Registry& r = instance();
    r.ended_mutex.unlock();
    for (Exporter* each : r.exporters) {
      each->reset_in_child();
      each->unlock_after_fork();
    }
    r.mutex.unlock();
  }

  // The lock of the registry and those that hold_for_exit() takes are never given back.
  static void at_exit() {
    Registry& r = instance();
    if (r.after_exit()) return;
    const timespec deadline = exit_deadline();
    if (pthread_mutex_timedlock(r.mutex.native_handle(), &deadline) != 0) return;
    const uint64_t drained =
        steady_now() + uint64_t{exit_timeout_ms.load(std::memory_order_relaxed)} * 1'000'000;
    for (Exporter* each : r.exporters) each->drain_for_exit(drained, deadline);
    r.hold();
  }

  void hold() {
    Registry& r = *this;
    const timespec deadline = exit_deadline();
    r.exiting_thread = pthread_self();
    r.exiting.store(true, std::memory_order_release);
    for (Exporter* each : r.exporters) each->hold_for_exit(deadline);
    if (pthread_mutex_timedlock(r.ended_mutex.native_handle(), &deadline) != 0) return;
    for (const pthread_t each : r.ended) pthread_timedjoin_np(each, nullptr, &deadline);
  }

  // Code that runs on the exiting thread after at_exit() (static destructors) must not wait for it.
  bool after_exit() const {
    return exiting.load(std::memory_order_acquire) &&
           pthread_equal(exiting_thread, pthread_self()) != 0;
  }
};

void* thread_main(void* argument) {
  {
    const std::unique_ptr<std::shared_ptr<Exporter>> self(
        static_cast<std::shared_ptr<Exporter>*>(argument));
    (*self)->run();
  }  // perhaps the last reference
  Registry& r = Registry::instance();
  std::lock_guard guard(r.ended_mutex);
  r.ended.push_back(pthread_self());
  return nullptr;
}

}  // namespace

void add_exporter(Exporter* exporter) {
  Registry& r = Registry::instance();
  if (r.after_exit()) return;
  std::lock_guard guard(r.mutex);
  r.exporters.push_back(exporter);
}

void remove_exporter(Exporter* exporter) {
  Registry& r = Registry::instance();
  if (r.after_exit()) return exporter->leak_client();
  std::lock_guard guard(r.mutex);
  r.exporters.erase(std::remove(r.exporters.begin(), r.exporters.end(), exporter),
                    r.exporters.end());
  exporter->destroy_client();
}

void flush_exporters(uint64_t deadline_ns) noexcept {
  Registry& r = Registry::instance();
  if (r.after_exit()) return;
  for (size_t i = 0;; ++i) {
    std::shared_ptr<Exporter> each;
    {
      // Let go before waiting: a fork wants it, and an exporter that ends.
      std::lock_guard guard(r.mutex);
      if (i >= r.exporters.size()) return;
      each = r.exporters[i]->weak_from_this().lock();
    }
    if (each) each->force_flush(deadline_ns);
  }
}

bool start_exporter_thread(std::shared_ptr<Exporter> exporter) {
  Registry& r = Registry::instance();
  if (r.exiting.load(std::memory_order_acquire)) return false;
  {
    // Not waiting for it: the caller holds a lock that the exiting thread, which keeps this one for
    // good, may want in a static destructor.
    const std::unique_lock guard(r.ended_mutex, std::try_to_lock);
    if (guard.owns_lock()) r.join_ended_locked();
  }
  auto argument = std::make_unique<std::shared_ptr<Exporter>>(std::move(exporter));
  // The host's signal handlers must never run on our thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const bool started = pthread_create(&thread, nullptr, &thread_main, argument.get()) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) return false;
  argument.release();  // NOLINT(bugprone-unused-return-value): the thread owns it now
  return true;
}

void set_exit_timeout(uint32_t milliseconds) {
  exit_timeout_ms.store(milliseconds, std::memory_order_relaxed);
}

void register_exit_handler() {
  static std::once_flag once;
  std::call_once(once, [] { std::atexit(&Registry::at_exit); });
}

}  // namespace nuages::exporter
