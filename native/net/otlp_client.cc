#include "net/otlp_client.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <system_error>

#include "base/clock.h"
#include "net/client_state.h"
#include "net/peer_probe.h"

namespace nuages::net {
namespace {

constexpr size_t kMaxResponse = 4U << 20;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr long kSendBuffer = 256L << 10;
constexpr uint64_t kProbeTime = 500 * kMillisecond;

bool header_safe(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

// Errors that a peer of another protocol causes, and much else besides.
bool perhaps_wrong_protocol(CURLcode code) {
  return connection_lost(code) || code == CURLE_WEIRD_SERVER_REPLY ||
         code == CURLE_UNSUPPORTED_PROTOCOL;
}

// Where another signal goes, from where traces go; empty when that does not tell.
std::string signal_url(const std::string& traces_url, Signal signal) {
  const bool logs = signal == Signal::kLogs;
  const auto replace_end = [&](std::string_view end, std::string_view by) {
    return traces_url.substr(0, traces_url.size() - end.size()).append(by);
  };
  constexpr std::string_view kGrpcEnd = "trace.v1.TraceService/Export";
  constexpr std::string_view kHttpEnd = "/v1/traces";
  if (traces_url.ends_with(kGrpcEnd)) {
    return replace_end(kGrpcEnd,
                       logs ? "logs.v1.LogsService/Export" : "metrics.v1.MetricsService/Export");
  }
  if (!traces_url.ends_with(kHttpEnd)) return {};
  return replace_end(kHttpEnd, logs ? "/v1/logs" : "/v1/metrics");
}

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

bool OtlpClient::State::loopback() const {
  return endpoint.host == "localhost" || endpoint.host == "::1" ||
         endpoint.host.starts_with("127.");
}

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
  return self->kept == item ? 0 : close(item);
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
  set(CURLOPT_PROXY, direct() ? "" : config.proxy.c_str());
  set(CURLOPT_NOPROXY, config.no_proxy.c_str());
  if (grpc()) set(CURLOPT_HTTPPROXYTUNNEL, 1L);  // HTTP/2 without TLS passes a proxy only so
  long version = CURL_HTTP_VERSION_1_1;
  if (endpoint.tls) {
    version = CURL_HTTP_VERSION_2TLS;
  } else if (grpc()) {
    version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
  }
  set(CURLOPT_HTTP_VERSION, version);
  if (speaks_h2()) set(CURLOPT_CONNECT_ONLY, 1L);
  return true;
}

// Once until the next success: a probe on every retry would only burden a receiver in trouble.
void OtlpClient::State::find_cause(CURLcode code, uint64_t deadline_ns) {
  if (probed || endpoint.tls || !endpoint.unix_socket.empty() || !perhaps_wrong_protocol(code) ||
      (!config.proxy.empty() && !loopback())) {
    return;
  }
  probed = true;
  const uint64_t end = std::min(deadline_ns, steady_now() + kProbeTime);
  const Peer peer = probe_peer(multi, endpoint, [&](curl_waitfd* also) { return wait(end, also); });
  diagnosis = explain_peer(peer, endpoint, config);
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
  state->metrics = signal_url(state->endpoint.url, Signal::kMetrics);
  state->logs = signal_url(state->endpoint.url, Signal::kLogs);
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
  const std::string& url = signal == Signal::kTraces ? s.endpoint.url
                           : signal == Signal::kLogs ? s.logs
                                                     : s.metrics;
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
    result.message = s.endpoint.url + " does not end in /v1/traces: no place for " +
                     (signal == Signal::kLogs ? "logs" : "metrics") + " is known";
    return result;
  }
  const std::string_view payload = s.pack(body);
  if (payload.empty() && !body.empty()) {
    result.message = "zlib is out of memory";
    return result;
  }
  s.response.clear();
  s.error[0] = '\0';
  const uint64_t timeout_ms = std::max<uint64_t>((end - now) / kMillisecond, 1);
  bool timed_out = false;
  const CURLcode code = s.speaks_h2() ? s.post_h2(url, payload, timeout_ms, end, timed_out)
                                      : s.post(url, payload, timeout_ms, end, timed_out);
  result.bytes_sent = payload.size() + (s.grpc() ? wire::kGrpcFrameHeaderSize : 0);
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
  if (s.grpc()) {
    judge_grpc(s.response, s.http_status, s.endpoint, result);
  } else {
    judge_http(s.response, s.http_status, s.endpoint, result);
  }
  if (result.outcome == Outcome::kSuccess) {
    s.probed = false;
    s.diagnosis.clear();
  }
  return result;
}

}  // namespace nuages::net
