// The inside of OtlpClient, in two files: otlp_client.cc makes the handles and judges answers,
// client_transfer.cc moves requests: through libcurl, or over a connection of ours that libcurl
// opened (net/h2_connection.h). One thread but for `interrupted`. Inside net only.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "net/h2_connection.h"
#include "net/otlp_client.h"
#include "net/otlp_response.h"
#include "wire/grpc_frame.h"
#include "wire/gzip.h"

namespace nuages::net {

struct SlistFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistFree>;

// The connection broke, perhaps before the request was read: GOAWAY, a restart, an idle timeout.
bool connection_lost(CURLcode code);

struct OtlpClient::State {
  OtlpClientConfig config;
  Endpoint endpoint;
  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  std::atomic<bool> interrupted{false};
  std::function<void(bool)> around_wait;
  std::unique_ptr<wire::Gzip> gzip;  // its stream takes 270 KB: only when used
  std::string packed;                // compressed body
  char frame_header[wire::kGrpcFrameHeaderSize] = {};
  std::string frame;                 // gRPC header and body, for libcurl
  std::unique_ptr<H2Connection> h2;  // sends instead of libcurl, see speaks_h2()
  int http_status = 0;
  Response response;
  char error[CURL_ERROR_SIZE] = {};
  std::string metrics, logs;  // URLs for the other signals; empty: the endpoint has none
  std::string diagnosis;      // what the probe found; until the next success
  bool probed = false;
  curl_socket_t active = CURL_SOCKET_BAD;  // the newest connection
  curl_socket_t kept = CURL_SOCKET_BAD;    // H2Connection's, which libcurl must not close
  bool corked = false;
  bool connected = false;      // the last request got an answer: its connection may be reusable
  bool reuse_only = false;     // for the transfer under way
  bool wanted_socket = false;  // it had to open a connection although reuse_only

  ~State() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  bool grpc() const { return config.protocol == Protocol::kGrpc; }
  bool loopback() const;
  bool direct() const { return loopback() || !endpoint.unix_socket.empty(); }
  // Clear text without a proxy: libcurl connects, the rest is H2Connection's.
  bool speaks_h2() const { return grpc() && !endpoint.tls && (direct() || config.proxy.empty()); }
  bool open();
  static curl_socket_t open_socket(void* context, curlsocktype, curl_sockaddr* address);
  static int close_socket(void* context, curl_socket_t item);
  template <typename Add>
  void each_header(uint64_t timeout_ms, const Add& add) const;
  Slist headers(uint64_t timeout_ms) const;
  std::string_view pack(std::string_view body);
  CURLcode post(const std::string& url, std::string_view payload, uint64_t timeout_ms,
                uint64_t deadline_ns, bool& timed_out);
  CURLcode post_h2(const std::string& url, std::string_view payload, uint64_t timeout_ms,
                   uint64_t deadline_ns, bool& timed_out);
  CURLcode connect_h2(uint64_t deadline_ns, bool& timed_out);
  CURLcode exchange_h2(const H2Connection::Request& request, uint64_t deadline_ns, bool& timed_out);
  CURLcode transfer(uint64_t deadline_ns, bool& timed_out);
  CURLcode transfer_reusing(uint64_t deadline_ns, bool& timed_out);
  CURLcode transfer_once(uint64_t deadline_ns, bool& timed_out);
  CURLcode run_multi(uint64_t deadline_ns, bool& timed_out);
  bool wait(uint64_t deadline_ns, curl_waitfd* also = nullptr);
  void cork(bool on);
  void find_cause(CURLcode code, uint64_t deadline_ns);
};

}  // namespace nuages::net
