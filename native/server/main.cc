// nuages-server: receives OTLP traces, keeps them, shows them. See server/server.h.
#include <malloc.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "gateway/config.h"
#include "server/commands.h"
#include "server/config_options.h"
#include "server/options.h"
#include "server/server.h"
#include "store/attribute_text.h"

namespace {

constexpr int kStartFailed = 2;

void write_log(nuages::LogLevel level, std::string_view component, std::string_view message) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  spdlog::log(kLevels[static_cast<size_t>(level)], "{}: {}", component, message);
}

void write_json_log(nuages::LogLevel level, std::string_view component, std::string_view message) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  std::string fields = R"("component":)";
  nuages::store::append_json_string(fields, component);
  fields += R"(,"message":)";
  nuages::store::append_json_string(fields, message);
  spdlog::log(kLevels[static_cast<size_t>(level)], "{}", fields);
}

void set_up_log(nuages::LogLevel level, bool json) {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_level(spdlog::level::debug);
  spdlog::set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                           : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  nuages::set_log_level(level);
  nuages::set_log_sink(json ? &write_json_log : &write_log);
}

void print_line(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);  // whoever started us waits for the lines
}

std::string default_library() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread runs yet
  const char* path = std::getenv("NUAGES_CHDB_LIBRARY");
  return path != nullptr && *path != '\0' ? path : NUAGES_CHDB_LIBRARY;
}

int run(const nuages::server::Options& options, nuages::gateway::Config config) {
  // Before any thread: a signal that comes while we start is handled when we have started.
  boost::asio::io_context signal_io;
  boost::asio::signal_set signals(signal_io, SIGINT, SIGTERM, SIGHUP);
  nuages::server::Server server(options, std::move(config), NUAGES_VERSION);
  if (nuages::Status status = server.start(print_line); !status.ok()) {
    std::fprintf(stderr, "nuages-server: %s\n", status.error().message.c_str());
    return kStartFailed;
  }
  std::function<void(const boost::system::error_code&, int)> on_signal =
      [&](const boost::system::error_code& error, int signal) {
        if (error || signal != SIGHUP) return;
        if (nuages::Status status = server.reload(print_line); !status.ok()) {
          nuages::log(nuages::LogLevel::kError, "server",
                      "not reloaded, all goes on as before: " + status.error().message);
        }
        signals.async_wait(on_signal);
      };
  signals.async_wait(on_signal);
  signal_io.run();
  signals.clear();  // a second signal ends the process at once; the log keeps what was accepted
  server.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Request bodies of some megabytes come and go all the time: from the heap, not as fresh pages.
  // The ingest gives memory back when nothing has come for a while.
  // NOLINTBEGIN(concurrency-mt-unsafe): no other thread runs yet
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  // NOLINTEND(concurrency-mt-unsafe)
  std::signal(SIGPIPE, SIG_IGN);  // a peer that goes away is an error of its socket
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of the write
  if (const auto code = nuages::server::run_command(argc, argv, default_library())) return *code;
  const nuages::server::CommandLine line = nuages::server::parse_command_line(
      argc, argv, default_library(), std::string("nuages-server ") + NUAGES_VERSION);
  switch (line.action) {
    case nuages::server::CommandLine::Action::kPrint:
      std::fputs(line.text.c_str(), stdout);
      return 0;
    case nuages::server::CommandLine::Action::kFail:
      std::fprintf(stderr, "nuages-server: %s\n", line.text.c_str());
      return kStartFailed;
    case nuages::server::CommandLine::Action::kRun:
      break;
  }
  nuages::server::Options options = line.options;
  nuages::gateway::Config config = nuages::server::default_config();
  if (!options.config.empty()) {
    auto loaded = nuages::gateway::load_config(options.config);
    auto applied = loaded.ok() ? nuages::server::with_config(options, *loaded)
                               : nuages::Result<nuages::server::Options>(loaded.error());
    if (!applied.ok()) {
      std::fprintf(stderr, "nuages-server: %s\n", applied.error().message.c_str());
      return kStartFailed;
    }
    options = std::move(applied).value();
    config = std::move(loaded).value();
  }
  set_up_log(options.log_level, options.json_log);
  try {
    return run(options, std::move(config));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nuages-server: %s\n", error.what());
    return 1;
  }
}
