#include "gateway/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "gateway/memory.h"
#include "wire/protobuf_writer.h"

namespace nuages::gateway {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// "otlp/2" -> "otlp".
std::string type_of(const std::string& name) { return name.substr(0, name.find('/')); }

std::string join(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "none" : out;
}

class Reader {
 public:
  explicit Reader(YamlContext& context) : context_(context) {}

  Config run(std::string_view text) {
    YamlMap top = YamlMap::parse(text, context_);
    if (context_.problems.empty()) read(top);
    std::stable_sort(context_.problems.begin(), context_.problems.end(),
                     [](const Problem& a, const Problem& b) { return a.line < b.line; });
    return std::move(config_);
  }

 private:
  void read(YamlMap& top) {
    read_extensions(top.map("extensions"));
    read_receivers(top.map("receivers"));
    read_processors(top.map("processors"));
    read_exporters(top.map("exporters"));
    if (!top.has("service")) {
      context_.problem(0, "there is no service: add service::pipelines, which says what runs");
    }
    read_service(top.map("service"));
    if (top.has("connectors")) top.problem("connectors", "are not supported");
    top.finish();
  }

  void unknown(const YamlMap& component, const std::string& type, const std::string& known) {
    component_problem(component, "unknown component '" + type + "'; known here: " + known);
  }
  void component_problem(const YamlMap& component, const std::string& text) {
    context_.problem(component.line(), component.path() + ": " + text);
  }

  // --- extensions
  void read_extensions(YamlMap section) {
    for (auto& [name, map] : section.maps()) {
      const std::string type = type_of(name);
      extensions_.insert(name);
      if (type == "health_check") {
        health_[name] = map.text("endpoint").value_or("localhost:13133");
        map.ignore("path");
        map.finish();
      } else if (type == "file_storage") {
        folders_[name] = map.text("directory").value_or("");
        for (const char* key : {"timeout", "create_directory", "compaction", "fsync"}) {
          map.ignore(key);
        }
        map.finish();
      } else if (type == "bearertokenauth") {
        read_token(name, map);
      } else {
        unknown(map, type, "health_check, file_storage, bearertokenauth");
      }
    }
  }

  void read_token(const std::string& name, YamlMap& map) {
    const std::string scheme = map.text("scheme").value_or("Bearer");
    auto token = map.text("token");
    if (const auto file = map.text("filename")) {
      std::ifstream stream(*file);
      std::string line;
      if (stream && std::getline(stream, line)) {
        while (line.ends_with('\r') || line.ends_with(' ')) line.pop_back();
        token = line;
      } else {
        map.problem("filename", "cannot be read: " + *file);
      }
    }
    if (!token || token->empty()) {
      if (!map.has("filename")) map.problem(map.path() + " needs token or filename");
    }
    map.finish();
    tokens_[name] = scheme.empty() ? token.value_or("") : scheme + " " + token.value_or("");
  }

  // --- receivers
  void read_receivers(YamlMap section) {
    bool found = false;
    for (auto& [name, map] : section.maps()) {
      receivers_.insert(name);
      if (type_of(name) != "otlp") {
        unknown(map, type_of(name), "otlp");
        continue;
      }
      if (found) component_problem(map, "a second otlp receiver is not supported");
      found = true;
      YamlMap protocols = map.map("protocols");
      if (!map.has("protocols")) component_problem(map, "needs protocols: grpc, http or both");
      config_.receiver.grpc = read_endpoint(protocols, "grpc", "localhost:4317");
      config_.receiver.http = read_endpoint(protocols, "http", "localhost:4318");
      protocols.finish();
      map.finish();
    }
  }

  std::optional<std::string> read_endpoint(YamlMap& protocols, const char* name,
                                           const char* fallback) {
    if (!protocols.has(name)) return std::nullopt;
    YamlMap map = protocols.map(name);
    std::string endpoint = map.text("endpoint").value_or(fallback);
    constexpr uint64_t kMostMiB = 1024;
    if (const auto size = map.number("max_recv_msg_size_mib", 1, kMostMiB)) {
      config_.receiver.max_body_bytes = *size * kMiB;
    }
    if (const auto size = map.number("max_request_body_size", 1, kMostMiB * kMiB)) {
      config_.receiver.max_body_bytes = size;
    }
    if (map.has("tls")) map.problem("tls", "is not supported; put a TLS proxy in front");
    if (map.has("auth")) map.problem("auth", "is not supported here");
    for (const char* key : {"transport", "keepalive", "include_metadata", "cors",
                            "max_concurrent_streams", "read_buffer_size", "write_buffer_size"}) {
      map.ignore(key);  // ours adapt, or the browser's business
    }
    map.finish();
    return endpoint;
  }

