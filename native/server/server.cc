#include "server/server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/config_options.h"
#include "server/grpc_session.h"
#include "server/http_session.h"

namespace nuages::server {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

constexpr std::string_view kComponent = "server";
constexpr int kNetworkThreads = 2;
constexpr size_t kApiThreads = 4;
constexpr size_t kArrivingBytes = size_t{512} << 20;  // request bodies of all connections
constexpr size_t kMaxUiBody = size_t{1} << 20;
constexpr uint64_t kReplayWaitNs = 10'000'000'000;
constexpr uint64_t kMaintenanceWaitNs = 60'000'000'000;  // for the store to take what waits

constexpr char kNotStoring[] =
    "this configuration stores nothing: no pipeline has the exporter nuages";
constexpr uint64_t kLeaveQueueNs = 5'000'000'000;  // for an exporter that a reload takes away

// The extension health_check: what load balancers ask a collector.
class HealthHttp final : public HttpService {
 public:
  void handle(Request, Done done) override {
    Response response;
    response.body = R"({"status":"Server available"})";
    done(std::move(response));
  }
  Response error(int status, const std::string& message, std::string_view) const override {
    Response response;
    response.status = status;
    response.content_type = "text/plain";
    response.body = message + "\n";
    return response;
  }
};

std::string system_message(int code) { return std::generic_category().message(code); }

}  // namespace

Server::Server(Options options, gateway::Config config, std::string version)
    : options_(std::move(options)),
      config_(std::move(config)),
      version_(std::move(version)),
      io_(kNetworkThreads),
      budget_(kArrivingBytes) {}

Server::~Server() {
  work_.reset();
  io_.stop();
  for (std::thread& thread : threads_) thread.join();
  if (web_ != nullptr) web_->stop();
  retention_.reset();
  api_.reset();     // reads the ingest and the store
  intake_.reset();  // its pipelines use the ingest
  ingest_.reset();  // its inserter uses the store
  store_.reset();
  if (lock_file_ >= 0) ::close(lock_file_);
}

Status Server::start(const std::function<void(const std::string&)>& announce) {
  start_ns_ = wall_now();
  const bool stores = config_.stores();
  if (stores) {
    if (Status status = check_store_library(); !status.ok()) return status;
  }
  if (Status status = lock_data_folder(); !status.ok()) return status;
  if (Status status = open_keys(); !status.ok()) return status;
  if (!options_.tls.certificate.empty()) {
    for (auto [tls, protocol] :
         {std::pair{&http2_tls_, "h2"}, std::pair{&http1_tls_, "http/1.1"}}) {
      auto opened = Tls::open(options_.tls, protocol);
      if (!opened.ok()) return opened.error();
      *tls = std::move(opened).value();
    }
  }
  if (stores) {
    if (Status status = open_ingest(); !status.ok()) return status;
  }
  if (Status status = open_pipelines(); !status.ok()) return status;
  if (Status status = listen(announce); !status.ok()) return status;
  if (stores) {
    if (Status status = open_store(); !status.ok()) return status;
  } else {
    announce(std::string("not storing: ") + kNotStoring);
  }
  announce("ready");
  return {};
}

Status Server::check_store_library() const {
  const std::string& path = options_.store_library;
  if (::access(path.c_str(), R_OK) == 0) return {};
  return Error{ErrorCode::kNotFound,
               "--store-library=" + path +
                   ": the store library cannot be read: " + system_message(errno) +
                   "; run `make setup`, or name libchdb.so with "
                   "--store-library or NUAGES_CHDB_LIBRARY"};
}

Status Server::lock_data_folder() {
  std::error_code error;
  fs::create_directories(options_.data, error);
  if (error) {
    return Error{ErrorCode::kDenied, "--data=" + options_.data + ": cannot create the folder: " +
                                         error.message() + "; choose one you may write to"};
  }
  const std::string path = options_.data + "/lock";
  lock_file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_file_ < 0) {
    return Error{ErrorCode::kDenied, "--data=" + options_.data +
                                         ": cannot write there: " + system_message(errno) +
                                         "; choose a folder you may write "
                                         "to"};
  }
  if (::flock(lock_file_, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::kUnavailable,
                 "--data=" + options_.data +
                     ": another nuages-server uses this folder; stop it or choose another folder"};
  }
  return {};
}

