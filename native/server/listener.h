// One listening port: accepts sockets and turns each into a connection.
//
// One acceptor per port and no SO_REUSEPORT, so that a second server fails with a clear message
// instead of silently taking half of the connections. Above `max_connections` a new socket is
// closed at once. When the process runs out of file descriptors accepting pauses for a moment.
//
// Lifetime: connections keep themselves alive while they have work; the listener only counts them
// and can ask all to finish. Threading: open() before the io_context runs; stop() and active() from
// any thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "server/options.h"

namespace nuages::server {

// A connection as its listener sees it.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  // Any thread: finish what was begun, then close.
  virtual void stop() = 0;

  // Tells the listener when the connection is gone; set by it.
  std::shared_ptr<void> presence;
};

class Listener {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Factory = std::function<std::shared_ptr<Connection>(Socket socket)>;

  // `option` is the command-line option that named the address: errors name it.
  static Result<std::unique_ptr<Listener>> open(boost::asio::io_context& io,
                                                const std::string& option, const HostPort& address,
                                                size_t max_connections, Factory factory);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::string address() const;  // 127.0.0.1:4317, with the real port
  bool loopback() const;

  // Accepts no more and asks every connection to finish.
  void stop();
  size_t active() const;
  // Until no connection is left; false at the deadline, a steady time.
  bool wait_idle(uint64_t deadline_ns) const;

 private:
  struct State;
  explicit Listener(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static void accept(const std::shared_ptr<State>& state);
  static void take(const std::shared_ptr<State>& state, Socket socket);

  std::shared_ptr<State> state_;  // also held by the pending accept
};

}  // namespace nuages::server
