// The UI and API port: /api, /healthz and /readyz go to the Api on a pool of worker threads (it
// blocks on SQL), everything else to the embedded UI.
//
// The Api comes when the store is open; until then its routes answer 503 and /healthz 200. When
// more requests wait than the pool could answer soon, the next get 503 at once. An unknown path
// without a dot in its last segment is a page of the UI and gets index.html. Thread-safe.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/api.h"
#include "server/http_session.h"
#include "server/keys.h"
#include "server/logins.h"

namespace nuages::server {

class Web final : public HttpService {
 public:
  // With keys or users, answers are for readers and changes for administrators: by a key, or by the
  // session that POST /api/v1/login begins. /healthz, /readyz and the UI's own files, which hold
  // no data, are for everybody.
  explicit Web(size_t threads, Keys* keys = nullptr, Logins* logins = nullptr)
      : pool_(threads), keys_(keys), logins_(logins) {}
  ~Web() override;

  // `api` must outlive stop().
  void set_api(Api& api) { api_.store(&api); }
  // For a server that stores nothing: there will be no Api, and this text says so. /metrics is what
  // `metrics` gives. Call before requests come.
  void set_no_store(std::string why, std::function<std::string()> metrics) {
    no_store_ = std::move(why);
    metrics_ = std::move(metrics);
  }
  // Waits for running API requests; later ones answer 503.
  void stop();

  void handle(Request request, Done done) override;
  Response error(int status, const std::string& message,
                 std::string_view request_type = {}) const override;

  // {"POST", "/api/v1/login"}, ...: the routes that are answered here and not by the Api.
  static std::vector<std::pair<std::string, std::string>> routes();

 private:
  bool locked() const;  // whether readers need a key or a session
  std::optional<Login> session(const Request& request) const;
  void answer_session(Request request, Done done);
  Response log_in(const Request& request) const;
  void post(Done done, std::function<Response()> work);
  Response serve_file(const Request& request) const;
  void ask_api(Request request, Done done);
  std::optional<Response> refuse_stranger(const Request& request) const;

  boost::asio::thread_pool pool_;
  Keys* const keys_;
  Logins* const logins_;
  std::atomic<Api*> api_{nullptr};
  std::atomic<size_t> waiting_{0};
  std::string no_store_;
  std::function<std::string()> metrics_;
};

}  // namespace nuages::server
