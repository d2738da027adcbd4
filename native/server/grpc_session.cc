#include "server/grpc_session.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr int32_t kStreamWindow = 8 << 20;
constexpr int32_t kConnectionWindow = 16 << 20;
constexpr size_t kReadSize = 128 << 10;
constexpr size_t kWriteSize = 256 << 10;
constexpr size_t kPrefixSize = 5;  // compressed flag and length in front of a gRPC message
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kStopGraceNs = 2 * kSecond;
constexpr uint64_t kWholeTimeouts = 4;  // within these a request must be whole, as over HTTP

nghttp2_nv header(std::string_view name, std::string_view value) {
  // nghttp2 copies both: no NO_COPY flag is set.
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

uint32_t big_endian(std::string_view four) {
  uint32_t value = 0;
  for (const char c : four.substr(0, 4)) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// The trailers of a reply; the strings they point to live as long as this.
struct Trailers {
  explicit Trailers(const GrpcReply& reply)
      : status(std::to_string(static_cast<int>(reply.status))), text(percent_encode(reply.text)) {
    if (reply.status != GrpcStatus::kOk) {
      details = base64(rpc_status(reply.status, reply.text, reply.retry));
    }
  }
  void add_to(std::vector<nghttp2_nv>& out) const {
    out.push_back(header("grpc-status", status));
    if (!text.empty()) out.push_back(header("grpc-message", text));
    if (!details.empty()) out.push_back(header("grpc-status-details-bin", details));
  }
  std::string status, text, details;
};

}  // namespace

// nghttp2's C callbacks. They hold no state and let nothing escape.
struct GrpcCallbacks {
  static GrpcSession& self(void* user) { return *static_cast<GrpcSession*>(user); }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      self(user).on_headers_begin(frame->hd.stream_id);
    }
    return 0;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                       size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                       void* user) {
    self(user).on_header(frame->hd.stream_id, {reinterpret_cast<const char*>(name), name_size},
                         {reinterpret_cast<const char*>(value), value_size});
    return 0;
  }
  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    GrpcSession& session = self(user);
    const int32_t id = frame->hd.stream_id;
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS:
        session.settled_ = true;
        break;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) session.pinged_ns_ = 0;
        break;
      case NGHTTP2_HEADERS:
        session.on_headers_end(id);
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) session.on_request_end(id);
        break;
      case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) session.on_request_end(id);
        break;
      default:
        break;
    }
    return 0;
  }
  static int data_received(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size,
                           void* user) {
    self(user).on_data(id, {reinterpret_cast<const char*>(data), size});
    return 0;
  }
  static int stream_closed(nghttp2_session*, int32_t id, uint32_t, void* user) {
    self(user).streams_.erase(id);
    return 0;
  }
  static ssize_t read_answer(nghttp2_session*, int32_t id, uint8_t* buffer, size_t size,
                             uint32_t* flags, nghttp2_data_source*, void* user) {
    return self(user).read_answer(id, buffer, size, flags);
  }
};

GrpcSession::GrpcSession(asio::ip::tcp::socket socket, std::shared_ptr<const GrpcOptions> options,
                         MemoryBudget& budget, Tls::Context tls)
    : socket_(std::move(socket), std::move(tls)),
      timer_(socket_.get_executor()),
      options_(std::move(options)),
      budget_(budget) {}

GrpcSession::~GrpcSession() { nghttp2_session_del(session_); }

void GrpcSession::start() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->started_ns_ = self->received_ns_ = self->written_ns_ = steady_now();
    if (!self->open_session()) return self->close();
    self->in_.resize(kReadSize);
    self->watch();
    self->socket_.handshake([self](const error_code& error) {
      if (error) return self->close();
      self->read();  // our settings follow the client's first bytes: it may not speak HTTP/2
    });
  });
}

bool GrpcSession::open_session() {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, &GrpcCallbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, &GrpcCallbacks::on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &GrpcCallbacks::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                            &GrpcCallbacks::data_received);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &GrpcCallbacks::stream_closed);
  const int made = nghttp2_session_server_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) return false;
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_->max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16 << 10},
  };
  return nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0 &&
         nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) ==
             0;
}

void GrpcSession::stop() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->closed_ || self->stopping_) return;
    self->stopping_ = true;
    self->stopping_ns_ = steady_now();
    if (self->session_ == nullptr) return self->close();
    nghttp2_submit_goaway(self->session_, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(self->session_), NGHTTP2_NO_ERROR,
                          nullptr, 0);
    self->flush();
    if (!self->closed_) self->watch();  // in place of the wait that is running
  });
}

void GrpcSession::close() {
  if (closed_) return;
  closed_ = true;
  timer_.cancel();
  socket_.close();
  streams_.clear();
}

void GrpcSession::read() {
  socket_.async_read_some(asio::buffer(in_),
                          [self = shared_from_this()](const error_code& error, size_t size) {
                            if (self->closed_) return;
                            if (error) return self->close();
                            self->on_bytes(size);
                          });
}

