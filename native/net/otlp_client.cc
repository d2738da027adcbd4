#include "net/otlp_client.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <ctime>
#include <mutex>
#include <system_error>

#include "base/clock.h"
#include "net/otlp_response.h"
#include "net/peer_probe.h"
#include "wire/grpc_frame.h"
#include "wire/gzip.h"

namespace nuages::net {
namespace {

constexpr size_t kMaxResponse = 4U << 20;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr int kMaxPollMs = 60'000;  // interrupt() ends a poll at once, so its length is free
constexpr long kSendBuffer = 256L << 10;
constexpr uint64_t kProbeTime = 500 * kMillisecond;

struct SlistFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistFree>;

void append(Slist& list, const std::string& line) {
  if (curl_slist* longer = curl_slist_append(list.get(), line.c_str())) {
    [[maybe_unused]] curl_slist* same = list.release();  // the longer list holds it
    list.reset(longer);
  }
}

bool header_safe(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

bool loopback(const Endpoint& endpoint) {
  return endpoint.host == "localhost" || endpoint.host == "::1" ||
         endpoint.host.starts_with("127.");
}

// The connection broke, perhaps before the request was read: GOAWAY, a restart, an idle timeout.
bool connection_lost(CURLcode code) {
  return code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM || code == CURLE_SEND_ERROR ||
         code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_PARTIAL_FILE;
}

// Errors that a peer of another protocol causes, and much else besides.
bool perhaps_wrong_protocol(CURLcode code) {
  return connection_lost(code) || code == CURLE_WEIRD_SERVER_REPLY ||
         code == CURLE_UNSUPPORTED_PROTOCOL;
}

std::string metrics_url(const std::string& traces_url) {
  const auto replace_end = [&](std::string_view end, std::string_view by) {
    return traces_url.substr(0, traces_url.size() - end.size()).append(by);
  };
  constexpr std::string_view kGrpcEnd = "trace.v1.TraceService/Export";
  constexpr std::string_view kHttpEnd = "/v1/traces";
  if (traces_url.ends_with(kGrpcEnd)) {
    return replace_end(kGrpcEnd, "metrics.v1.MetricsService/Export");
  }
  return traces_url.ends_with(kHttpEnd) ? replace_end(kHttpEnd, "/v1/metrics") : std::string();
}

}  // namespace

struct OtlpClient::State {
  OtlpClientConfig config;
  Endpoint endpoint;
  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  std::atomic<bool> interrupted{false};
  std::function<void(bool)> around_wait;
  std::unique_ptr<wire::Gzip> gzip;  // its stream takes 270 KB: only when used
  std::string packed;                // compressed body
  std::string frame;                 // gRPC header and body
  Response response;
  char error[CURL_ERROR_SIZE] = {};
  std::string metrics;    // URL for the other signal; empty: the endpoint has none
  std::string diagnosis;  // what the probe found; until the next success
  bool probed = false;
  curl_socket_t active = CURL_SOCKET_BAD;  // the newest connection
  bool corked = false;
  bool connected = false;      // the last request got an answer: its connection may be reusable
  bool reuse_only = false;     // for the transfer under way
  bool wanted_socket = false;  // it had to open a connection although reuse_only

