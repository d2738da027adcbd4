// One HTTP/2 connection that speaks unary gRPC: nghttp2 for the protocol, Asio for the socket.
//
// HTTP/2 in clear text with prior knowledge, or over TLS, as OTLP exporters use it. A call's
// messages are collected whole (unary calls have one), handed to the handler, and answered when it
// calls back, from any thread and in any order. Flow-control windows are wide so that large batches
// stream without round trips; what arrives is bounded by the message limit, the number of
// concurrent calls and the budget shared by all connections. nghttp2 answers PINGs and SETTINGS and
// bounds floods of resets and acknowledgements.
//
// Slow and vanished peers: no settings within the timeout, a request or an answer that makes no
// progress for the timeout, a request that is not whole after four, or no reply to our PING on a
// silent connection: the connection is closed. stop() sends GOAWAY, lets begun calls end, resets
// those whose request is not whole after two seconds, and closes.
//
// Threading: everything runs on the socket's strand; stop() and the handler's callback may come
// from any thread. Lifetime: kept alive by its pending operations and calls.
// Source: RFC 9113; github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
#pragma once

#include <nghttp2/nghttp2.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/listener.h"
#include "server/memory_budget.h"
#include "server/otlp_reply.h"
#include "server/peer_stream.h"

namespace nuages::server {

struct GrpcCall {
  std::string path;      // /package.Service/Method
  std::string encoding;  // grpc-encoding, when the message is compressed; else empty
  std::string message;
  std::string authorization, api_key;  // the headers authorization and x-api-key
};

struct GrpcReply {
  GrpcStatus status = GrpcStatus::kOk;
  std::string text;    // grpc-message
  bool retry = false;  // adds RetryInfo
  std::string message;
};

struct GrpcOptions {
  using Done = std::function<void(GrpcReply)>;
  std::function<void(GrpcCall call, Done done)> handler;
  size_t max_message_bytes = size_t{64} << 20;
  uint32_t max_streams = 128;
  uint64_t timeout_ns = 30'000'000'000;
  std::string http_address;  // named in the answer to clients that speak HTTP/1
};

class GrpcSession final : public Connection, public std::enable_shared_from_this<GrpcSession> {
 public:
  GrpcSession(boost::asio::ip::tcp::socket socket, std::shared_ptr<const GrpcOptions> options,
              MemoryBudget& budget, Tls::Context tls = nullptr);
  ~GrpcSession() override;
  GrpcSession(const GrpcSession&) = delete;
  GrpcSession& operator=(const GrpcSession&) = delete;

  void start() override;
  void stop() override;

 private:
  struct Stream {
    explicit Stream(MemoryBudget& budget) : share(budget) {}
    std::string method, path, content_type, encoding, authorization, api_key;
    std::string received;   // length-prefixed messages
    bool complete = false;  // the request has ended
    bool answered = false;
    bool trailers_only = false;
    GrpcReply reply;
    std::string sending;  // the length-prefixed answer, or a plain body
    size_t sent = 0;
    uint64_t begun_ns = 0;
    uint64_t progress_ns = 0;
    MemoryBudget::Share share;
  };

  bool open_session();
  void read();
  void on_bytes(size_t size);
  void flush();
  void close();
  void watch();
  bool check_peer(uint64_t now);
  void answer_http1();

  // What nghttp2 calls, by way of the functions in grpc_session.cc.
  friend struct GrpcCallbacks;
  void on_headers_begin(int32_t id);
  void on_header(int32_t id, std::string_view name, std::string_view value);
  void on_headers_end(int32_t id);
  void on_data(int32_t id, std::string_view data);
  void on_request_end(int32_t id);
  ssize_t read_answer(int32_t id, uint8_t* buffer, size_t size, uint32_t* flags);

  Stream* find(int32_t id);
  void reply(int32_t id, GrpcReply reply);
  void fail(int32_t id, GrpcStatus status, std::string text, bool retry = false);
  void refuse_content_type(int32_t id, Stream& stream);

  PeerStream socket_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<const GrpcOptions> options_;
  MemoryBudget& budget_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, std::unique_ptr<Stream>> streams_;
  std::vector<uint8_t> in_;
  std::string out_;
  bool writing_ = false;
  bool stopping_ = false;
  bool closed_ = false;
  bool settled_ = false;      // the client's settings came
  uint64_t stopping_ns_ = 0;  // when stop() came
  uint64_t started_ns_ = 0;
  uint64_t received_ns_ = 0;  // last bytes from the peer
  uint64_t written_ns_ = 0;   // last write begun
  uint64_t pinged_ns_ = 0;    // our unanswered PING
};

}  // namespace nuages::server
