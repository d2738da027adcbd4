#include "server/listener.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <condition_variable>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kPauseWithoutDescriptors = std::chrono::milliseconds(100);
constexpr uint64_t kLogEveryNs = 10'000'000'000;

}  // namespace

struct Listener::State {
  State(asio::io_context& context, size_t limit, Factory make)
      : io(context),
        acceptor(asio::make_strand(context)),
        timer(acceptor.get_executor()),
        max_connections(limit),
        factory(std::move(make)) {}

  asio::io_context& io;
  tcp::acceptor acceptor;
  asio::steady_timer timer;
  const size_t max_connections;
  const Factory factory;
  tcp::endpoint endpoint;
  uint64_t logged_ns = 0;  // the acceptor's strand only

  std::mutex mutex;
  std::list<std::weak_ptr<Connection>> connections;
  bool stopped = false;
  size_t active = 0;
  std::condition_variable gone;

  // Forgets what has gone; returns how many are left. Call with the mutex held.
  size_t sweep() {
    connections.remove_if([](const auto& connection) { return connection.expired(); });
    return connections.size();
  }
};

Result<std::unique_ptr<Listener>> Listener::open(asio::io_context& io, const std::string& option,
                                                 const HostPort& address, size_t max_connections,
                                                 Factory factory) {
  auto state = std::make_shared<State>(io, max_connections, std::move(factory));
  error_code error;
  const std::string name = option + "=" + address.text();
  const asio::ip::address ip = asio::ip::make_address(address.host, error);
  if (error) {
    return Error{ErrorCode::kInvalid,
                 name + ": the host must be an IP address or localhost, for example 127.0.0.1"};
  }
  const tcp::endpoint endpoint(ip, address.port);
  std::ignore = state->acceptor.open(endpoint.protocol(), error);
  // Only lets us bind while connections of a former process are in TIME_WAIT.
  if (!error)
    std::ignore = state->acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) std::ignore = state->acceptor.bind(endpoint, error);
  if (!error)
    std::ignore = state->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    std::string fix;
    if (error == asio::error::address_in_use) {
      fix = "; stop the program that has this port or choose another, for example " + option + "=" +
            HostPort{address.host, 0}.text() + " for a free one";
    } else if (error == asio::error::access_denied) {
      fix = "; ports below 1024 need privileges: choose a higher one";
    }
    return Error{ErrorCode::kUnavailable, name + ": cannot listen: " + error.message() + fix};
  }
  state->endpoint = state->acceptor.local_endpoint(error);
  accept(state);
  return std::unique_ptr<Listener>(new Listener(std::move(state)));
}

Listener::~Listener() { stop(); }

std::string Listener::address() const {
  return HostPort{state_->endpoint.address().to_string(), state_->endpoint.port()}.text();
}

bool Listener::loopback() const { return state_->endpoint.address().is_loopback(); }

void Listener::accept(const std::shared_ptr<State>& state) {
  state->acceptor.async_accept(
      asio::make_strand(state->io), [state](const error_code& error, Socket socket) {
        if (error == asio::error::operation_aborted || !state->acceptor.is_open()) return;
        if (!error) {
          take(state, std::move(socket));
          accept(state);
          return;
        }
        const bool full = error == asio::error::no_descriptors || error == asio::error::no_memory;
        if (const uint64_t now = steady_now();
            full && (state->logged_ns == 0 || now - state->logged_ns > kLogEveryNs)) {
          state->logged_ns = now;
          log(LogLevel::kError, "listener",
              "cannot accept: " + error.message() + "; raise the limit of open files (ulimit -n)");
        }
        state->timer.expires_after(kPauseWithoutDescriptors);
        state->timer.async_wait([state](const error_code& stopped) {
          if (!stopped) accept(state);
        });
      });
}

void Listener::take(const std::shared_ptr<State>& state, Socket socket) {
  error_code ignored;
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(state->mutex);
    if (state->stopped || (state->connections.size() >= state->max_connections &&
                           state->sweep() >= state->max_connections)) {
      std::ignore = socket.close(ignored);
      return;
    }
    std::ignore = socket.set_option(tcp::no_delay(true), ignored);
    connection = state->factory(std::move(socket));
    state->connections.push_back(connection);
    ++state->active;
    connection->presence = std::shared_ptr<void>(nullptr, [state](void*) {
      const std::lock_guard gone(state->mutex);
      --state->active;
      state->gone.notify_all();
    });
  }
  connection->start();
}

void Listener::stop() {
  std::vector<std::shared_ptr<Connection>> alive;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopped) return;
    state_->stopped = true;
    for (const auto& weak : state_->connections) {
      if (auto connection = weak.lock()) alive.push_back(std::move(connection));
    }
  }
  asio::post(state_->acceptor.get_executor(), [state = state_] {
    error_code ignored;
    std::ignore = state->acceptor.close(ignored);
    state->timer.cancel();
  });
  for (const auto& connection : alive) connection->stop();
}

size_t Listener::active() const {
  const std::lock_guard lock(state_->mutex);
  return state_->active;
}

bool Listener::wait_idle(uint64_t deadline_ns) const {
  std::unique_lock lock(state_->mutex);
  const uint64_t now = steady_now();
  return state_->gone.wait_for(lock,
                               std::chrono::nanoseconds(deadline_ns > now ? deadline_ns - now : 0),
                               [this] { return state_->active == 0; });
}

}  // namespace nuages::server
