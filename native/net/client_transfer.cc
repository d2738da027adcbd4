#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "net/client_state.h"

namespace nuages::net {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr int kMaxPollMs = 60'000;  // interrupt() ends a poll at once, so its length is free

void append(Slist& list, const std::string& line) {
  if (curl_slist* longer = curl_slist_append(list.get(), line.c_str())) {
    [[maybe_unused]] curl_slist* same = list.release();  // the longer list holds it
    list.reset(longer);
  }
}

// Of HTTP/1: forbidden in HTTP/2.
bool connection_header(std::string_view lower) {
  return lower == "connection" || lower == "keep-alive" || lower == "proxy-connection" ||
         lower == "transfer-encoding" || lower == "upgrade" || lower == "host";
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

struct UrlParts {
  std::string_view authority, path;
};

UrlParts split_url(std::string_view url) {
  const size_t begin = url.find("://") + 3;
  const size_t slash = std::min(url.find('/', begin), url.size());
  return {url.substr(begin, slash - begin), url.substr(slash)};
}

}  // namespace

bool connection_lost(CURLcode code) {
  return code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM || code == CURLE_SEND_ERROR ||
         code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_PARTIAL_FILE;
}

// Calls add(name, value) for each header of a request.
template <typename Add>
void OtlpClient::State::each_header(uint64_t timeout_ms, const Add& add) const {
  const char* encoding = config.compression == Compression::kGzip ? "gzip" : "deflate";
  const bool compressed = config.compression != Compression::kNone;
  add("User-Agent", "OTel-OTLP-Exporter-Nuages/" + config.version);
  if (grpc()) {
    add("Content-Type", "application/grpc");
    add("te", "trailers");
    add("grpc-timeout", std::to_string(std::min<uint64_t>(timeout_ms, 99'999'999)) + "m");
    if (compressed) add("grpc-encoding", encoding);
  } else {
    add("Content-Type", "application/x-protobuf");
    if (compressed) add("Content-Encoding", encoding);
  }
  for (const auto& [name, value] : config.headers) add(name, value);
}

Slist OtlpClient::State::headers(uint64_t timeout_ms) const {
  Slist list;
  append(list, "Expect:");  // no 100-continue round trip
  each_header(timeout_ms, [&list](std::string line, const std::string& value) {
    append(list, line.append(value.empty() ? ";" : ": ").append(value));
  });
  return list;
}

// Waits for the network outside of the caller's gate. False: interrupted or too late.
bool OtlpClient::State::wait(uint64_t deadline_ns, curl_waitfd* also) {
  const uint64_t now = steady_now();
  if (now >= deadline_ns) return false;
  const uint64_t left_ms = (deadline_ns - now + kMillisecond - 1) / kMillisecond;
  if (around_wait) around_wait(true);
  curl_multi_poll(multi, also, also == nullptr ? 0 : 1,
                  static_cast<int>(std::min<uint64_t>(left_ms, kMaxPollMs)), nullptr);
  if (around_wait) around_wait(false);
  return !interrupted.load(std::memory_order_acquire);
}

// libcurl 7.88 fails a second request with prior knowledge on a connection it has. So a connection
// is reused by asking for any HTTP/2, which finds it, and never opened that way, because a new one
// would begin with HTTP/1.1: open_socket refuses, and the request goes again with prior knowledge.
CURLcode OtlpClient::State::transfer_reusing(uint64_t deadline_ns, bool& timed_out) {
  const bool clear_http2 = grpc() && !endpoint.tls;
  if (clear_http2) {
    reuse_only = connected;
    wanted_socket = false;
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     static_cast<long>(connected ? CURL_HTTP_VERSION_2TLS
                                                 : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
  }
  CURLcode code = transfer_once(deadline_ns, timed_out);
  if (wanted_socket && !timed_out && !interrupted.load(std::memory_order_acquire)) {
    reuse_only = wanted_socket = false;
    response.clear();
    error[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     static_cast<long>(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
    code = transfer_once(deadline_ns, timed_out);
  }
  connected = code == CURLE_OK;
  return code;
}

// A connection that was there before and breaks is no news about the receiver: once more, at once,
// on a new one.
CURLcode OtlpClient::State::transfer(uint64_t deadline_ns, bool& timed_out) {
  const bool had_connection = connected;
  CURLcode code = transfer_reusing(deadline_ns, timed_out);
  if (had_connection && connection_lost(code) && !timed_out && response.untouched() &&
      !interrupted.load(std::memory_order_acquire)) {
    error[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    code = transfer_reusing(deadline_ns, timed_out);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 0L);
  }
  return code;
}

// The request's payload: packed if so configured. Empty: out of memory.
std::string_view OtlpClient::State::pack(std::string_view body) {
  const bool compress = config.compression != Compression::kNone;
  std::string_view payload = body;
  if (compress) {
    if (!gzip) {
      gzip = std::make_unique<wire::Gzip>(
          config.compression == Compression::kGzip ? wire::Packing::kGzip : wire::Packing::kZlib);
    }
    if (!gzip->compress(body, packed)) return {};
    payload = packed;
  }
  if (grpc()) wire::write_grpc_frame_header(frame_header, payload.size(), compress);
  return payload;
}

CURLcode OtlpClient::State::post(const std::string& url, std::string_view payload,
                                 uint64_t timeout_ms, uint64_t deadline_ns, bool& timed_out) {
  if (grpc()) {
    frame.assign(frame_header, sizeof frame_header).append(payload);
    payload = frame;
  }
  const Slist list = headers(timeout_ms);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list.get());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, payload.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(payload.size()));
  const CURLcode code = transfer(deadline_ns, timed_out);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, nullptr);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  http_status = static_cast<int>(status);
  return code;
}

// libcurl resolves, tries the addresses and says what went wrong; its socket is ours afterwards.
CURLcode OtlpClient::State::connect_h2(uint64_t deadline_ns, bool& timed_out) {
  if (curl_multi_add_handle(multi, easy) != CURLM_OK) return CURLE_FAILED_INIT;
  const CURLcode code = run_multi(deadline_ns, timed_out);
  curl_socket_t socket = CURL_SOCKET_BAD;
  if (code == CURLE_OK) curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &socket);
  kept = socket;
  curl_multi_remove_handle(multi, easy);
  kept = CURL_SOCKET_BAD;
  if (code != CURLE_OK) return code;
  if (socket == CURL_SOCKET_BAD) return CURLE_COULDNT_CONNECT;
  h2 = std::make_unique<H2Connection>(socket);
  return CURLE_OK;
}