Status Server::open_keys() {
  const auto environment = Keys::read_environment();
  if (!environment.ok()) return environment.error();
  auto keys = Keys::open(options_.data + "/keys", *environment);
  if (!keys.ok()) return keys.error();
  keys_ = std::move(keys).value();
  const auto password = Logins::read_environment();
  if (!password.ok()) return password.error();
  auto logins = Logins::open({.folder = options_.data,
                              .admin_password = *password,
                              .secure = !options_.tls.certificate.empty()},
                             keys_.get());
  if (!logins.ok()) return logins.error();
  logins_ = std::move(logins).value();
  if (keys_->required() || options_.allow_remote) return {};
  const std::pair<const char*, const HostPort*> listeners[] = {
      {"--grpc", &options_.grpc}, {"--http", &options_.http}, {"--ui", &options_.ui}};
  for (const auto& [name, address] : listeners) {
    const bool off = (address == &options_.grpc && !options_.grpc_on) ||
                     (address == &options_.http && !options_.http_on);
    if (off || is_loopback_host(address->host)) continue;
    return Error{ErrorCode::kDenied,
                 std::string(name) + "=" + address->text() +
                     " would let other machines read and write all traces without a key; make keys "
                     "(nuages-server keys add --data=" +
                     options_.data +
                     " --scopes=ingest ...), listen on 127.0.0.1, or give --allow-remote if this "
                     "network is trusted"};
  }
  return {};
}

Status Server::open_ingest() {
  store::IngestOptions options;
  options.wal.folder = options_.data + "/wal";
  options.wal.max_total_bytes = options_.max_wal_bytes;
  Result<std::unique_ptr<store::Ingest>> ingest = store::Ingest::open(options);
  if (!ingest.ok()) return ingest.error();
  ingest_ = std::move(ingest).value();
  store::CrashMark::install(options.wal.folder);
  return {};
}

Status Server::open_pipelines() {
  auto pipelines =
      gateway::Pipelines::open(config_, ingest_.get(), options_.data, signals_, nullptr);
  if (!pipelines.ok()) return pipelines.error();
  intake_ = std::make_unique<Intake>(std::move(pipelines).value(), keys_.get(), options_.masking);
  return {};
}

Status Server::listen(const std::function<void(const std::string&)>& announce) {
  grpc_ = std::make_unique<GrpcService>(*intake_, options_.max_body_bytes);
  otlp_http_ = std::make_unique<OtlpHttp>(*intake_, options_.max_body_bytes);
  web_ = std::make_unique<Web>(kApiThreads, keys_.get(), logins_.get());
  if (!config_.stores()) web_->set_no_store(kNotStoring, [this] { return more_metrics(); });
  const auto take = [](Result<std::unique_ptr<Listener>> made,
                       std::unique_ptr<Listener>& out) -> Status {
    if (!made.ok()) return made.error();
    out = std::move(made).value();
    return {};
  };
  Status status;
  if (options_.http_on) {
    status = take(listen_http("--http", options_.http, otlp_http_.get(), options_.max_body_bytes),
                  http_listener_);
  }
  if (status.ok()) {
    status = take(listen_http("--ui", options_.ui, web_.get(), kMaxUiBody), ui_listener_);
  }
  if (status.ok() && options_.grpc_on) status = take(listen_grpc(options_.grpc), grpc_listener_);
  if (status.ok()) status = listen_health();
  if (!status.ok()) return status;
  work_.emplace(io_.get_executor());
  for (int i = 0; i < kNetworkThreads; ++i) {
    threads_.emplace_back([this] { io_.run(); });
  }
  const std::pair<const char*, const Listener*> listeners[] = {{"grpc", grpc_listener_.get()},
                                                               {"http", http_listener_.get()},
                                                               {"ui", ui_listener_.get()},
                                                               {"health", health_listener_.get()}};
  for (const auto& [name, listener] : listeners) {
    if (listener != nullptr) announce(std::string("listening ") + name + " " + listener->address());
  }
  // For commands that ask a running server: server/commands.h.
  std::ofstream(options_.data + "/address") << ui_listener_->address() << "\n";
  return {};
}