  // --- processors
  void read_processors(YamlMap section) {
    for (auto& [name, map] : section.maps()) {
      const std::string type = type_of(name);
      processors_.insert(name);
      ProcessorConfig out;
      if (type == "batch") {
        out.kind = ProcessorConfig::Kind::kBatch;
        read_batch(map, out.batch);
      } else if (type == "memory_limiter") {
        out.kind = ProcessorConfig::Kind::kMemory;
        read_memory(map, out.memory);
      } else if (type == "attributes") {
        out.kind = ProcessorConfig::Kind::kAttributes;
        for (YamlMap& action : map.list_of_maps("actions")) read_action(action, out.actions);
        if (out.actions.empty() && !map.has("actions")) component_problem(map, "needs actions");
      } else if (type == "filter") {
        out.kind = ProcessorConfig::Kind::kFilter;
        read_filter(map, out.drop);
      } else {
        unknown(map, type, "attributes, batch, filter, memory_limiter");
        continue;
      }
      map.finish();
      config_.processors.emplace(name, std::move(out));
    }
  }

  static void read_batch(YamlMap& map, BatchConfig& out) {
    constexpr uint64_t kMost = 10'000'000;
    if (const auto time = map.duration("timeout")) out.timeout_ns = *time;
    if (const auto size = map.number("send_batch_size", 0, kMost)) out.size = *size;
    if (const auto size = map.number("send_batch_max_size", 0, kMost)) out.max_size = *size;
    if (out.max_size != 0 && out.max_size < out.size) {
      map.problem("send_batch_max_size",
                  "must be at least send_batch_size (" + std::to_string(out.size) + ")");
    }
  }

  void read_memory(YamlMap& map, MemoryConfig& out) {
    constexpr uint64_t kMostMiB = uint64_t{1} << 24;
    const uint64_t total = total_memory();
    map.ignore("check_interval");  // every request looks
    if (const auto size = map.number("limit_mib", 1, kMostMiB)) out.limit_bytes = *size * kMiB;
    if (const auto share = map.number("limit_percentage", 1, 100); share && out.limit_bytes == 0) {
      out.limit_bytes = total / 100 * *share;
    }
    out.spike_bytes = out.limit_bytes / 5;
    if (const auto size = map.number("spike_limit_mib", 0, kMostMiB)) {
      out.spike_bytes = *size * kMiB;
    }
    if (const auto share = map.number("spike_limit_percentage", 0, 100);
        share && !map.has("spike_limit_mib")) {
      out.spike_bytes = total / 100 * *share;
    }
    if (out.limit_bytes == 0) {
      component_problem(map, "needs limit_mib or limit_percentage");
    } else if (out.spike_bytes >= out.limit_bytes) {
      component_problem(map, "the spike limit must be less than the limit");
    }
  }

  static void read_action(YamlMap& map, std::vector<AttributeAction>& out) {
    AttributeAction action;
    action.key = map.text("key").value_or("");
    if (action.key.empty()) map.problem(map.path() + " needs key");
    const auto kind = map.choice("action", "insert|update|upsert|delete");
    if (!map.has("action")) map.problem(map.path() + " needs action");
    const auto from = map.text("from_attribute");
    const auto value = map.scalar("value");
    action.from = from.value_or("");
    if (value) action.value = encoded(*value);
    if (kind == "insert") action.kind = AttributeAction::Kind::kInsert;
    if (kind == "update") action.kind = AttributeAction::Kind::kUpdate;
    if (kind == "upsert") action.kind = AttributeAction::Kind::kUpsert;
    if (kind == "delete") {
      action.kind = AttributeAction::Kind::kDelete;
      if (value || from)
        map.problem(map.path() + ": delete takes neither value nor from_attribute");
    } else if (kind && value.has_value() == from.has_value()) {
      map.problem(map.path() + " needs either value or from_attribute");
    }
    map.finish();
    out.push_back(std::move(action));
  }

