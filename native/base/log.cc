#include "base/log.h"

#include <atomic>

namespace nuages {
namespace {

std::atomic<LogSink> g_sink{nullptr};
std::atomic<LogLevel> g_level{LogLevel::kInfo};

}  // namespace

void set_log_sink(LogSink sink) { g_sink.store(sink, std::memory_order_release); }
void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
bool log_enabled(LogLevel level) {
  return level >= g_level.load(std::memory_order_relaxed) &&
         g_sink.load(std::memory_order_acquire) != nullptr;
}

void log(LogLevel level, std::string_view component, std::string_view message) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  if (LogSink sink = g_sink.load(std::memory_order_acquire)) sink(level, component, message);
}

}  // namespace nuages
