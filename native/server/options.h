// The command line of nuages-server. Parsing has no side effects; wrong values give one line that
// names the option, the value and the fix.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/result.h"
#include "mask/policy.h"
#include "server/tls.h"
#include "store/retention.h"

namespace nuages::server {

struct HostPort {
  std::string host;
  uint16_t port = 0;

  std::string text() const;  // 127.0.0.1:4317, [::1]:4317
};

// "127.0.0.1:4317", "[::1]:4317", "localhost:0".
Result<HostPort> parse_host_port(std::string_view option, std::string_view text);
bool is_loopback_host(std::string_view host);

struct Options {
  std::string config;           // a collector's YAML; empty: everything is stored
  std::set<std::string> given;  // options of the command line, which win over the file
  std::string data = "nuages-data";
  HostPort grpc{"127.0.0.1", 4317};
  HostPort http{"127.0.0.1", 4318};
  HostPort ui{"127.0.0.1", 4319};
  bool grpc_on = true;  // a configuration may leave a receiver out
  bool http_on = true;
  bool allow_remote = false;
  std::string store_library;
  LogLevel log_level = LogLevel::kInfo;
  bool json_log = false;
  uint64_t max_body_bytes = uint64_t{64} << 20;
  uint64_t max_wal_bytes = uint64_t{4} << 30;
  uint64_t peer_timeout_ns = 30'000'000'000;  // a peer that neither sends nor takes bytes
  uint64_t stop_timeout_ns = 20'000'000'000;
  size_t max_connections = 1000;  // per port
  store::RetentionOptions retention;
  mask::Policy masking;  // of what is received; nothing unless asked for
  TlsFiles tls;          // without a certificate: clear text
};

struct CommandLine {
  enum class Action { kRun, kPrint, kFail };
  Action action = Action::kRun;
  std::string text;  // what to print for kPrint and kFail
  Options options;
};

CommandLine parse_command_line(int argc, const char* const* argv,
                               const std::string& default_library, const std::string& version);

}  // namespace nuages::server