CURLcode OtlpClient::State::exchange_h2(const H2Connection::Request& request, uint64_t deadline_ns,
                                        bool& timed_out) {
  using Progress = H2Connection::Progress;
  if (!h2->begin(request, response)) return CURLE_OUT_OF_MEMORY;
  for (;;) {
    switch (h2->proceed()) {
      case Progress::kDone:
        http_status = h2->status();
        return CURLE_OK;
      case Progress::kWaiting: {
        curl_waitfd socket{h2->socket(), h2->events(), 0};
        if (wait(deadline_ns, &socket)) continue;
        timed_out = !interrupted.load(std::memory_order_acquire);
        return CURLE_ABORTED_BY_CALLBACK;
      }
      case Progress::kReset:
        h2->detail().copy(error, sizeof error - 1);
        return CURLE_HTTP2_STREAM;
      case Progress::kLost:
        h2->detail().copy(error, sizeof error - 1);
        if (h2->answer_too_large()) return CURLE_WRITE_ERROR;
        return h2->spoke_http2() ? CURLE_RECV_ERROR : CURLE_HTTP2;
    }
  }
}

CURLcode OtlpClient::State::post_h2(const std::string& url, std::string_view payload,
                                    uint64_t timeout_ms, uint64_t deadline_ns, bool& timed_out) {
  H2Connection::Request request;
  const UrlParts parts = split_url(url);
  request.authority = parts.authority;
  request.path = parts.path;
  request.prefix = {frame_header, sizeof frame_header};
  request.payload = payload;
  each_header(timeout_ms, [&request](std::string name, std::string_view value) {
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (!connection_header(name)) request.headers.emplace_back(std::move(name), trim(value));
  });
  if (h2 && !h2->usable()) h2.reset();
  for (bool reused = h2 != nullptr;; reused = false) {
    CURLcode code = h2 ? CURLE_OK : connect_h2(deadline_ns, timed_out);
    if (code == CURLE_OK) code = exchange_h2(request, deadline_ns, timed_out);
    if (code == CURLE_OK) return code;
    h2.reset();
    // A connection that was there before and breaks is no news about the receiver.
    if (!reused || !connection_lost(code) || timed_out || !response.untouched() ||
        interrupted.load(std::memory_order_acquire)) {
      return code;
    }
    std::fill(std::begin(error), std::end(error), '\0');
  }
}

CURLcode OtlpClient::State::transfer_once(uint64_t deadline_ns, bool& timed_out) {
  if (curl_multi_add_handle(multi, easy) != CURLM_OK) return CURLE_FAILED_INIT;
  if (connected) cork(true);
  const CURLcode code = run_multi(deadline_ns, timed_out);
  cork(false);
  curl_multi_remove_handle(multi, easy);
  return code;
}

CURLcode OtlpClient::State::run_multi(uint64_t deadline_ns, bool& timed_out) {
  curl_off_t sent = 0;
  for (;;) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) return CURLE_FAILED_INIT;
    // One call sends one HTTP/2 frame or one buffer: while that goes on, polling tells nothing new.
    const curl_off_t before = sent;
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    if (running != 0 && sent > before && steady_now() < deadline_ns) continue;
    cork(false);
    int left = 0;
    if (const CURLMsg* message = curl_multi_info_read(multi, &left);
        message != nullptr && message->msg == CURLMSG_DONE) {
      return message->data.result;
    }
    if (!wait(deadline_ns)) {
      timed_out = !interrupted.load(std::memory_order_acquire);
      return CURLE_ABORTED_BY_CALLBACK;
    }
  }
}

// Lets the kernel gather libcurl's writes, one for each HTTP/2 frame of 16 KiB, into full segments:
// a fifth of all CPU of an export (docs/design/export.md). Always off before a wait.
void OtlpClient::State::cork(bool on) {
  if (on == corked) return;
  corked = on && active != CURL_SOCKET_BAD;
  const int value = on ? 1 : 0;
  if (active != CURL_SOCKET_BAD) {
    setsockopt(active, IPPROTO_TCP, TCP_CORK, &value, sizeof value);
  }
}

}  // namespace nuages::net