  // An AnyValue of the type that YAML gives the scalar.
  static std::string encoded(const YamlMap::Scalar& scalar) {
    wire::ProtobufWriter out;
    const std::string& text = scalar.text;
    const char* const end = text.data() + text.size();
    int64_t whole = 0;
    double number = 0;
    if (!scalar.quoted && (text == "true" || text == "false")) {
      out.boolean(2, text == "true");
    } else if (const auto made = std::from_chars(text.data(), end, whole);
               !scalar.quoted && made.ec == std::errc() && made.ptr == end) {
      out.varint(3, static_cast<uint64_t>(whole));
    } else if (const auto real = std::from_chars(text.data(), end, number);
               !scalar.quoted && real.ec == std::errc() && real.ptr == end) {
      out.number(4, number);
    } else {
      out.string(1, text);
    }
    return std::string(out.view());
  }

  void read_filter(YamlMap& map, std::vector<Condition>& out) {
    map.choice("error_mode", "ignore|silent|propagate");
    if (!map.has("traces")) component_problem(map, "needs traces::span, a list of conditions");
    YamlMap traces = map.map("traces");
    for (const char* key : {"logs", "metrics"}) {
      if (map.has(key)) map.problem(key, "is not supported: only spans are filtered");
    }
    for (const std::string& text : traces.strings("span").value_or(std::vector<std::string>())) {
      auto condition = Condition::parse(text);
      if (condition.ok()) {
        out.push_back(std::move(condition).value());
      } else {
        traces.problem("span", "has a problem: " + condition.error().message);
      }
    }
    traces.finish();
  }

  // --- exporters
  void read_exporters(YamlMap section) {
    for (auto& [name, map] : section.maps()) {
      const std::string type = type_of(name);
      exporters_.insert(name);
      ExporterConfig out;
      out.source = map.source();
      if (type == "nuages") {
        out.kind = ExporterConfig::Kind::kNuages;
        if (config_.data || config_.ui) component_problem(map, "a second store is not supported");
        config_.data = map.text("path");
        config_.ui = map.text("ui");
      } else if (type == "debug") {
        out.kind = ExporterConfig::Kind::kDebug;
        out.detailed = map.choice("verbosity", "basic|normal|detailed") == "detailed";
        for (const char* key : {"sampling_initial", "sampling_thereafter", "use_internal_logger"}) {
          map.ignore(key);
        }
      } else if (type == "otlp" || type == "otlphttp" || type == "otlp_grpc" ||
                 type == "otlp_http") {
        out.kind = ExporterConfig::Kind::kForward;
        const bool http = type == "otlphttp" || type == "otlp_http";
        read_forward(map, http, out.forward);
        for (const auto& [key, value] : out.forward.client.headers) {
          out.source.append("\n").append(key).append("=").append(value);
        }
      } else {
        unknown(map, type, "debug, nuages, otlp, otlphttp");
        continue;
      }
      map.finish();
      config_.exporters.emplace(name, std::move(out));
    }
  }

  void read_forward(YamlMap& map, bool http, ForwardConfig& out) {
    net::OtlpClientConfig& client = out.client;
    client.protocol = http ? net::Protocol::kHttpProtobuf : net::Protocol::kGrpc;
    client.endpoint = map.text("endpoint").value_or("");
    bool has_url = false;
    if (http) {
      constexpr const char* kKeys[wire::kSignals] = {"traces_endpoint", "logs_endpoint",
                                                     "metrics_endpoint"};
      for (size_t i = 0; i < wire::kSignals; ++i) {
        out.urls[i] = map.text(kKeys[i]).value_or("");
        has_url |= !out.urls[i].empty();
      }
      if (const auto encoding = map.choice("encoding", "proto|json"); encoding == "json") {
        map.problem("encoding", "json is not supported for sending; use proto");
      }
    }
    if (client.endpoint.empty() && !has_url) {
      component_problem(map, std::string("needs endpoint, for example ") +
                                 (http ? "https://collector:4318" : "collector:4317"));
    }
    YamlMap tls = map.map("tls");
    client.insecure = tls.boolean("insecure").value_or(false);
    client.ca_file = tls.text("ca_file").value_or("");
    client.client_cert_file = tls.text("cert_file").value_or("");
    client.client_key_file = tls.text("key_file").value_or("");
    if (tls.boolean("insecure_skip_verify").value_or(false)) {
      tls.problem("insecure_skip_verify", "is not supported; name the certificate with ca_file");
    }
    for (const char* key : {"min_version", "server_name_override"}) {
      if (tls.has(key)) tls.problem(key, "is not supported");
    }
    tls.finish();
    if (!client.endpoint.empty() || !out.urls[0].empty()) {
      net::OtlpClientConfig probe = client;
      if (probe.endpoint.empty()) probe.endpoint = out.urls[0];
      const auto parsed = net::parse_endpoint(probe);
      if (!parsed.ok()) map.problem("endpoint", "is wrong: " + parsed.error().message);
    }
    for (auto& [name, value] : map.pairs("headers")) {
      client.headers.emplace_back(lower(name), value);
    }
    constexpr uint64_t kMillisecond = 1'000'000;
    client.timeout_ms = static_cast<uint32_t>(std::clamp<uint64_t>(
        map.duration("timeout").value_or(http ? 30'000 * kMillisecond : 5'000 * kMillisecond) /
            kMillisecond,
        1, 3'600'000));
    const auto compression = map.choice("compression", "gzip|deflate|none");
    client.compression = compression == "none"      ? net::Compression::kNone
                         : compression == "deflate" ? net::Compression::kDeflate
                                                    : net::Compression::kGzip;
    client.proxy = map.text("proxy_url").value_or("");
    read_auth(map, client);
    read_retry(map.map("retry_on_failure"), out.retry);
    read_queue(map.map("sending_queue"), out);
    for (const char* key : {"balancer_name", "keepalive", "read_buffer_size", "write_buffer_size",
                            "wait_for_ready", "max_idle_conns", "idle_conn_timeout"}) {
      map.ignore(key);
    }
  }

