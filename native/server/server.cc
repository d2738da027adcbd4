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

std::string system_message(int code) { return std::generic_category().message(code); }

}  // namespace

Server::Server(Options options, std::string version)
    : options_(std::move(options)),
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
  ingest_.reset();  // its inserter uses the store
  store_.reset();
  if (lock_file_ >= 0) ::close(lock_file_);
}

Status Server::start(const std::function<void(const std::string&)>& announce) {
  start_ns_ = wall_now();
  if (Status status = check_store_library(); !status.ok()) return status;
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
  if (Status status = open_ingest(); !status.ok()) return status;
  if (Status status = listen(announce); !status.ok()) return status;
  if (Status status = open_store(); !status.ok()) return status;
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
  if (keys_->required() || options_.allow_remote) return {};
  const std::pair<const char*, const HostPort*> listeners[] = {
      {"--grpc", &options_.grpc}, {"--http", &options_.http}, {"--ui", &options_.ui}};
  for (const auto& [name, address] : listeners) {
    if (is_loopback_host(address->host)) continue;
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

Status Server::listen(const std::function<void(const std::string&)>& announce) {
  intake_ = std::make_unique<Intake>(*ingest_, keys_.get(), options_.masking);
  grpc_ = std::make_unique<GrpcService>(*intake_, options_.max_body_bytes);
  otlp_http_ = std::make_unique<OtlpHttp>(*intake_, options_.max_body_bytes);
  web_ = std::make_unique<Web>(kApiThreads, keys_.get());
  if (Status status = listen_http(); !status.ok()) return status;
  if (Status status = listen_grpc(); !status.ok()) return status;
  work_.emplace(io_.get_executor());
  for (int i = 0; i < kNetworkThreads; ++i) {
    threads_.emplace_back([this] { io_.run(); });
  }
  announce("listening grpc " + grpc_listener_->address());
  announce("listening http " + http_listener_->address());
  announce("listening ui " + ui_listener_->address());
  // For commands that ask a running server: server/commands.h.
  std::ofstream(options_.data + "/address") << ui_listener_->address() << "\n";
  return {};
}

Status Server::listen_grpc() {
  auto grpc = std::make_shared<GrpcOptions>();
  grpc->handler = [this](GrpcCall call, const GrpcOptions::Done& done) {
    grpc_->handle(std::move(call), done);
  };
  grpc->max_message_bytes = options_.max_body_bytes;
  grpc->timeout_ns = options_.peer_timeout_ns;
  grpc->http_address = http_listener_->address();
  Result<std::unique_ptr<Listener>> listener =
      Listener::open(io_, "--grpc", options_.grpc, options_.max_connections,
                     [this, grpc](Listener::Socket socket) {
                       return std::make_shared<GrpcSession>(
                           std::move(socket), grpc, budget_,
                           http2_tls_ == nullptr ? nullptr : http2_tls_->context());
                     });
  if (!listener.ok()) return listener.error();
  grpc_listener_ = std::move(listener).value();
  return {};
}

Status Server::listen_http() {
  const auto open = [this](const std::string& option, const HostPort& address, HttpService* service,
                           size_t max_body) {
    auto http = std::make_shared<HttpOptions>();
    http->service = service;
    http->max_body_bytes = max_body;
    http->timeout_ns = options_.peer_timeout_ns;
    http->loopback_only = is_loopback_host(address.host) && !keys_->required();
    return Listener::open(io_, option, address, options_.max_connections,
                          [this, http](Listener::Socket socket) {
                            return std::make_shared<HttpSession>(
                                std::move(socket), http, budget_,
                                http1_tls_ == nullptr ? nullptr : http1_tls_->context());
                          });
  };
  auto http = open("--http", options_.http, otlp_http_.get(), options_.max_body_bytes);
  if (!http.ok()) return http.error();
  http_listener_ = std::move(http).value();
  auto ui = open("--ui", options_.ui, web_.get(), kMaxUiBody);
  if (!ui.ok()) return ui.error();
  ui_listener_ = std::move(ui).value();
  return {};
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
  api.more_metrics = [this] { return metrics_text(keys_->uses()); };
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
  const IntakeCounters taken = intake_->counters();
  out.dropped_log_records = taken.dropped[static_cast<size_t>(wire::Signal::kLogs)];
  out.dropped_data_points = taken.dropped[static_cast<size_t>(wire::Signal::kMetrics)];
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
  for (Listener* listener : {grpc_listener_.get(), http_listener_.get(), ui_listener_.get()}) {
    listener->stop();
  }
  // Begun requests get half of the time; a client that hangs must not cost us the inserts.
  const uint64_t half = left() / 2;
  for (const Listener* listener : {grpc_listener_.get(), http_listener_.get()}) {
    listener->wait_idle(deadline - std::min(half, deadline));
  }
  const bool drained = ingest_->drain(left());
  if (retention_ != nullptr) retention_->stop();
  web_->stop();
  if (!drained) {
    log(LogLevel::kWarning, kComponent,
        "stopping before everything was inserted; the rest is in the write-ahead log and is "
        "inserted at the next start");
  }
  return drained;
}

}  // namespace nuages::server
