#include "server/config_options.h"

#include <utility>

namespace nuages::server {
namespace {

// ":4317" and "[::]:4317" are addresses of the collector's configuration too.
Status take_address(const char* option, const char* place, const std::string& text,
                    const Options& options, HostPort& out) {
  if (options.given.contains(option)) return {};
  Result<HostPort> parsed = parse_host_port(place, text.starts_with(':') ? "0.0.0.0" + text : text);
  if (!parsed.ok()) return parsed.error();
  out = std::move(parsed).value();
  return {};
}

}  // namespace

Result<Options> with_config(Options options, const gateway::Config& config) {
  const gateway::ReceiverConfig& receiver = config.receiver;
  options.grpc_on = receiver.grpc.has_value();
  options.http_on = receiver.http.has_value();
  if (receiver.grpc) {
    const Status taken = take_address("--grpc", "receivers::otlp::protocols::grpc::endpoint",
                                      *receiver.grpc, options, options.grpc);
    if (!taken.ok()) return taken.error();
  }
  if (receiver.http) {
    const Status taken = take_address("--http", "receivers::otlp::protocols::http::endpoint",
                                      *receiver.http, options, options.http);
    if (!taken.ok()) return taken.error();
  }
  if (config.ui) {
    const Status taken =
        take_address("--ui", "exporters::nuages::ui", *config.ui, options, options.ui);
    if (!taken.ok()) return taken.error();
  }
  if (config.data && !options.given.contains("--data")) options.data = *config.data;
  if (receiver.max_body_bytes && !options.given.contains("--max-body")) {
    options.max_body_bytes = *receiver.max_body_bytes;
  }
  if (config.log_level && !options.given.contains("--log-level")) {
    const char first = static_cast<char>((*config.log_level)[0] | 0x20);
    options.log_level = first == 'd'   ? LogLevel::kDebug
                        : first == 'i' ? LogLevel::kInfo
                        : first == 'w' ? LogLevel::kWarning
                                       : LogLevel::kError;
  }
  return options;
}

gateway::Config default_config() {
  gateway::Config config;
  gateway::ExporterConfig store;
  store.kind = gateway::ExporterConfig::Kind::kNuages;
  config.exporters.emplace("nuages", std::move(store));
  config.pipelines.push_back({"traces", wire::Signal::kTraces, {}, {"nuages"}});
  return config;
}

std::string describe(const gateway::Config& config) {
  std::string out;
  if (config.receiver.grpc) out += "otlp receives gRPC at " + *config.receiver.grpc + "\n";
  if (config.receiver.http) out += "otlp receives HTTP at " + *config.receiver.http + "\n";
  for (const gateway::PipelineConfig& pipeline : config.pipelines) {
    out += "pipeline " + pipeline.name + ": otlp";
    for (const std::string& name : pipeline.processors) out += " -> " + name;
    const char* separator = " -> ";
    for (const std::string& name : pipeline.exporters) {
      out += separator + name;
      separator = ", ";
    }
    out += '\n';
  }
  out += config.stores()
             ? "traces are stored by this server\n"
             : "nothing is stored by this server: no pipeline has the exporter nuages\n";
  return out;
}

}  // namespace nuages::server
