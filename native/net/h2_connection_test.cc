#include "net/h2_connection.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace nuages::net {
namespace {

using Progress = H2Connection::Progress;
constexpr int kPatienceMs = 30'000;

// The other end: nghttp2 as a server, on a thread of its own. Answers each whole request with 200,
// its body "ok" and a trailer, unless `at_headers` answered before.
class Peer {
 public:
  using AtHeaders = std::function<bool(nghttp2_session*, int32_t stream)>;  // true: answered

  explicit Peer(AtHeaders at_headers = {}, uint32_t window = 65'535)
      : at_headers_(std::move(at_headers)) {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    client = ends[0];
    socket_ = ends[1];
    thread_ = std::thread([this, window] { serve(window); });
  }
  ~Peer() { join(); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // After the client's end is closed, or stop() was called.
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  void stop() { shutdown(socket_, SHUT_RDWR); }

  int client = -1;
  std::string body;
  std::string headers;
  int requests = 0;
  std::atomic<bool> reset_after_headers{false};

 private:
  static Peer& self(void* context) { return *static_cast<Peer*>(context); }

  static ssize_t write(nghttp2_session*, const uint8_t* data, size_t size, int, void* context) {
    const ssize_t sent = ::send(self(context).socket_, data, size, MSG_NOSIGNAL);
    return sent < 0 ? ssize_t{NGHTTP2_ERR_CALLBACK_FAILURE} : sent;
  }

  static ssize_t answer(nghttp2_session* session, int32_t stream, uint8_t* out, size_t,
                        uint32_t* flags, nghttp2_data_source*, void*) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    const nghttp2_nv trailer = pair("grpc-status", "0");
    nghttp2_submit_trailer(session, stream, &trailer, 1);
    std::memcpy(out, "ok", 2);
    return 2;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* context) {
    Peer& peer = self(context);
    const int32_t stream = frame->hd.stream_id;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && peer.at_headers_) {
      peer.answered_ = peer.at_headers_(session, stream);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    ++peer.requests;
    if (peer.answered_) return 0;
    const nghttp2_nv status = pair(":status", "200");
    nghttp2_data_provider data{};
    data.read_callback = &Peer::answer;
    nghttp2_submit_response(session, stream, &status, 1, &data);
    return 0;
  }

  static int on_sent(nghttp2_session* session, const nghttp2_frame* frame, void* context) {
    if (frame->hd.type == NGHTTP2_HEADERS && self(context).reset_after_headers) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name,
                       size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                       void* context) {
    self(context)
        .headers.append(reinterpret_cast<const char*>(name), name_size)
        .append("=")
        .append(reinterpret_cast<const char*>(value), value_size)
        .append("\n");
    return 0;
  }

  static int on_data(nghttp2_session*, uint8_t, int32_t, const uint8_t* data, size_t size,
                     void* context) {
    self(context).body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }

 public:
  static nghttp2_nv pair(const char* name, const char* value) {
    const auto bytes = [](const char* text) {
      return reinterpret_cast<uint8_t*>(const_cast<char*>(text));
    };
    return {bytes(name), bytes(value), std::strlen(name), std::strlen(value), NGHTTP2_NV_FLAG_NONE};
  }

 private:
  void serve(uint32_t window) {
    nghttp2_session_callbacks* calls = nullptr;
    nghttp2_session* session = nullptr;
    nghttp2_session_callbacks_new(&calls);
    nghttp2_session_callbacks_set_send_callback(calls, &Peer::write);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, &Peer::on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(calls, &Peer::on_sent);
    nghttp2_session_callbacks_set_on_header_callback(calls, &Peer::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, &Peer::on_data);
    nghttp2_session_server_new(&session, calls, this);
    nghttp2_session_callbacks_del(calls);
    const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &entry, 1);
    nghttp2_session_send(session);
    std::array<uint8_t, 5000> buffer{};
    for (;;) {
      const ssize_t size = recv(socket_, buffer.data(), buffer.size(), 0);
      if (size <= 0) break;
      if (nghttp2_session_mem_recv(session, buffer.data(), static_cast<size_t>(size)) < 0) break;
      if (nghttp2_session_send(session) != 0) break;
    }
    nghttp2_session_del(session);
    close(socket_);
  }