  static std::string lower(std::string text) {
    for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return text;
  }

  void read_auth(YamlMap& map, net::OtlpClientConfig& client) {
    YamlMap auth = map.map("auth");
    const auto name = auth.text("authenticator");
    auth.finish();
    if (!name) return;
    const auto token = tokens_.find(*name);
    if (token == tokens_.end()) {
      std::set<std::string> known;
      for (const auto& [key, value] : tokens_) known.insert(key);
      auth.problem("authenticator",
                   "names '" + *name +
                       "', which is no bearertokenauth of extensions; there are: " + join(known));
      return;
    }
    used_extensions_.emplace(*name, auth.line_of("authenticator"));
    client.headers.emplace_back("authorization", token->second);
  }

  static void read_retry(YamlMap map, RetryConfig& out) {
    out.enabled = map.boolean("enabled").value_or(true);
    if (const auto time = map.duration("initial_interval")) out.initial_ns = *time;
    if (const auto time = map.duration("max_interval")) out.max_ns = *time;
    if (const auto time = map.duration("max_elapsed_time")) out.max_elapsed_ns = *time;
    for (const char* key : {"randomization_factor", "multiplier"}) map.ignore(key);
    if (out.initial_ns == 0) map.problem("initial_interval", "must be more than 0");
    map.finish();
  }

  void read_queue(YamlMap map, ForwardConfig& out) {
    constexpr uint64_t kMost = uint64_t{1} << 50;
    if (!map.boolean("enabled").value_or(true)) {
      map.problem("enabled",
                  "cannot be false: requests are acknowledged when they are in the "
                  "queue on the disk");
    }
    const std::string sizer = map.choice("sizer", "requests|bytes").value_or("requests");
    if (const auto size = map.number("queue_size", 1, kMost)) {
      (sizer == "bytes" ? out.queue_bytes : out.queue_requests) = *size;
      if (sizer == "bytes") out.queue_requests = kMost;
    }
    if (const auto storage = map.text("storage")) {
      const auto found = folders_.find(*storage);
      if (found == folders_.end()) {
        map.problem("storage", "names '" + *storage + "', which is no file_storage of extensions");
      } else {
        out.queue_folder = found->second;
        used_extensions_.emplace(*storage, map.line_of("storage"));
      }
    }
    for (const char* key : {"num_consumers", "block_on_overflow", "wait_for_result", "batch"}) {
      map.ignore(key);
    }
    map.finish();
  }

