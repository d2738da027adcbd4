#include "net/h2_connection.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <utility>

namespace nuages::net {
namespace {

constexpr size_t kMaxResponse = 4U << 20;
constexpr size_t kReadBuffer = 16U << 10;
constexpr size_t kMaxVectors = 256;
constexpr size_t kMaxFrame = 1U << 20;  // within what the receiver allows
constexpr size_t kFrameHeader = 9;

std::string_view text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

nghttp2_nv field(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view from) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(from.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string error_text(int number) { return std::generic_category().message(number); }

}  // namespace

struct H2Connection::Callbacks {
  static H2Connection& self(void* context) { return *static_cast<H2Connection*>(context); }

  static ssize_t write(nghttp2_session*, const uint8_t* data, size_t size, int, void* context) {
    H2Connection& c = self(context);
    c.parts_.push_back({nullptr, c.frames_.size(), size});
    c.frames_.append(text(data, size));
    return static_cast<ssize_t>(size);
  }

  static ssize_t read_length(nghttp2_session*, uint8_t, int32_t, int32_t session_window,
                             int32_t stream_window, uint32_t max_frame, void*) {
    const auto window = static_cast<size_t>(std::max(std::min(session_window, stream_window), 0));
    return static_cast<ssize_t>(std::min({window, size_t{max_frame}, kMaxFrame}));
  }

  static ssize_t read_body(nghttp2_session*, int32_t, uint8_t*, size_t size, uint32_t* flags,
                           nghttp2_data_source*, void* context) {
    H2Connection& c = self(context);
    const size_t left = c.request_->prefix.size() + c.request_->payload.size() - c.body_sent_;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (left <= size) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(std::min(left, size));
  }

  static int write_body(nghttp2_session*, nghttp2_frame*, const uint8_t* header, size_t size,
                        nghttp2_data_source*, void* context) {
    H2Connection& c = self(context);
    write(nullptr, header, kFrameHeader, 0, context);
    const std::string_view prefix = c.request_->prefix;
    while (size != 0) {
      const bool first = c.body_sent_ < prefix.size();
      const std::string_view from = first
                                        ? prefix.substr(c.body_sent_)
                                        : c.request_->payload.substr(c.body_sent_ - prefix.size());
      const size_t part = std::min(size, from.size());
      c.parts_.push_back({from.data(), 0, part});
      c.body_sent_ += part;
      size -= part;
    }
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                       size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                       void* context) {
    H2Connection& c = self(context);
    if (frame->hd.stream_id != c.stream_ || c.response_ == nullptr) return 0;
    const std::string_view key = text(name, name_size);
    const std::string_view what = text(value, value_size);
    if (key == ":status") {
      std::from_chars(what.data(), what.data() + what.size(), c.status_);
      ++c.response_->lines;
      return 0;
    }
    c.response_->add_header(std::string(key).append(": ").append(what));
    return 0;
  }

