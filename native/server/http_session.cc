#include "server/http_session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <limits>
#include <tuple>
#include <utility>

#include "server/decompress.h"
#include "server/host_guard.h"
#include "wire/protobuf_reader.h"

namespace nuages::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 32 << 10;
constexpr auto kStopGrace = std::chrono::seconds(2);
constexpr auto kKeepAlive = std::chrono::seconds(75);
constexpr size_t kReadSize = 128 << 10;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  });
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> url_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return {};
      out += static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      out += text[i] == '+' && plus_is_space ? ' ' : text[i];
    }
  }
  return out;
}

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

HttpSession::HttpSession(asio::ip::tcp::socket socket, std::shared_ptr<const HttpOptions> options,
                         MemoryBudget& budget, Tls::Context tls)
    : stream_(std::move(socket), std::move(tls)),
      stop_timer_(stream_.get_executor()),
      options_(std::move(options)),
      share_(budget) {}

void HttpSession::start() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->stream_.expires_after(std::chrono::nanoseconds(self->options_->timeout_ns));
    self->stream_.handshake([self](const error_code& error) {
      if (error) return self->close();
      self->read_head();
    });
  });
}

void HttpSession::stop() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->stopping_ = true;
    if (self->idle_) return self->close();
    if (!self->receiving_) return;
    // The stream's own limit is fixed for the read that is running.
    self->stop_timer_.expires_after(kStopGrace);
    self->stop_timer_.async_wait([weak = self->weak_from_this()](const error_code& error) {
      const auto session = weak.lock();
      if (session != nullptr && !error && session->receiving_) session->close();
    });
  });
}

void HttpSession::close() { stream_.close(); }

void HttpSession::read_head() {
  idle_ = buffer_.size() == 0;
  receiving_ = true;
  parser_ = std::make_unique<Parser>();
  parser_->header_limit(kMaxHeaderBytes);
  // Checked by us, with a better answer; the parser must not stop before it.
  parser_->body_limit(std::numeric_limits<uint64_t>::max());
  share_.release();
  if (first_) {
    stream_.expires_after(std::chrono::nanoseconds(options_->timeout_ns));
  } else {
    stream_.expires_after(kKeepAlive);
  }
  first_ = false;
  http::async_read_header(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](const error_code& error, size_t) { self->on_head(error); });
}

void HttpSession::on_head(const error_code& error) {
  idle_ = false;
  if (error == http::error::end_of_stream || error == beast::error::timeout ||
      error == asio::error::operation_aborted || error == asio::error::connection_reset) {
    return close();
  }
  if (error == http::error::header_limit) {
    return refuse(
        431, "the request's head is larger than " + std::to_string(kMaxHeaderBytes) + " bytes");
  }
  if (error) return refuse(400, "not an HTTP/1.1 request: " + error.message());
  const auto length = parser_->content_length();
  if (length && *length > options_->max_body_bytes) {
    return refuse(413, "the body of " + std::to_string(*length) +
                           " bytes is larger than the limit of " +
                           std::to_string(options_->max_body_bytes) + "; send smaller batches");
  }
  stream_.expires_after(std::chrono::nanoseconds(4 * options_->timeout_ns));
  if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) return send_continue();
  read_body();
}

void HttpSession::send_continue() {
  auto answer = std::make_shared<http::response<http::empty_body>>(http::status::continue_, 11);
  http::async_write(stream_, *answer,
                    [self = shared_from_this(), answer](const error_code& error, size_t) {
                      if (error) return self->close();
                      self->read_body();
                    });
}

void HttpSession::read_body() {
  if (parser_->is_done()) return on_request();
  buffer_.reserve(kReadSize);
  http::async_read_some(
      stream_, buffer_, *parser_, [self = shared_from_this()](const error_code& error, size_t) {
        if (error == http::error::end_of_stream || error == http::error::partial_message) {
          return self->refuse(400, "the connection ended inside the body");
        }
        if (error == beast::error::timeout) return self->close();
        if (error) return self->refuse(400, "the body cannot be read: " + error.message());
        const size_t size = self->parser_->get().body().size();
        if (size > self->options_->max_body_bytes) {
          return self->refuse(413, "the body is larger than the limit of " +
                                       std::to_string(self->options_->max_body_bytes) +
                                       " bytes; send smaller batches");
        }
        if (!self->share_.grow_to(size)) {
          return self->refuse(429, "too many requests are arriving at once; retry later");
        }
        self->read_body();
      });
}