  // --- service
  void read_service(YamlMap service) {
    std::set<std::string> active;
    for (const std::string& name :
         service.strings("extensions").value_or(std::vector<std::string>())) {
      active.insert(name);
      if (!extensions_.contains(name)) {
        service.problem("extensions", "names '" + name +
                                          "', which extensions does not define; "
                                          "defined are: " +
                                          join(extensions_));
      }
      if (const auto health = health_.find(name); health != health_.end()) {
        config_.health = health->second;
      }
    }
    for (const auto& [name, line] : used_extensions_) {
      if (active.contains(name)) continue;
      context_.problem(line, "the extension " + name + " is used but not in service::extensions");
    }
    YamlMap telemetry = service.map("telemetry");
    YamlMap logs = telemetry.map("logs");
    config_.log_level = logs.choice("level", "debug|info|warn|error|DEBUG|INFO|WARN|ERROR");
    for (const char* key : {"metrics", "traces", "resource"}) telemetry.ignore(key);
    telemetry.finish();
    YamlMap pipelines = service.map("pipelines");
    if (!service.has("pipelines")) {
      context_.problem(service.line(), "service needs pipelines, for example pipelines::traces");
    }
    for (auto& [name, map] : pipelines.maps()) read_pipeline(name, map);
    service.finish();
  }

  void read_pipeline(const std::string& name, YamlMap& map) {
    PipelineConfig out;
    out.name = name;
    const std::string type = type_of(name);
    bool known = false;
    for (size_t i = 0; i < wire::kSignals; ++i) {
      if (wire::signal_name(static_cast<wire::Signal>(i)) != type) continue;
      out.signal = static_cast<wire::Signal>(i);
      known = true;
    }
    if (!known) {
      component_problem(map, "a pipeline carries traces, logs or metrics, not '" + type + "'");
    }
    check_names(map, "receivers", receivers_, true);
    out.processors = check_names(map, "processors", processors_, false);
    out.exporters = check_names(map, "exporters", exporters_, true);
    for (const std::string& one : out.processors) {
      const auto found = config_.processors.find(one);
      if (found == config_.processors.end()) continue;
      const auto kind = found->second.kind;
      if (kind == ProcessorConfig::Kind::kFilter && out.signal != wire::Signal::kTraces) {
        map.problem("processors", "has " + one + ", which filters spans only");
      }
      if (kind == ProcessorConfig::Kind::kAttributes && out.signal == wire::Signal::kMetrics) {
        map.problem("processors", "has " + one + ", which changes spans and log records only");
      }
    }
    for (const std::string& one : out.exporters) {
      const auto found = config_.exporters.find(one);
      if (found != config_.exporters.end() && out.signal != wire::Signal::kTraces &&
          found->second.kind == ExporterConfig::Kind::kNuages) {
        map.problem("exporters", "has " + one + ", which stores traces only");
      }
    }
    map.finish();
    config_.pipelines.push_back(std::move(out));
  }

  static std::vector<std::string> check_names(YamlMap& map, const char* key,
                                              const std::set<std::string>& defined, bool needed) {
    const auto names = map.strings(key).value_or(std::vector<std::string>());
    if (needed && names.empty()) map.problem(map.path() + " needs " + key);
    for (const std::string& name : names) {
      if (defined.contains(name)) continue;
      map.problem(key, "names '" + name + "', which the section " + key +
                           " does not define; defined are: " + join(defined));
    }
    return names;
  }

  YamlContext& context_;
  Config config_;
  std::set<std::string> extensions_, receivers_, processors_, exporters_;  // defined names
  std::map<std::string, std::string> tokens_, folders_, health_;           // by extension
  std::map<std::string, int> used_extensions_;
};

}  // namespace

bool Config::stores() const {
  return std::any_of(pipelines.begin(), pipelines.end(), [this](const PipelineConfig& pipeline) {
    return std::any_of(
        pipeline.exporters.begin(), pipeline.exporters.end(), [this](const std::string& name) {
          const auto found = exporters.find(name);
          return found != exporters.end() && found->second.kind == ExporterConfig::Kind::kNuages;
        });
  });
}

Config parse_config(std::string_view text, YamlContext& context) {
  return Reader(context).run(text);
}

std::string problem_text(const std::string& file, const std::vector<Problem>& problems) {
  std::string out;
  for (const Problem& problem : problems) {
    if (!out.empty()) out += '\n';
    out += file + ":";
    if (problem.line > 0) out += std::to_string(problem.line) + ":";
    out += " " + problem.text;
  }
  return out;
}

Result<Config> load_config(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream) {
    return Error{ErrorCode::kNotFound,
                 "--config=" + file + " cannot be read; name a YAML file that is there"};
  }
  YamlContext context;
  context.environment = [](const std::string& name) -> std::optional<std::string> {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing in this process sets variables
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  Config config = parse_config(text.view(), context);
  if (context.problems.empty()) return config;
  return Error{ErrorCode::kInvalid, problem_text(file, context.problems)};
}

}  // namespace nuages::gateway