Status Server::listen_health() {
  if (!config_.health) return {};
  const std::string& text = *config_.health;
  Result<HostPort> address = parse_host_port("extensions::health_check::endpoint",
                                             text.starts_with(':') ? "0.0.0.0" + text : text);
  if (!address.ok()) return address.error();
  health_ = std::make_unique<HealthHttp>();
  auto made = listen_http("health_check", *address, health_.get(), kMaxUiBody);
  if (!made.ok()) return made.error();
  health_listener_ = std::move(made).value();
  return {};
}

Result<std::unique_ptr<Listener>> Server::listen_grpc(const HostPort& address) {
  auto grpc = std::make_shared<GrpcOptions>();
  grpc->handler = [this](GrpcCall call, const GrpcOptions::Done& done) {
    grpc_->handle(std::move(call), done);
  };
  grpc->max_message_bytes = options_.max_body_bytes;
  grpc->timeout_ns = options_.peer_timeout_ns;
  grpc->http_address = http_listener_ == nullptr ? "its own port" : http_listener_->address();
  return Listener::open(io_, "--grpc", address, options_.max_connections,
                        [this, grpc](Listener::Socket socket) {
                          return std::make_shared<GrpcSession>(
                              std::move(socket), grpc, budget_,
                              http2_tls_ == nullptr ? nullptr : http2_tls_->context());
                        });
}

Result<std::unique_ptr<Listener>> Server::listen_http(const std::string& option,
                                                      const HostPort& address, HttpService* service,
                                                      size_t max_body) {
  auto http = std::make_shared<HttpOptions>();
  http->service = service;
  http->max_body_bytes = max_body;
  http->timeout_ns = options_.peer_timeout_ns;
  http->loopback_only =
      is_loopback_host(address.host) && !keys_->required() && service != health_.get();
  return Listener::open(io_, option, address, options_.max_connections,
                        [this, http](Listener::Socket socket) {
                          return std::make_shared<HttpSession>(
                              std::move(socket), http, budget_,
                              http1_tls_ == nullptr ? nullptr : http1_tls_->context());
                        });
}

// Opens the port of a new address before the old one is closed; `ended` are to be stopped when
// nothing can fail any more.
Status Server::move_listener(std::unique_ptr<Listener>& listener, bool on, bool was_on,
                             const HostPort& address, const HostPort& former, const char* name,
                             std::vector<std::unique_ptr<Listener>>& ended) {
  const bool same = address.host == former.host && address.port == former.port;
  if (on == was_on && (same || !on)) return {};
  std::unique_ptr<Listener> made;
  if (on) {
    auto opened = std::string_view(name) == "--grpc"
                      ? listen_grpc(address)
                      : listen_http(name, address, otlp_http_.get(), options_.max_body_bytes);
    if (!opened.ok()) return opened.error();
    made = std::move(opened).value();
  }
  if (listener != nullptr) ended.push_back(std::move(listener));
  listener = std::move(made);
  return {};
}

