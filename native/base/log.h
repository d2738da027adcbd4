// The one log function of the native code.
//
// The process decides where lines go: the server installs a sink that writes to stderr; the agent
// installs one that keeps a bounded list for the next Python entry (native/python drains it into
// the logging module), because the agent never prints and its threads never take the GIL. Without a
// sink lines are dropped. Any thread may log; a sink must be thread-safe and must not log itself.
#pragma once

#include <cstdint>
#include <string_view>

namespace nuages {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

using LogSink = void (*)(LogLevel level, std::string_view component, std::string_view message);

void set_log_sink(LogSink sink);
void set_log_level(LogLevel level);  // lines below it are dropped before the sink; default kInfo
bool log_enabled(LogLevel level);
void log(LogLevel level, std::string_view component, std::string_view message);

}  // namespace nuages
