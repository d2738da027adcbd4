#include "python/logs.h"

#include <pthread.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <new>
#include <string>

#include "base/log.h"
#include "python/convert.h"

namespace nuages::python {
namespace {

constexpr size_t kMaxLines = 256;

struct Line {
  LogLevel level;
  std::string component, message;
};

// Process-wide like the log function itself; a sub-interpreter's logging gets what it drains.
struct Waiting {
  std::mutex mutex;
  std::deque<Line> lines;
  size_t lost = 0;
  std::atomic<bool> any{false};
};

Waiting& waiting() {
  static auto* lines = new Waiting();  // never destroyed: threads may log during exit
  return *lines;
}

void keep(LogLevel level, std::string_view component, std::string_view message) {
  Waiting& all = waiting();
  const std::lock_guard guard(all.mutex);
  if (all.lines.size() >= kMaxLines) {
    ++all.lost;
  } else {
    all.lines.push_back({level, std::string(component), std::string(message)});
  }
  all.any.store(true, std::memory_order_release);
}

// fork() with the lock held by another thread would leave it locked in the child for ever.
void before_fork() { waiting().mutex.lock(); }
void after_fork() { waiting().mutex.unlock(); }

}  // namespace

void install_log_sink() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    waiting();
    pthread_atfork(before_fork, after_fork, after_fork);
    set_log_sink(keep);
  });
}

void drain_logs(ModuleState& state) noexcept {
  if (!waiting().any.load(std::memory_order_relaxed) || !state.drain_logs) return;
  waiting().any.store(false, std::memory_order_relaxed);
  const ErrorGuard guard;
  const Ref done = Ref::take(call_python(PyObject_CallNoArgs, state.drain_logs.get()));
  if (!done) drop_error();
}

PyObject* take_logs(PyObject*, PyObject*) noexcept {
  std::deque<Line> lines;
  size_t lost = 0;
  {
    const std::lock_guard guard(waiting().mutex);
    lines.swap(waiting().lines);
    std::swap(lost, waiting().lost);
    waiting().any.store(false, std::memory_order_relaxed);
  }
  Ref list = Ref::take(PyList_New(0));
  if (!list) return nullptr;
  if (lost > 0) {
    lines.push_back({LogLevel::kWarning, "log", std::to_string(lost) + " more lines were lost"});
  }
  for (const Line& line : lines) {
    const Ref component = text_object(line.component);
    const Ref message = text_object(line.message);
    if (!component || !message) return nullptr;
    const Ref item = Ref::take(
        Py_BuildValue("(iOO)", static_cast<int>(line.level), component.get(), message.get()));
    if (!item || PyList_Append(list.get(), item.get()) < 0) return nullptr;
  }
  return list.release();
}

}  // namespace nuages::python
