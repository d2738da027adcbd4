#include "python/off_switch.h"

#include <unistd.h>

#include <atomic>
#include <string>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::python {
namespace {

constexpr uint64_t kLookAgain = 1'000'000'000;

std::atomic<bool> g_paused{false};
std::atomic<bool> g_file_there{false};
std::atomic<const std::string*> g_file{nullptr};  // paths that were set once are never freed
std::atomic<uint64_t> g_looked{0};

}  // namespace

bool is_off() noexcept {
  return g_paused.load(std::memory_order_relaxed) || g_file_there.load(std::memory_order_relaxed);
}

void look_for_off_file() noexcept {
  const std::string* file = g_file.load(std::memory_order_acquire);
  if (file == nullptr) return;
  const uint64_t now = steady_now();
  uint64_t looked = g_looked.load(std::memory_order_relaxed);
  if (looked != 0 && now - looked < kLookAgain) return;
  if (!g_looked.compare_exchange_strong(looked, now)) return;  // another thread looks
  const bool there = access(file->c_str(), F_OK) == 0;
  if (g_file_there.exchange(there) == there) return;
  try {
    log(LogLevel::kWarning, "hooks",
        there ? "tracing is off: " + *file + " exists"
              : "tracing is on again: " + *file + " is gone");
  } catch (const std::bad_alloc&) {
    return;
  }
}

PyObject* set_paused(PyObject* /*module*/, PyObject* paused) noexcept {
  const int value = PyObject_IsTrue(paused);
  if (value < 0) return nullptr;
  g_paused.store(value != 0, std::memory_order_relaxed);
  Py_RETURN_NONE;
}

PyObject* set_off_file(PyObject* /*module*/, PyObject* path) noexcept try {
  const Utf8 text(path);
  const std::string* current = g_file.load(std::memory_order_acquire);
  if ((current == nullptr ? std::string_view() : std::string_view(*current)) == text.view()) {
    Py_RETURN_NONE;
  }
  g_file.store(text.view().empty() ? nullptr : new std::string(text.view()),
               std::memory_order_release);
  g_file_there.store(false, std::memory_order_relaxed);
  g_looked.store(0, std::memory_order_relaxed);
  Py_RETURN_NONE;
} catch (const std::bad_alloc&) {
  return PyErr_NoMemory();
}

}  // namespace nuages::python