  static int on_data(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* data, size_t size,
                     void* context) {
    H2Connection& c = self(context);
    if (stream != c.stream_ || c.response_ == nullptr) return 0;
    if (size > kMaxResponse - c.response_->body.size()) {
      c.too_large_ = true;
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    c.response_->body.append(text(data, size));
    return 0;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* context) {
    H2Connection& c = self(context);
    if (frame->hd.type == NGHTTP2_SETTINGS) c.settled_ = true;
    if (frame->hd.type == NGHTTP2_GOAWAY) c.going_away_ = true;
    return 0;
  }

  static int on_close(nghttp2_session*, int32_t stream, uint32_t code, void* context) {
    H2Connection& c = self(context);
    if (stream == c.stream_) {
      c.stream_closed_ = true;
      c.reset_code_ = code;
    }
    return 0;
  }
};

H2Connection::H2Connection(int socket) : socket_(socket) {
  nghttp2_session_callbacks* calls = nullptr;
  if (nghttp2_session_callbacks_new(&calls) != 0) return;
  nghttp2_session_callbacks_set_send_callback(calls, &Callbacks::write);
  nghttp2_session_callbacks_set_send_data_callback(calls, &Callbacks::write_body);
  nghttp2_session_callbacks_set_data_source_read_length_callback(calls, &Callbacks::read_length);
  nghttp2_session_callbacks_set_on_header_callback(calls, &Callbacks::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, &Callbacks::on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(calls, &Callbacks::on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(calls, &Callbacks::on_close);
  if (nghttp2_session_client_new(&session_, calls, this) != 0) session_ = nullptr;
  nghttp2_session_callbacks_del(calls);
  constexpr std::array<nghttp2_settings_entry, 1> kSettings = {{{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}}};
  if (session_ != nullptr) {
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, kSettings.data(), kSettings.size());
  }
}

H2Connection::~H2Connection() {
  if (session_ != nullptr) nghttp2_session_del(session_);
  if (socket_ >= 0) close(socket_);
}

bool H2Connection::usable() {
  if (session_ == nullptr || dead_ || going_away_) return false;
  if (stream_ == -1) return true;  // nothing was sent yet
  if (!receive() || going_away_) return false;
  return nghttp2_session_check_request_allowed(session_) != 0;
}

bool H2Connection::begin(const Request& request, Response& response) {
  request_ = &request;
  response_ = &response;
  body_sent_ = 0;
  status_ = 0;
  reset_code_ = 0;
  stream_closed_ = too_large_ = false;
  begun_ = true;
  detail_.clear();
  std::vector<nghttp2_nv> fields = {field(":method", "POST"), field(":scheme", "http"),
                                    field(":authority", request.authority),
                                    field(":path", request.path)};
  for (const auto& [name, value] : request.headers) fields.push_back(field(name, value));
  nghttp2_data_provider body{};
  body.read_callback = &Callbacks::read_body;
  stream_ = session_ == nullptr ? -1
                                : nghttp2_submit_request(session_, nullptr, fields.data(),
                                                         fields.size(), &body, nullptr);
  return stream_ >= 0;
}

short H2Connection::events() const noexcept {
  return static_cast<short>(unsent() ? POLLIN | POLLOUT : POLLIN);
}

// Writes what is waiting. False: the connection is gone; a full socket is no failure.
bool H2Connection::flush() {
  while (unsent()) {
    vectors_.clear();
    for (size_t i = next_part_; i < parts_.size() && vectors_.size() < kMaxVectors; ++i) {
      const Part& part = parts_[i];
      const char* from = part.body != nullptr ? part.body : frames_.data();
      vectors_.push_back({const_cast<char*>(from + part.offset), part.size});
    }
    msghdr message{};
    message.msg_iov = vectors_.data();
    message.msg_iovlen = vectors_.size();
    const ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
      detail_ = "Send failure: " + error_text(errno);
      return false;
    }
    for (auto left = static_cast<size_t>(sent); left != 0;) {
      Part& part = parts_[next_part_];
      const size_t done = std::min(left, part.size);
      part.offset += done;
      part.size -= done;
      left -= done;
      if (part.size == 0) ++next_part_;
    }
  }
  parts_.clear();
  frames_.clear();
  next_part_ = 0;
  return true;
}

// Everything nghttp2 has to say and the windows allow.
bool H2Connection::send() {
  if (!flush()) return false;
  while (!unsent() && nghttp2_session_want_write(session_) != 0) {
    if (nghttp2_session_send(session_) != 0) {
      detail_ = "HTTP/2 failed on this side";
      return false;
    }
    if (!unsent()) return true;  // the window is closed
    if (!flush()) return false;
  }
  return true;
}

// Everything that has come. False: the connection is gone.
bool H2Connection::receive() {
  std::array<char, kReadBuffer> buffer;
  for (;;) {
    const ssize_t size = recv(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
      detail_ = "Recv failure: " + error_text(errno);
      dead_ = true;
      return false;
    }
    if (size == 0) {
      detail_ = "the receiver closed the connection";
      dead_ = true;
      return false;
    }
    const ssize_t read = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(buffer.data()), static_cast<size_t>(size));
    if (read < 0) {
      detail_ = std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(read));
      dead_ = true;
      return false;
    }
    if (nghttp2_session_want_read(session_) == 0) {  // after a protocol error, or a GOAWAY
      if (detail_.empty()) detail_ = "the receiver ended the HTTP/2 connection";
      dead_ = true;
      return stream_closed_;
    }
    if (static_cast<size_t>(size) < buffer.size()) return true;
  }
}

H2Connection::Progress H2Connection::lost(std::string_view why) {
  dead_ = true;
  if (detail_.empty()) detail_ = why;
  return Progress::kLost;
}

H2Connection::Progress H2Connection::proceed() {
  if (dead_) return lost("the connection was closed");
  const bool alive = send();
  if (std::exchange(begun_, false) && alive) return Progress::kWaiting;  // no answer yet
  const bool more = receive();
  if (!stream_closed_) {
    if (!alive || !more) return lost("the connection broke");
    if (!send()) return lost("the connection broke");
    // nghttp2 has told the peer why it gives up, after something that was no HTTP/2.
    if (nghttp2_session_want_read(session_) == 0) return lost("the answer was not HTTP/2");
    return Progress::kWaiting;
  }
  request_ = nullptr;
  response_ = nullptr;
  if (status_ != 0 && reset_code_ == NGHTTP2_NO_ERROR) {
    // The rest of a body that the receiver did not want to read would be read after it is gone.
    if (unsent()) dead_ = true;
    return Progress::kDone;
  }
  if (unsent()) dead_ = true;
  detail_ = std::string("HTTP/2 stream was reset: ") + nghttp2_http2_strerror(reset_code_);
  return dead_ ? Progress::kLost : Progress::kReset;
}

}  // namespace nuages::net
