#include "server/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>

namespace nuages::server {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

const std::map<std::string, LogLevel>& log_levels() {
  static const std::map<std::string, LogLevel> levels{{"debug", LogLevel::kDebug},
                                                      {"info", LogLevel::kInfo},
                                                      {"warning", LogLevel::kWarning},
                                                      {"error", LogLevel::kError}};
  return levels;
}

}  // namespace

std::string HostPort::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> parse_host_port(std::string_view option, std::string_view text) {
  const Error error{ErrorCode::kInvalid, std::string(option) + "=" + std::string(text) +
                                             " is not HOST:PORT, for example 127.0.0.1:4317"};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return error;
  HostPort out;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return error;
  }
  out.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (code != std::errc() || end != port.data() + port.size()) return error;
  return out;
}

bool is_loopback_host(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  if (!host.starts_with("127.")) return false;
  return host.find_first_not_of("0123456789.") == std::string_view::npos;
}

CommandLine parse_command_line(int argc, const char* const* argv,
                               const std::string& default_library, const std::string& version) {
  CommandLine out;
  Options& options = out.options;
  options.store_library = default_library;
  std::string grpc = options.grpc.text();
  std::string http = options.http.text();
  std::string ui = options.ui.text();
  std::string level = "info";
  std::string masking = "off";
  std::string log_format = "text";
  uint64_t wal_mib = options.max_wal_bytes >> 20;
  double max_store_gib = 0;
  double peer_seconds = 30;
  double stop_seconds = 20;

  CLI::App app("Receives OpenTelemetry traces, keeps them and shows them.", "nuages-server");
  app.footer(
      "Commands: nuages-server erase, check, backup, restore, keys, users; each has --help. All of "
      "it: "
      "docs/server.md.");
  // Scripts append to a base command line: the last of repeated options wins.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", version);
  app.add_option("--config", options.config,
                 "OpenTelemetry Collector's YAML: receivers, pipelines, exporters; see "
                 "docs/server.md. Options given here win over it; SIGHUP reads it again");
  app.add_option("--data", options.data, "folder for everything that is kept")
      ->capture_default_str();
  app.add_option("--grpc", grpc, "OTLP/gRPC: HOST:PORT, port 0 for a free one")
      ->capture_default_str();
  app.add_option("--http", http, "OTLP/HTTP: HOST:PORT")->capture_default_str();
  app.add_option("--ui", ui, "web UI and API: HOST:PORT")->capture_default_str();
  app.add_flag("--allow-remote", options.allow_remote,
               "allow addresses that other machines can reach although there are no keys");
  app.add_option("--masking", masking,
                 "personal data is taken out of what is received, by the agent's rules: off, on, "
                 "guide, gdpr or hipaa")
      ->capture_default_str();
  app.add_option("--tls-cert", options.tls.certificate,
                 "PEM file: all ports speak TLS; read again when it changes");
  app.add_option("--tls-key", options.tls.key, "PEM file of its key");
  app.add_option("--tls-client-ca", options.tls.client_ca,
                 "PEM file: clients must show a certificate of it");
  app.add_option("--store-library", options.store_library, "path of libchdb.so")
      ->capture_default_str();
  app.add_option("--log-level", level, "debug, info, warning or error")->capture_default_str();
  app.add_option("--log-format", log_format, "text, or json: an object a line")
      ->capture_default_str();
  app.add_option("--max-body", options.max_body_bytes, "largest request, in bytes, decompressed")
      ->capture_default_str();
  app.add_option("--max-wal-mib", wal_mib,
                 "accepted spans not yet in the store may take this much disk")
      ->capture_default_str();
  app.add_option("--retention-days", options.retention.days,
                 "spans received longer ago are deleted, by whole days; 0 keeps them")
      ->capture_default_str();
  app.add_option("--max-store-gib", max_store_gib,
                 "above this the oldest days are deleted, never the current one; 0: no limit")
      ->capture_default_str();
  app.add_option("--max-connections", options.max_connections, "per port")->capture_default_str();
  app.add_option("--peer-timeout", peer_seconds, "seconds until a silent client is dropped")
      ->capture_default_str();
  app.add_option("--stop-timeout", stop_seconds, "seconds a graceful stop may take")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    out.action = CommandLine::Action::kPrint;
    out.text = app.help();
    return out;
  } catch (const CLI::CallForVersion&) {
    out.action = CommandLine::Action::kPrint;
    out.text = version + "\n";
    return out;
  } catch (const CLI::ParseError& error) {
    out.action = CommandLine::Action::kFail;
    out.text = std::string(error.what()) + "; see nuages-server --help";
    return out;
  }
  for (const char* name : {"--data", "--grpc", "--http", "--ui", "--log-level", "--max-body"}) {
    if (app.get_option(name)->count() > 0) options.given.emplace(name);
  }
  const auto fail = [&out](const std::string& text) {
    out.action = CommandLine::Action::kFail;
    out.text = text;
    return out;
  };
  const std::tuple<const char*, const std::string*, HostPort*> addresses[] = {
      {"--grpc", &grpc, &options.grpc},
      {"--http", &http, &options.http},
      {"--ui", &ui, &options.ui}};
  for (const auto& [name, text, address] : addresses) {
    Result<HostPort> parsed = parse_host_port(name, *text);
    if (!parsed.ok()) return fail(parsed.error().message);
    *address = *parsed;
  }
  const auto found = log_levels().find(level);
  if (found == log_levels().end()) {
    return fail("--log-level=" + level + " is not one of debug, info, warning, error");
  }
  options.log_level = found->second;
  if (log_format != "text" && log_format != "json") {
    return fail("--log-format=" + log_format + " is not one of text, json");
  }
  options.json_log = log_format == "json";
  if (!mask::Policy::of_profile(masking, options.masking)) {
    return fail("--masking=" + masking + " is not one of off, on, guide, gdpr, hipaa");
  }
  if (options.tls.certificate.empty() != options.tls.key.empty()) {
    return fail("--tls-cert and --tls-key belong together: give both");
  }
  if (!options.tls.client_ca.empty() && options.tls.certificate.empty()) {
    return fail("--tls-client-ca needs --tls-cert and --tls-key");
  }
  if (options.data.empty()) return fail("--data is empty; name a folder");
  constexpr double kDay = 86400;
  if (!(peer_seconds > 0 && peer_seconds <= kDay) || !(stop_seconds >= 0 && stop_seconds <= kDay)) {
    return fail("--peer-timeout and --stop-timeout are seconds, up to 86400");
  }
  if (options.max_body_bytes == 0 || options.max_body_bytes > uint64_t{1} << 30) {
    return fail("--max-body=" + std::to_string(options.max_body_bytes) +
                " must be between 1 and 1073741824 bytes");
  }
  if (wal_mib == 0 || options.max_connections == 0) {
    return fail("--max-wal-mib and --max-connections must be at least 1");
  }
  constexpr uint64_t kMostWalMib = uint64_t{1} << 40;  // in bytes it still fits 64 bits
  if (wal_mib > kMostWalMib) {
    return fail("--max-wal-mib=" + std::to_string(wal_mib) + " is more than " +
                std::to_string(kMostWalMib));
  }
  constexpr double kMostGib = 1 << 30;
  if (!(max_store_gib >= 0 && max_store_gib <= kMostGib) || options.retention.days > 36500) {
    return fail("--max-store-gib and --retention-days must be 0 or more, the days at most 36500");
  }
  options.retention.max_bytes = static_cast<uint64_t>(max_store_gib * (1 << 30));
  options.max_wal_bytes = wal_mib << 20;
  options.peer_timeout_ns = static_cast<uint64_t>(peer_seconds * kSecond);
  options.stop_timeout_ns = static_cast<uint64_t>(stop_seconds * kSecond);
  return out;
}

}  // namespace nuages::server
