// A small HTTP/1.1 receiver for tests: collects request bodies and answers as the test says.
//
// Listens on a free loopback port. The responder runs on the connection's thread; returning nothing
// leaves the client without an answer until the receiver goes. Test code only.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace nuages::testing {

struct Request {
  std::string head;
  std::string body;
};

struct Reply {
  int status = 200;
  std::string headers;  // complete lines
  std::string body;
};

class TestReceiver {
 public:
  using Responder = std::function<std::optional<Reply>(const Request&)>;

  explicit TestReceiver(Responder responder = [](const Request&) { return Reply{}; })
      : responder_(std::move(responder)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }

  ~TestReceiver() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard lock(mutex_);
      for (const int connection : connections_) shutdown(connection, SHUT_RDWR);
      arrived_.notify_all();
    }
    for (auto& thread : threads_) thread.join();
    for (const int connection : connections_) close(connection);
    close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  // All requests so far, once there are at least `count`.
  std::vector<Request> wait_for(size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return requests_.size() >= count; });
    return requests_;
  }
  std::vector<Request> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t connection_count() {
    std::lock_guard lock(mutex_);
    return connections_.size();
  }

 private:
  void accept_all() {
    for (;;) {
      const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0 || stopping_) {
        if (connection >= 0) close(connection);
        return;
      }
      std::lock_guard lock(mutex_);
      connections_.push_back(connection);
      threads_.emplace_back([this, connection] { serve(connection); });
    }
  }

  void serve(int connection) {
    std::string input;
    char buffer[16384];
    for (;;) {
      size_t head_end = 0;
      size_t length = 0;
      for (;;) {
        head_end = input.find("\r\n\r\n");
        if (head_end != std::string::npos) {
          const size_t at = input.find("Content-Length: ");
          length = at < head_end ? std::stoul(input.substr(at + 16)) : 0;
          if (input.size() >= head_end + 4 + length) break;
        }
        const ssize_t got = recv(connection, buffer, sizeof buffer, 0);
        if (got <= 0) return;
        input.append(buffer, static_cast<size_t>(got));
      }
      Request request{input.substr(0, head_end + 2), input.substr(head_end + 4, length)};
      input.erase(0, head_end + 4 + length);
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
        arrived_.notify_all();
      }
      const auto reply = responder_(request);
      if (!reply) {
        // Silence: hold the connection until the client or the test gives up.
        while (recv(connection, buffer, sizeof buffer, 0) > 0) {
        }
        return;
      }
      const std::string out =
          "HTTP/1.1 " + std::to_string(reply->status) + " X\r\n" + reply->headers +
          "Content-Length: " + std::to_string(reply->body.size()) + "\r\n\r\n" + reply->body;
      if (send(connection, out.data(), out.size(), MSG_NOSIGNAL) < 0) return;
    }
  }

  Responder responder_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Request> requests_;
  std::vector<int> connections_;
  std::vector<std::thread> threads_;
};

// A loopback port on which nobody listens.
inline std::string refused_url() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

}  // namespace nuages::testing