Status Server::reload(const std::function<void(const std::string&)>& announce) {
  if (options_.config.empty()) {
    return Error{ErrorCode::kInvalid,
                 "there is nothing to reload: the server runs without --config"};
  }
  Result<gateway::Config> config = gateway::load_config(options_.config);
  if (!config.ok()) return config.error();
  Result<Options> options = with_config(options_, *config);
  if (!options.ok()) return options.error();
  const bool moved = options->data != options_.data || options->ui.text() != options_.ui.text();
  if (config->stores() != config_.stores() || (moved && config->data == config_.data) ||
      config->health != config_.health || options->max_body_bytes != options_.max_body_bytes ||
      (moved && config->stores())) {
    return Error{ErrorCode::kInvalid,
                 options_.config +
                     ": whether and where this server stores (exporters::nuages), its "
                     "request size and health_check change by a restart only"};
  }
  if (!keys_->required() && !options_.allow_remote) {
    for (const HostPort* address : {&options->grpc, &options->http}) {
      if (is_loopback_host(address->host)) continue;
      return Error{ErrorCode::kDenied, options_.config + ": " + address->text() +
                                           " would let other machines send without a key"};
    }
  }
  const auto former = intake_->pipelines();
  auto pipelines =
      gateway::Pipelines::open(*config, ingest_.get(), options_.data, signals_, former.get());
  if (!pipelines.ok()) return pipelines.error();
  std::vector<std::unique_ptr<Listener>> ended;
  const Status http = move_listener(http_listener_, options->http_on, options_.http_on,
                                    options->http, options_.http, "--http", ended);
  const Status grpc = move_listener(grpc_listener_, options->grpc_on, options_.grpc_on,
                                    options->grpc, options_.grpc, "--grpc", ended);
  for (const Status* status : {&http, &grpc}) {
    if (status->ok()) continue;
    log(LogLevel::kError, kComponent,
        "an address of the new configuration cannot be used, the rest of it is: " +
            status->error().message);
  }
  if (!http.ok()) options->http = options_.http;  // so that the next reload tries again
  if (!grpc.ok()) options->grpc = options_.grpc;
  intake_->exchange(*pipelines);
  options_ = std::move(options).value();
  config_ = std::move(config).value();
  for (const auto& listener : ended) listener->stop();
  set_log_level(options_.log_level);
  former->stop(steady_now() + kLeaveQueueNs, pipelines->get());
  for (const auto& [name, listener] :
       {std::pair{"grpc", grpc_listener_.get()}, std::pair{"http", http_listener_.get()}}) {
    if (listener != nullptr) announce(std::string("listening ") + name + " " + listener->address());
  }
  announce("reloaded");
  return {};
}

std::string Server::more_metrics() const {
  std::string out = metrics_text(keys_->uses()) + logins_->metrics_text();
  struct Metric {
    const char* name;
    const char* type;
    const char* help;
    uint64_t gateway::ForwardCounters::* value;
  };
  constexpr Metric kMetrics[] = {
      {"nuages_exporter_sent_items_total", "counter", "Items that a receiver has taken.",
       &gateway::ForwardCounters::sent_items},
      {"nuages_exporter_dropped_items_total", "counter",
       "Items refused for good or out of retries.", &gateway::ForwardCounters::dropped_items},
      {"nuages_exporter_rejected_items_total", "counter", "Items rejected by partial success.",
       &gateway::ForwardCounters::rejected_items},
      {"nuages_exporter_failed_attempts_total", "counter", "Attempts to send that failed.",
       &gateway::ForwardCounters::failed_attempts},
      {"nuages_exporter_queued_requests", "gauge", "Requests in the queue.",
       &gateway::ForwardCounters::queued_requests},
      {"nuages_exporter_queued_bytes", "gauge", "Size of the queue on the disk.",
       &gateway::ForwardCounters::queued_bytes}};
  const auto exporters = intake_->pipelines()->exporters();
  for (const Metric& metric : kMetrics) {
    if (exporters.empty()) break;
    out.append("# HELP ").append(metric.name).append(" ").append(metric.help);
    out.append("\n# TYPE ").append(metric.name).append(" ").append(metric.type).append("\n");
    for (const auto& exporter : exporters) {
      out.append(metric.name).append("{exporter=\"").append(exporter.name).append("\"} ");
      out.append(std::to_string(exporter.counters.*metric.value)).append("\n");
    }
  }
  const uint64_t filtered = signals_.filtered[static_cast<size_t>(wire::Signal::kTraces)];
  out +=
      "# HELP nuages_filtered_spans_total Spans dropped by filters.\n"
      "# TYPE nuages_filtered_spans_total counter\nnuages_filtered_spans_total " +
      std::to_string(filtered) + "\n";
  return out;
}

