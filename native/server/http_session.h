// One HTTP/1.1 connection: Boost.Beast for the protocol, one request at a time, keep-alive.
//
// The session reads, bounds and decompresses a request, gives it to the service and writes the
// answer when it comes, from any thread. What the protocol refuses by itself (header too large,
// body too large, unknown content-encoding, damaged data, foreign Host) is also worded by the
// service, so that OTLP clients get the format they sent and browsers get JSON.
//
// Slow peers: a request's head within the timeout, its body and the answer within four of them, 75
// s between requests; two seconds for what is not whole when a stop begins: nothing of it was
// acknowledged. Memory: bodies take from the budget shared by all connections. Threading:
// everything runs on the socket's strand; stop() and the answer may come from any thread.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/http_types.h"
#include "server/listener.h"
#include "server/memory_budget.h"
#include "server/peer_stream.h"

namespace nuages::server {

class HttpService {
 public:
  using Done = std::function<void(Response)>;
  virtual ~HttpService() = default;
  // Called on a network thread: must not block. `done` may be called from any thread, once.
  virtual void handle(Request request, Done done) = 0;
  // An error in the service's own format; `request_type` is the request's content-type, if it came.
  virtual Response error(int status, const std::string& message,
                         std::string_view request_type) const = 0;
};

struct HttpOptions {
  HttpService* service = nullptr;
  size_t max_body_bytes = size_t{64} << 20;
  uint64_t timeout_ns = 30'000'000'000;
  bool loopback_only = true;  // apply server/host_guard.h
};

class HttpSession final : public Connection, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, std::shared_ptr<const HttpOptions> options,
              MemoryBudget& budget, Tls::Context tls = nullptr);

  void start() override;
  void stop() override;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void read_head();
  void on_head(const boost::system::error_code& error);
  void read_body();
  void on_request();
  void send_continue();
  void refuse(int status, const std::string& message);
  void send(Response response, bool keep_alive);
  void drain();
  void close();
  static std::optional<Request> parse_target(std::string_view target);

  PeerStream stream_;
  boost::asio::steady_timer stop_timer_;
  boost::beast::flat_buffer buffer_;
  std::shared_ptr<const HttpOptions> options_;
  MemoryBudget::Share share_;
  std::unique_ptr<Parser> parser_;  // of the current request
  bool first_ = true;
  bool idle_ = true;        // between requests, or answered for good
  bool receiving_ = false;  // a request that is not whole yet
  bool stopping_ = false;
  size_t drained_ = 0;
};

}  // namespace nuages::server
