// The whole server: data folder, log, listeners, store, API, in the order they start and stop.
//
// Start: check and lock the data folder, open the write-ahead log, listen (requests are accepted
// and logged from now on), open the store, insert what a former process left, ready. Stop: accept
// no more, let begun requests end, insert what is waiting, close the store; what the deadline cuts
// off stays in the log for the next start. Network threads run one shared io_context.
//
// A configuration file says which pipelines there are; reload() reads it again: pipelines,
// exporters and addresses change under way, connections on addresses that stay are not touched.
// Without the exporter nuages there is no store, and the API says so.
//
// Use from one thread: start(), wait for a reason to stop, stop(). An Error of start() is one line
// for the user; the object must then be destroyed.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "gateway/config.h"
#include "gateway/pipelines.h"
#include "server/grpc_service.h"
#include "server/intake.h"
#include "server/keys.h"
#include "server/listener.h"
#include "server/logins.h"
#include "server/memory_budget.h"
#include "server/options.h"
#include "server/otlp_http.h"
#include "server/tls.h"
#include "server/web.h"
#include "store/chdb_store.h"
#include "store/ingest.h"
#include "store/retention.h"

namespace nuages::server {

class Server {
 public:
  Server(Options options, gateway::Config config, std::string version);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Calls `announce` with each line for standard output: "listening grpc 127.0.0.1:4317", "ready".
  Status start(const std::function<void(const std::string&)>& announce);
  // Reads --config again and does what it says; an Error leaves everything as it was.
  Status reload(const std::function<void(const std::string&)>& announce);
  // True when everything accepted is in the store and with the receivers it is forwarded to.
  bool stop();

 private:
  Status lock_data_folder();
  Status check_store_library() const;
  Status open_keys();
  Status open_ingest();
  Status listen(const std::function<void(const std::string&)>& announce);
  Status open_pipelines();
  Result<std::unique_ptr<Listener>> listen_grpc(const HostPort& address);
  Result<std::unique_ptr<Listener>> listen_http(const std::string& option, const HostPort& address,
                                                HttpService* service, size_t max_body);
  Status listen_health();
  Status move_listener(std::unique_ptr<Listener>& listener, bool on, bool was_on,
                       const HostPort& address, const HostPort& former, const char* name,
                       std::vector<std::unique_ptr<Listener>>& ended);
  std::string more_metrics() const;
  Status open_store();
  ServerStatus status() const;

  Options options_;  // what a reload may change of it, only this object's own thread reads
  gateway::Config config_;
  const std::string version_;
  uint64_t start_ns_ = 0;
  int lock_file_ = -1;

  boost::asio::io_context io_;
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::vector<std::thread> threads_;
  MemoryBudget budget_;

  std::unique_ptr<Keys> keys_;
  std::unique_ptr<Logins> logins_;
  std::unique_ptr<Tls> http1_tls_, http2_tls_;  // null: clear text
  std::unique_ptr<store::ChdbStore> store_;
  std::unique_ptr<store::Ingest> ingest_;
  std::unique_ptr<store::Retention> retention_;
  std::unique_ptr<Api> api_;
  gateway::SignalCounters signals_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<GrpcService> grpc_;
  std::unique_ptr<OtlpHttp> otlp_http_;
  std::unique_ptr<Web> web_;
  std::unique_ptr<HttpService> health_;
  std::unique_ptr<Listener> grpc_listener_, http_listener_, ui_listener_, health_listener_;
};

}  // namespace nuages::server