void GrpcSession::on_bytes(size_t size) {
  received_ns_ = steady_now();
  const ssize_t used = nghttp2_session_mem_recv(session_, in_.data(), size);
  if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC) return answer_http1();
  if (used < 0) {
    if (log_enabled(LogLevel::kDebug)) {
      log(LogLevel::kDebug, "grpc",
          std::string("connection closed: ") + nghttp2_strerror(static_cast<int>(used)));
    }
    return close();
  }
  flush();
  if (!closed_) read();
}

// Somebody sent HTTP/1 (or anything else) to the gRPC port: say where to go.
void GrpcSession::answer_http1() {
  const std::string_view begin(reinterpret_cast<const char*>(in_.data()), 4);
  const bool http1 =
      begin == "POST" || begin == "GET " || begin == "PUT " || begin == "HEAD" || begin == "OPTI";
  if (!http1 || writing_) return close();
  const std::string text =
      "This port speaks gRPC (HTTP/2). OTLP/HTTP is at http://" + options_->http_address + "\n";
  out_ =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
      "Content-Length: " +
      std::to_string(text.size()) + "\r\n\r\n" + text;
  writing_ = true;
  asio::async_write(socket_, asio::buffer(out_),
                    [self = shared_from_this()](const error_code&, size_t) { self->close(); });
}

void GrpcSession::flush() {
  if (writing_ || closed_) return;
  out_.clear();
  while (out_.size() < kWriteSize) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) return close();
    if (size == 0) break;
    out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
  if (out_.empty()) {
    const bool over =
        nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
    if (over || (stopping_ && streams_.empty())) close();
    return;
  }
  writing_ = true;
  written_ns_ = steady_now();
  asio::async_write(socket_, asio::buffer(out_),
                    [self = shared_from_this()](const error_code& error, size_t) {
                      self->writing_ = false;
                      if (error) return self->close();
                      self->flush();
                    });
}

void GrpcSession::watch() {
  const uint64_t tick =
      stopping_ ? kStopGraceNs : std::clamp(options_->timeout_ns / 4, kSecond / 20, 5 * kSecond);
  timer_.expires_after(std::chrono::nanoseconds(tick));
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error || self->closed_) return;
    if (!self->check_peer(steady_now())) return self->close();
    self->flush();
    if (!self->closed_) self->watch();
  });
}

bool GrpcSession::check_peer(uint64_t now) {
  const uint64_t limit = options_->timeout_ns;
  const auto late = [&](uint64_t since) { return now - since > limit; };
  if (!settled_ && late(started_ns_)) return false;
  if (writing_ && late(written_ns_)) return false;
  if (pinged_ns_ != 0 && late(pinged_ns_)) return false;
  for (const auto& [id, stream] : streams_) {
    const bool waits_for_peer = !stream->complete || stream->answered;
    const bool cut = stopping_ && !stream->complete && now - stopping_ns_ >= kStopGraceNs;
    const bool trickles = !stream->complete && now - stream->begun_ns > kWholeTimeouts * limit;
    if (cut || trickles || (waits_for_peer && late(stream->progress_ns))) {
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    }
  }
  if (pinged_ns_ == 0 && now - received_ns_ > 2 * limit) {
    pinged_ns_ = now;
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  }
  return true;
}

GrpcSession::Stream* GrpcSession::find(int32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

void GrpcSession::on_headers_begin(int32_t id) {
  auto stream = std::make_unique<Stream>(budget_);
  stream->begun_ns = stream->progress_ns = received_ns_;
  streams_.emplace(id, std::move(stream));
}

void GrpcSession::on_header(int32_t id, std::string_view name, std::string_view value) {
  Stream* stream = find(id);
  if (stream == nullptr) return;
  if (name == ":method") stream->method = value;
  if (name == ":path") stream->path = value;
  if (name == "content-type") stream->content_type = value;
  if (name == "grpc-encoding") stream->encoding = value;
  if (name == "authorization") stream->authorization = value;
  if (name == "x-api-key") stream->api_key = value;
}

void GrpcSession::on_headers_end(int32_t id) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->answered) return;
  const std::string& type = stream->content_type;
  const bool grpc = type == "application/grpc" || type == "application/grpc+proto" ||
                    type.starts_with("application/grpc;") ||
                    type.starts_with("application/grpc+proto;");
  if (stream->method != "POST" || !grpc) refuse_content_type(id, *stream);
}

// Not a gRPC request, so the answer is an HTTP one, with the gRPC status beside it.
void GrpcSession::refuse_content_type(int32_t id, Stream& stream) {
  const std::string text =
      stream.method != "POST"
          ? "This port speaks gRPC: method " + stream.method + " is not POST"
          : "content-type \"" + stream.content_type + "\" is not application/grpc";
  stream.reply = {GrpcStatus::kInvalidArgument, text, false, ""};
  stream.sending = text + "\n";
  stream.answered = true;
  stream.trailers_only = true;  // the body below needs no gRPC trailers
  const Trailers trailers(stream.reply);
  std::vector<nghttp2_nv> headers = {header(":status", stream.method == "POST" ? "415" : "405"),
                                     header("content-type", "text/plain")};
  trailers.add_to(headers);
  nghttp2_data_provider body{};
  body.read_callback = &GrpcCallbacks::read_answer;
  nghttp2_submit_response(session_, id, headers.data(), headers.size(), &body);
}