Status Server::open_store() {
  store::ChdbOptions options;
  options.library = options_.store_library;
  options.folder = options_.data + "/store";
  Result<std::unique_ptr<store::ChdbStore>> opened = store::ChdbStore::open(options);
  if (!opened.ok()) return opened.error();
  store_ = std::move(opened).value();
  ingest_->set_store(*store_);
  // What was acknowledged before the restart should be visible once we say ready.
  if (!ingest_->wait_inserted(kReplayWaitNs)) {
    log(LogLevel::kWarning, kComponent,
        "the write-ahead log is still being inserted; its spans appear as that goes on");
  }
  retention_ = std::make_unique<store::Retention>(*store_, options_.retention);
  ApiOptions api;
  api.status = [this] { return status(); };
  api.recent = ingest_.get();
  api.erase = [this](const store::EraseRequest& request) {
    return store::erase_everywhere(*store_, *ingest_, request, kMaintenanceWaitNs);
  };
  api.backup = [this](const std::string& folder) {
    return store::make_backup(*store_, *ingest_, options_.data, folder, kMaintenanceWaitNs);
  };
  api.backups = [this] { return store::list_backups(options_.data); };
  api.check = [this](bool repair) {
    Result<store::CheckReport> report = store_->check(repair);
    if (report.ok()) store::check_log(options_.data + "/wal", *report);
    return report;
  };
  api.more_metrics = [this] { return more_metrics(); };
  api_ = std::make_unique<Api>(*store_, std::move(api));
  web_->set_api(*api_);
  return {};
}

ServerStatus Server::status() const {
  const store::IngestCounters counters = ingest_->counters();
  ServerStatus out;
  out.version = version_;
  out.store_version = store_->version();
  out.store_error = counters.store_error;
  out.store_ready = counters.store_error.empty();
  out.received_spans = counters.received_spans;
  out.rejected_spans = counters.rejected_spans;
  out.repeated_spans = counters.repeated_spans;
  out.inserted_spans = counters.inserted_spans;
  out.waiting_blocks = counters.waiting_blocks;
  out.split_blocks = counters.split_blocks;
  out.quarantined_blocks = counters.quarantined_blocks;
  out.dropped_log_records = signals_.unrouted[static_cast<size_t>(wire::Signal::kLogs)];
  out.dropped_data_points = signals_.unrouted[static_cast<size_t>(wire::Signal::kMetrics)];
  const store::RetentionCounters kept = retention_->counters();
  out.store_bytes = kept.store_bytes;
  out.dropped_partitions = kept.dropped_partitions;
  std::error_code unknown;
  const fs::space_info space = fs::space(options_.data, unknown);
  out.disk_free_bytes = unknown ? 0 : space.available;
  constexpr double kSecondsPerHour = 3600;
  if (kept.growth_per_hour > 0) {
    out.disk_full_seconds =
        static_cast<uint64_t>(static_cast<double>(out.disk_free_bytes) * kSecondsPerHour /
                              static_cast<double>(kept.growth_per_hour));
  }
  out.wal_segments = counters.wal_segments;
  out.wal_bytes = counters.wal_bytes;
  out.start_time_ns = start_ns_;
  return out;
}

bool Server::stop() {
  const uint64_t deadline = steady_now() + options_.stop_timeout_ns;
  const auto left = [&] {
    const uint64_t now = steady_now();
    return now < deadline ? deadline - now : 0;
  };
  for (Listener* listener :
       {grpc_listener_.get(), http_listener_.get(), ui_listener_.get(), health_listener_.get()}) {
    if (listener != nullptr) listener->stop();
  }
  // Begun requests get half of the time; a client that hangs must not cost us the inserts.
  const uint64_t half = left() / 2;
  for (const Listener* listener : {grpc_listener_.get(), http_listener_.get()}) {
    if (listener != nullptr) listener->wait_idle(deadline - std::min(half, deadline));
  }
  const bool drained = ingest_ == nullptr || ingest_->drain(left());
  const bool forwarded = intake_->pipelines()->stop(steady_now() + left(), nullptr);
  if (retention_ != nullptr) retention_->stop();
  web_->stop();
  if (!drained) {
    log(LogLevel::kWarning, kComponent,
        "stopping before everything was inserted; the rest is in the write-ahead log and is "
        "inserted at the next start");
  }
  if (!forwarded) {
    log(LogLevel::kWarning, kComponent,
        "stopping before everything was forwarded; the rest is in the exporters' queues and is "
        "sent after the next start");
  }
  return drained && forwarded;
}

}  // namespace nuages::server