  ~State() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  bool grpc() const { return config.protocol == Protocol::kGrpc; }
  bool open();
  static curl_socket_t open_socket(void* context, curlsocktype, curl_sockaddr* address);
  static int close_socket(void* context, curl_socket_t item);
  Slist headers(uint64_t timeout_ms) const;
  std::string_view pack(std::string_view body);
  CURLcode transfer(uint64_t deadline_ns, bool& timed_out);
  CURLcode transfer_reusing(uint64_t deadline_ns, bool& timed_out);
  CURLcode transfer_once(uint64_t deadline_ns, bool& timed_out);
  bool wait(uint64_t deadline_ns, curl_waitfd* also = nullptr);
  void cork(bool on);
  void find_cause(CURLcode code, uint64_t deadline_ns);
};

namespace {

size_t on_body(char* data, size_t, size_t size, void* context) {
  auto& body = static_cast<Response*>(context)->body;
  if (size > kMaxResponse - body.size()) return 0;
  body.append(data, size);
  return size;
}

size_t on_header(char* data, size_t, size_t size, void* context) {
  static_cast<Response*>(context)->add_header({data, size});
  return size;
}

}  // namespace

curl_socket_t OtlpClient::State::open_socket(void* context, curlsocktype, curl_sockaddr* address) {
  auto* self = static_cast<State*>(context);
  if (self->reuse_only) {
    self->wanted_socket = true;
    return CURL_SOCKET_BAD;
  }
  self->active = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  return self->active;
}

int OtlpClient::State::close_socket(void* context, curl_socket_t item) {
  auto* self = static_cast<State*>(context);
  if (self->active == item) self->active = CURL_SOCKET_BAD;
  return close(item);
}

// The handles are made by the first send(), on the sending thread, and reused with their
// connection.
bool OtlpClient::State::open() {
  if (easy != nullptr) return true;
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  multi = curl_multi_init();
  easy = curl_easy_init();
  if (multi == nullptr || easy == nullptr) return false;
  const auto set = [this](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };
  set(CURLOPT_URL, endpoint.url.c_str());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // giving up does not wait for a name lookup
  set(CURLOPT_POST, 1L);
  set(CURLOPT_ERRORBUFFER, error);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &response);
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &response);
  set(CURLOPT_OPENSOCKETFUNCTION, &State::open_socket);
  set(CURLOPT_OPENSOCKETDATA, this);
  set(CURLOPT_CLOSESOCKETFUNCTION, &State::close_socket);
  set(CURLOPT_CLOSESOCKETDATA, this);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
  set(CURLOPT_CONNECTTIMEOUT_MS, 0L);  // bounded by the attempt's deadline
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  struct stat file{};
  if (!config.ca_file.empty() && stat(config.ca_file.c_str(), &file) == 0 &&
      S_ISDIR(file.st_mode)) {
    set(CURLOPT_CAPATH, config.ca_file.c_str());
  } else if (!config.ca_file.empty()) {
    set(CURLOPT_CAINFO, config.ca_file.c_str());
  }
  if (!config.client_cert_file.empty()) set(CURLOPT_SSLCERT, config.client_cert_file.c_str());
  if (!config.client_key_file.empty()) set(CURLOPT_SSLKEY, config.client_key_file.c_str());
  if (!endpoint.unix_socket.empty()) {
    set(CURLOPT_UNIX_SOCKET_PATH, endpoint.unix_socket.c_str());
  }
  // Set in any case, because without it libcurl reads the environment.
  const bool direct = loopback(endpoint) || !endpoint.unix_socket.empty();
  set(CURLOPT_PROXY, direct ? "" : config.proxy.c_str());
  set(CURLOPT_NOPROXY, config.no_proxy.c_str());
  if (grpc()) set(CURLOPT_HTTPPROXYTUNNEL, 1L);  // HTTP/2 without TLS passes a proxy only so
  long version = CURL_HTTP_VERSION_1_1;
  if (endpoint.tls) {
    version = CURL_HTTP_VERSION_2TLS;
  } else if (grpc()) {
    version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
  }
  set(CURLOPT_HTTP_VERSION, version);
  return true;
}