void GrpcSession::on_data(int32_t id, std::string_view data) {
  Stream* stream = find(id);
  // Refused: the rest is thrown away. A reset, even with NO_ERROR, would make clients lose the
  // answer; one that sends without end is reset when its time is up.
  if (stream == nullptr || stream->answered) return;
  stream->progress_ns = received_ns_;
  std::string& received = stream->received;
  received.append(data);
  if (received.size() < kPrefixSize) return;
  const size_t size = big_endian(std::string_view(received).substr(1));
  if (size > options_->max_message_bytes) {
    return fail(id, GrpcStatus::kResourceExhausted,
                "the message of " + std::to_string(size) + " bytes is larger than the limit of " +
                    std::to_string(options_->max_message_bytes) + "; send smaller batches");
  }
  if (received.size() > kPrefixSize + size) {
    return fail(id, GrpcStatus::kInvalidArgument,
                "more than one message, or bytes behind it, in a unary call");
  }
  if (!stream->share.grow_to(received.size())) {
    fail(id, GrpcStatus::kResourceExhausted, "too many requests are arriving at once; retry later",
         true);
  }
}

void GrpcSession::on_request_end(int32_t id) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->complete) return;
  stream->complete = true;
  if (stream->answered) return;
  std::string& received = stream->received;
  if (received.size() < kPrefixSize ||
      received.size() != kPrefixSize + big_endian(std::string_view(received).substr(1))) {
    return fail(
        id, GrpcStatus::kInvalidArgument,
        "the request ended inside its message: " + std::to_string(received.size()) + " bytes came");
  }
  const auto flag = static_cast<uint8_t>(received[0]);
  if (flag > 1 || (flag == 1 && (stream->encoding.empty() || stream->encoding == "identity"))) {
    return fail(id, GrpcStatus::kInvalidArgument,
                "the message is flagged as compressed but grpc-encoding does not say how");
  }
  GrpcCall call{stream->path, flag == 1 ? stream->encoding : "", std::move(received),
                stream->authorization, stream->api_key};
  call.message.erase(0, kPrefixSize);
  options_->handler(std::move(call), [weak = weak_from_this(), id,
                                      executor = socket_.get_executor()](GrpcReply reply) {
    asio::post(executor, [weak, id, reply = std::move(reply)]() mutable {
      const auto self = weak.lock();
      if (self == nullptr || self->closed_) return;
      self->reply(id, std::move(reply));
      self->flush();
    });
  });
}

void GrpcSession::fail(int32_t id, GrpcStatus status, std::string text, bool retry) {
  reply(id, {status, std::move(text), retry, ""});
}

void GrpcSession::reply(int32_t id, GrpcReply reply) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->answered) return;
  stream->answered = true;
  stream->progress_ns = steady_now();
  stream->share.release();
  stream->received = std::string();
  stream->reply = std::move(reply);
  std::vector<nghttp2_nv> headers = {header(":status", "200"),
                                     header("content-type", "application/grpc"),
                                     header("grpc-accept-encoding", "identity,gzip,deflate,zstd")};
  if (stream->reply.status != GrpcStatus::kOk) {
    const Trailers trailers(stream->reply);
    trailers.add_to(headers);
    nghttp2_submit_response(session_, id, headers.data(), headers.size(), nullptr);
    return;
  }
  const auto size = static_cast<uint32_t>(stream->reply.message.size());
  std::string& sending = stream->sending;
  sending.assign(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) sending += static_cast<char>(size >> shift);
  sending += stream->reply.message;
  nghttp2_data_provider body{};
  body.read_callback = &GrpcCallbacks::read_answer;
  nghttp2_submit_response(session_, id, headers.data(), headers.size(), &body);
}

ssize_t GrpcSession::read_answer(int32_t id, uint8_t* buffer, size_t size, uint32_t* flags) {
  Stream* stream = find(id);
  if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  stream->progress_ns = steady_now();
  const size_t part = std::min(size, stream->sending.size() - stream->sent);
  std::copy_n(stream->sending.data() + stream->sent, part, buffer);
  stream->sent += part;
  if (stream->sent == stream->sending.size()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream->trailers_only) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const Trailers trailers(stream->reply);
      std::vector<nghttp2_nv> list;
      trailers.add_to(list);
      if (nghttp2_submit_trailer(session_, id, list.data(), list.size()) != 0) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
      }
    }
  }
  return static_cast<ssize_t>(part);
}

}  // namespace nuages::server
