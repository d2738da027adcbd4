// The bytes of one connection, clear or TLS, behind one interface that Asio and Beast can read from
// and write to.
//
// handshake() comes first and does nothing for clear text. end() says that nothing more is written:
// close_notify, or FIN. Timeouts are Beast's (expires_after), and cover handshakes. Not
// thread-safe: everything on the socket's strand.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <optional>
#include <tuple>
#include <utility>

#include "server/tls.h"

namespace nuages::server {

class PeerStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;
  using Error = boost::system::error_code;

  // `tls` is null for clear text.
  PeerStream(boost::asio::ip::tcp::socket socket, Tls::Context tls)
      : tcp_(std::move(socket)), context_(std::move(tls)) {
    if (context_ != nullptr) tls_.emplace(tcp_, *context_);
  }

  executor_type get_executor() { return tcp_.get_executor(); }

  template <typename Handler>
  void handshake(Handler handler) {
    if (!tls_) return handler(Error());
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::move(handler));
  }
  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Handler>(handler));
    tcp_.async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Handler>(handler));
    tcp_.async_write_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Handler>
  void end(Handler handler) {
    if (tls_) return tls_->async_shutdown(std::move(handler));
    Error ignored;
    std::ignore = tcp_.socket().shutdown(boost::asio::socket_base::shutdown_send, ignored);
    handler(Error());
  }
  bool encrypted() const { return tls_.has_value(); }

  template <typename Duration>
  void expires_after(Duration time) {
    tcp_.expires_after(time);
  }
  void expires_never() { tcp_.expires_never(); }
  void close() {
    Error ignored;
    std::ignore = tcp_.socket().shutdown(boost::asio::socket_base::shutdown_both, ignored);
    tcp_.close();
  }

 private:
  boost::beast::tcp_stream tcp_;
  Tls::Context context_;  // as long as the stream that uses it
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace nuages::server