Slist OtlpClient::State::headers(uint64_t timeout_ms) const {
  const std::string encoding = config.compression == Compression::kGzip ? "gzip" : "deflate";
  Slist list;
  append(list, "Expect:");  // no 100-continue round trip
  append(list, "User-Agent: OTel-OTLP-Exporter-Nuages/" + config.version);
  if (grpc()) {
    append(list, "Content-Type: application/grpc");
    append(list, "TE: trailers");
    append(list,
           "grpc-timeout: " + std::to_string(std::min<uint64_t>(timeout_ms, 99'999'999)) + "m");
    if (config.compression != Compression::kNone) append(list, "grpc-encoding: " + encoding);
  } else {
    append(list, "Content-Type: application/x-protobuf");
    if (config.compression != Compression::kNone) append(list, "Content-Encoding: " + encoding);
  }
  for (const auto& [name, value] : config.headers) {
    std::string line = name;
    line.append(value.empty() ? ";" : ": ").append(value);
    append(list, line);
  }
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

// The request body: packed if so configured, framed for gRPC. Empty: out of memory.
std::string_view OtlpClient::State::pack(std::string_view body) {
  std::string_view payload = body;
  const bool compress = config.compression != Compression::kNone;
  if (compress) {
    if (!gzip) {
      gzip = std::make_unique<wire::Gzip>(
          config.compression == Compression::kGzip ? wire::Packing::kGzip : wire::Packing::kZlib);
    }
    if (!gzip->compress(body, packed)) return {};
    payload = packed;
  }
  if (!grpc()) return payload;
  frame.resize(wire::kGrpcFrameHeaderSize);
  wire::write_grpc_frame_header(frame.data(), payload.size(), compress);
  frame.append(payload);
  return frame;
}

// Once until the next success: a probe on every retry would only burden a receiver in trouble.
void OtlpClient::State::find_cause(CURLcode code, uint64_t deadline_ns) {
  if (probed || endpoint.tls || !endpoint.unix_socket.empty() || !perhaps_wrong_protocol(code) ||
      (!config.proxy.empty() && !loopback(endpoint))) {
    return;
  }
  probed = true;
  const uint64_t end = std::min(deadline_ns, steady_now() + kProbeTime);
  const Peer peer = probe_peer(multi, endpoint, [&](curl_waitfd* also) { return wait(end, also); });
  diagnosis = explain_peer(peer, endpoint, config);
}

CURLcode OtlpClient::State::transfer_once(uint64_t deadline_ns, bool& timed_out) {
  if (curl_multi_add_handle(multi, easy) != CURLM_OK) return CURLE_FAILED_INIT;
  CURLcode code = CURLE_ABORTED_BY_CALLBACK;
  curl_off_t sent = 0;
  if (connected) cork(true);
  for (;;) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) {
      code = CURLE_FAILED_INIT;
      break;
    }
    // One call sends one HTTP/2 frame or one buffer: while that goes on, polling tells nothing new.
    const curl_off_t before = sent;
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    if (running != 0 && sent > before && steady_now() < deadline_ns) continue;
    cork(false);
    int left = 0;
    if (const CURLMsg* message = curl_multi_info_read(multi, &left);
        message != nullptr && message->msg == CURLMSG_DONE) {
      code = message->data.result;
      break;
    }
    if (!wait(deadline_ns)) {
      timed_out = !interrupted.load(std::memory_order_acquire);
      break;
    }
  }
  cork(false);
  curl_multi_remove_handle(multi, easy);
  return code;
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

Result<std::unique_ptr<OtlpClient>> OtlpClient::create(OtlpClientConfig config) {
  auto endpoint = parse_endpoint(config);
  if (!endpoint.ok()) return endpoint.error();
  for (const auto& [name, value] : config.headers) {
    if (name.empty() || !header_safe(name) || !header_safe(value) ||
        name.find(':') != std::string::npos) {
      return Error{ErrorCode::kInvalid,
                   "the OTLP header \"" + (header_safe(name) ? name : std::string("?")) +
                       "\" has a name or value that HTTP does not allow (a control character, or a "
                       "colon in the name)"};
    }
  }
  auto state = std::make_unique<State>();
  state->config = std::move(config);
  state->endpoint = std::move(*endpoint);
  state->metrics = metrics_url(state->endpoint.url);
  if (!state->open()) {
    return Error{ErrorCode::kUnavailable,
                 "libcurl could not be initialised (out of memory or file descriptors)"};
  }
  return std::unique_ptr<OtlpClient>(new OtlpClient(std::move(state)));
}