std::optional<Request> HttpSession::parse_target(std::string_view target) {
  Request request;
  const size_t mark = target.find('?');
  auto path = url_decode(target.substr(0, mark), false);
  // Answers echo these texts, and JSON and protobuf hold UTF-8 only.
  if (!path || !path->starts_with('/') || !wire::valid_utf8(*path)) return {};
  request.path = std::move(*path);
  if (mark == std::string_view::npos) return request;
  std::string_view rest = target.substr(mark + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    auto key = url_decode(pair.substr(0, equals), true);
    auto value = url_decode(
        equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!key || !value || !wire::valid_utf8(*key) || !wire::valid_utf8(*value)) return {};
    if (key->empty()) continue;
    request.query_list.emplace_back(*key, *value);
    request.query[std::move(*key)] = std::move(*value);
  }
  return request;
}

void HttpSession::on_request() {
  receiving_ = false;
  auto& message = parser_->get();
  const bool keep_alive = message.keep_alive();
  std::optional<Request> request = parse_target(view(message.target()));
  if (!request) return refuse(400, "the request's target is not a valid path and query in UTF-8");
  request->method = std::string(view(message.method_string()));
  for (const auto& field : message) {
    request->headers[lower(view(field.name_string()))] = std::string(view(field.value()));
  }
  request->body = std::move(message.body());
  if (options_->loopback_only) {
    if (const auto why = refuse_foreign(*request)) return refuse(403, *why);
  }
  const std::string encoding = lower(request->headers["content-encoding"]);
  if (!encoding.empty() && encoding != "identity") {
    const auto kind = compression_named(encoding);
    if (!kind) {
      return refuse(415, "content-encoding \"" + encoding +
                             "\" is not supported; use gzip, deflate, zstd or none");
    }
    Result<std::string> body = decompress(request->body, *kind, options_->max_body_bytes);
    if (!body.ok()) {
      return refuse(body.error().code == ErrorCode::kExhausted ? 413 : 400, body.error().message);
    }
    request->body = std::move(body).value();
  }
  share_.release();  // from here the service bounds what it keeps
  const bool head = request->method == "HEAD";
  stream_.expires_never();  // the answer takes what it takes; the peer is not to blame
  options_->service->handle(std::move(*request), [self = shared_from_this(), keep_alive,
                                                  head](Response response) mutable {
    asio::post(self->stream_.get_executor(), [self, keep_alive, head,
                                              response = std::move(response)]() mutable {
      if (head) {
        response.headers.emplace_back("content-length", std::to_string(response.body.size()));
        response.body.clear();
      }
      self->send(std::move(response), keep_alive);
    });
  });
}

void HttpSession::refuse(int status, const std::string& message) {
  receiving_ = false;
  // What is left of the request would be read as the next one, so the connection ends here.
  const auto type = parser_->get()[http::field::content_type];
  send(options_->service->error(status, message, view(type)), false);
}

void HttpSession::send(Response response, bool keep_alive) {
  keep_alive = keep_alive && !stopping_;
  auto message = std::make_shared<http::response<http::string_body>>(
      static_cast<http::status>(response.status), 11);
  message->set(http::field::content_type, response.content_type);
  message->set(http::field::server, "nuages");
  message->set("X-Content-Type-Options", "nosniff");
  message->keep_alive(keep_alive);
  message->body() = std::move(response.body);
  message->prepare_payload();
  for (const auto& [name, value] : response.headers) message->set(name, value);
  stream_.expires_after(std::chrono::nanoseconds(4 * options_->timeout_ns));
  http::async_write(
      stream_, *message,
      [self = shared_from_this(), message, keep_alive](const error_code& error, size_t) {
        if (error) return self->close();
        if (keep_alive && !self->stopping_) return self->read_head();
        // The peer may still be sending: closing at once would reset the connection
        // and could take our answer with it.
        self->idle_ = true;  // answered: a stop need not wait for the peer
        self->parser_.reset();
        self->share_.release();
        self->stream_.expires_after(std::chrono::nanoseconds(self->options_->timeout_ns));
        self->stream_.end([self](const error_code&) {
          if (self->stopping_ || self->stream_.encrypted()) return self->close();
          self->drain();
        });
      });
}

void HttpSession::drain() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(kReadSize),
                          [self = shared_from_this()](const error_code& error, size_t size) {
                            self->drained_ += size;
                            const size_t limit = 2 * self->options_->max_body_bytes;
                            if (error || self->drained_ > limit) return self->close();
                            self->drain();
                          });
}

}  // namespace nuages::server