  AtHeaders at_headers_;
  bool answered_ = false;
  int socket_ = -1;
  std::thread thread_;
};

Progress finish(H2Connection& h2) {
  for (;;) {
    const Progress progress = h2.proceed();
    if (progress != Progress::kWaiting) return progress;
    pollfd socket{h2.socket(), h2.events(), 0};
    if (poll(&socket, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "nothing happened";
      return progress;
    }
  }
}

H2Connection::Request request(std::string_view payload) {
  return {"host:4317", "/service/Method", {{"te", "trailers"}, {"x-key", "v"}}, "12345", payload};
}

TEST(H2ConnectionTest, PostsOneRequestAfterTheOther) {
  Peer peer;
  {
    H2Connection h2(peer.client);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(h2.usable());
      Response response;
      const auto post = request("payload");
      ASSERT_TRUE(h2.begin(post, response));
      ASSERT_EQ(finish(h2), Progress::kDone) << h2.detail();
      EXPECT_EQ(h2.status(), 200);
      EXPECT_EQ(response.body, "ok");
      EXPECT_EQ(response.grpc_status, "0");
    }
  }
  peer.join();
  EXPECT_EQ(peer.requests, 3);
  EXPECT_EQ(peer.body, "12345payload12345payload12345payload");
  EXPECT_EQ(peer.headers.substr(0, peer.headers.size() / 3),
            ":method=POST\n:scheme=http\n:authority=host:4317\n:path=/service/Method\n"
            "te=trailers\nx-key=v\n");
}

TEST(H2ConnectionTest, ABodyLargerThanEveryWindowArrivesWhole) {
  Peer peer({}, 1000);
  std::string payload;
  for (int i = 0; payload.size() < 3'000'000; ++i) payload += std::to_string(i);
  {
    H2Connection h2(peer.client);
    Response response;
    const auto post = request(payload);
    ASSERT_TRUE(h2.begin(post, response));
    ASSERT_EQ(finish(h2), Progress::kDone) << h2.detail();
  }
  peer.join();
  EXPECT_TRUE(peer.body == "12345" + payload);
}

TEST(H2ConnectionTest, AnAnswerBeforeTheBodyIsReadCounts) {
  Peer peer([](nghttp2_session* session, int32_t stream) {
    const std::array<nghttp2_nv, 2> fields = {Peer::pair(":status", "200"),
                                              Peer::pair("grpc-status", "16")};
    nghttp2_submit_response(session, stream, fields.data(), fields.size(), nullptr);
    return true;
  });
  peer.reset_after_headers = true;
  const std::string payload(3'000'000, 'x');
  H2Connection h2(peer.client);
  Response response;
  const auto post = request(payload);
  ASSERT_TRUE(h2.begin(post, response));
  ASSERT_EQ(finish(h2), Progress::kDone) << h2.detail();
  EXPECT_EQ(response.grpc_status, "16");
}

TEST(H2ConnectionTest, ARefusedStreamIsNoAnswer) {
  Peer peer([](nghttp2_session* session, int32_t stream) {
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_REFUSED_STREAM);
    return true;
  });
  H2Connection h2(peer.client);
  Response response;
  const auto post = request("x");
  ASSERT_TRUE(h2.begin(post, response));
  EXPECT_EQ(finish(h2), Progress::kReset);
  EXPECT_TRUE(response.untouched());
  EXPECT_NE(h2.detail().find("REFUSED_STREAM"), std::string::npos) << h2.detail();
}

TEST(H2ConnectionTest, GoawayEndsItsUseAfterTheAnswer) {
  Peer peer([](nghttp2_session* session, int32_t stream) {
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR, nullptr, 0);
    return false;
  });
  H2Connection h2(peer.client);
  Response response;
  const auto post = request("x");
  ASSERT_TRUE(h2.begin(post, response));
  EXPECT_EQ(finish(h2), Progress::kDone) << h2.detail();
  EXPECT_EQ(response.body, "ok");
  EXPECT_FALSE(h2.usable());
}

TEST(H2ConnectionTest, AnEndBetweenRequestsIsSeenBeforeTheNext) {
  Peer peer;
  H2Connection h2(peer.client);
  Response response;
  const auto post = request("x");
  ASSERT_TRUE(h2.begin(post, response));
  ASSERT_EQ(finish(h2), Progress::kDone);
  EXPECT_TRUE(h2.usable());
  peer.stop();
  peer.join();
  EXPECT_FALSE(h2.usable());
}

TEST(H2ConnectionTest, AnEndBeforeTheAnswerIsALostConnection) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  H2Connection h2(ends[0]);
  Response response;
  const auto post = request("x");
  ASSERT_TRUE(h2.begin(post, response));
  EXPECT_EQ(h2.proceed(), Progress::kWaiting);
  close(ends[1]);
  EXPECT_EQ(finish(h2), Progress::kLost);
  EXPECT_FALSE(h2.spoke_http2());
}

TEST(H2ConnectionTest, APeerOfAnotherProtocolIsALostConnection) {
  for (const std::string_view words :
       {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
        "\x15\x03\x01-------------------"}) {
    std::array<int, 2> ends{};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    H2Connection h2(ends[0]);
    Response response;
    const auto post = request("x");
    ASSERT_TRUE(h2.begin(post, response));
    ASSERT_EQ(send(ends[1], words.data(), words.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(words.size()));
    EXPECT_EQ(finish(h2), Progress::kLost) << words;
    EXPECT_FALSE(h2.spoke_http2());
    EXPECT_TRUE(response.untouched());
    close(ends[1]);
  }
}

TEST(H2ConnectionTest, AnAnswerWithoutEndIsRefused) {
  Peer peer([](nghttp2_session* session, int32_t stream) {
    const nghttp2_nv status = Peer::pair(":status", "200");
    nghttp2_data_provider data{};
    data.read_callback = [](nghttp2_session*, int32_t, uint8_t* out, size_t size, uint32_t*,
                            nghttp2_data_source*, void*) -> ssize_t {
      std::memset(out, 'x', size);
      return static_cast<ssize_t>(size);
    };
    nghttp2_submit_response(session, stream, &status, 1, &data);
    return true;
  });
  H2Connection h2(peer.client);
  Response response;
  const auto post = request("x");
  ASSERT_TRUE(h2.begin(post, response));
  EXPECT_EQ(finish(h2), Progress::kLost);
  EXPECT_TRUE(h2.answer_too_large());
}

}  // namespace
}  // namespace nuages::net