OtlpClient::OtlpClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
OtlpClient::~OtlpClient() = default;

const Endpoint& OtlpClient::endpoint() const noexcept { return state_->endpoint; }

void OtlpClient::set_wait_hook(std::function<void(bool waiting)> around_wait) {
  state_->around_wait = std::move(around_wait);
}

void OtlpClient::interrupt() noexcept {
  state_->interrupted.store(true, std::memory_order_release);
  curl_multi_wakeup(state_->multi);
}

void OtlpClient::reset_interrupt() noexcept {
  state_->interrupted.store(false, std::memory_order_release);
}

SendResult OtlpClient::send(std::string_view body, uint64_t deadline_ns, Signal signal) {
  State& s = *state_;
  SendResult result;
  const std::string& url = signal == Signal::kTraces ? s.endpoint.url : s.metrics;
  const uint64_t now = steady_now();
  const uint64_t attempt_end = now + uint64_t{s.config.timeout_ms} * kMillisecond;
  const uint64_t end = std::min(deadline_ns, attempt_end);
  if (s.interrupted.load(std::memory_order_acquire) || now >= end) {
    result.outcome = Outcome::kAborted;
    result.message = "stopped before the request was sent";
    return result;
  }
  if (url.empty()) {
    result.outcome = Outcome::kPermanent;
    result.message = s.endpoint.url + " does not end in /v1/traces: no place for metrics is known";
    return result;
  }
  const std::string_view payload = s.pack(body);
  if (payload.empty() && !body.empty()) {
    result.message = "zlib is out of memory";
    return result;
  }
  const Slist headers = s.headers(std::max<uint64_t>((end - now) / kMillisecond, 1));
  s.response.clear();
  s.error[0] = '\0';
  curl_easy_setopt(s.easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(s.easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(s.easy, CURLOPT_POSTFIELDS, payload.data());
  curl_easy_setopt(s.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(payload.size()));

  bool timed_out = false;
  const CURLcode code = s.transfer(end, timed_out);
  curl_easy_setopt(s.easy, CURLOPT_HTTPHEADER, nullptr);
  result.bytes_sent = payload.size();
  if (timed_out) {
    result.outcome = end == attempt_end ? Outcome::kRetry : Outcome::kAborted;
    result.error_type = "timeout";
    result.message = "no answer from " + s.endpoint.url + " within " +
                     std::to_string((end - now) / kMillisecond) + " ms";
    return result;
  }
  if (s.interrupted.load(std::memory_order_acquire) && code != CURLE_OK) {
    result.outcome = Outcome::kAborted;
    result.message = "no answer from " + s.endpoint.url + " within " +
                     std::to_string((steady_now() - now) / kMillisecond) +
                     " ms, when sending was stopped";
    return result;
  }
  if (code != CURLE_OK) {
    std::string detail = s.error;
    long number = 0;
    if (curl_easy_getinfo(s.easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number != 0 &&
        code == CURLE_COULDNT_CONNECT) {
      detail += ": " + std::generic_category().message(static_cast<int>(number));
    }
    s.find_cause(code, end);
    explain_transport_error(code, detail, s.endpoint, s.config, s.diagnosis, result);
    return result;
  }
  long http_status = 0;
  curl_easy_getinfo(s.easy, CURLINFO_RESPONSE_CODE, &http_status);
  if (s.grpc()) {
    judge_grpc(s.response, static_cast<int>(http_status), s.endpoint, result);
  } else {
    judge_http(s.response, static_cast<int>(http_status), s.endpoint, result);
  }
  if (result.outcome == Outcome::kSuccess) {
    s.probed = false;
    s.diagnosis.clear();
  }
  return result;
}

}  // namespace nuages::net
