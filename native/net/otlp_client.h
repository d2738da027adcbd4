// OtlpClient: sends OTLP trace requests by libcurl, as gRPC over HTTP/2 or as HTTP protobuf.
//
// One client is used by one thread (the exporter's); only interrupt() may come from another. send()
// makes one attempt and says how it went; retrying is the caller's business. No gRPC library: the
// call is a POST with prior knowledge (http) or ALPN (https), `te: trailers`, a 5-byte frame, and
// grpc-status read from headers and trailers. Header values never appear in messages or logs.
// Source: opentelemetry-proto specification, gRPC over HTTP/2.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace nuages::net {

enum class Protocol : uint8_t { kGrpc, kHttpProtobuf };
enum class Compression : uint8_t { kNone, kGzip, kDeflate };
enum class Signal : uint8_t { kTraces, kMetrics, kLogs };

struct OtlpClientConfig {
  std::string endpoint = "http://localhost:4317";
  Protocol protocol = Protocol::kGrpc;
  bool insecure = false;           // for endpoints without a scheme; an explicit scheme wins
  bool endpoint_is_final = false;  // HTTP: use the path as it is, do not append v1/traces
  std::vector<std::pair<std::string, std::string>> headers;
  uint32_t timeout_ms = 10'000;  // one attempt
  Compression compression = Compression::kNone;
  std::string ca_file;           // PEM, or a directory of them; empty: libcurl's default
  std::string client_cert_file;  // PEM
  std::string client_key_file;
  // A URL as libcurl takes it, or empty. The environment is not read here: the exporter's thread
  // must not race with the application's setenv(). Loopback and Unix sockets need no proxy.
  std::string proxy;
  std::string no_proxy;
  std::string version = "0";  // for the User-Agent
};

struct Endpoint {
  std::string url;          // complete, as given to libcurl
  std::string unix_socket;  // path, when the receiver listens there
  std::string host;         // without brackets
  uint16_t port = 0;
  bool tls = false;
  std::string warning;  // one sentence when something looks wrong but can be tried; else empty
};

// Understands "host", "host:port", "http(s)://host[:port][/path]", bare and bracketed IPv6 and
// "unix:///path". A user name is left out, and never repeated in a message.
Result<Endpoint> parse_endpoint(const OtlpClientConfig& config);

enum class Outcome : uint8_t {
  kSuccess,
  kRetry,      // may work later
  kPermanent,  // the same request will fail again
  kAborted,    // interrupt() or the deadline
};

struct SendResult {
  Outcome outcome = Outcome::kRetry;
  uint64_t retry_after_ms = 0;  // RetryInfo or Retry-After; 0: not given
  uint64_t rejected_spans = 0;  // partial success
  std::string message;          // error, or the receiver's partial success message
  std::string error_type;       // for metrics: "UNAVAILABLE", "503", "timeout"; empty: success
  uint64_t bytes_sent = 0;
};

class OtlpClient {
 public:
  // Makes the handles; no connection yet. Call it in the process and on the thread that will send.
  static Result<std::unique_ptr<OtlpClient>> create(OtlpClientConfig config);
  ~OtlpClient();

  // One attempt. `deadline_ns` is steady_now() time and bounds config.timeout_ms further. `body` is
  // an encoded Export...ServiceRequest and must stay alive during the call.
  SendResult send(std::string_view body, uint64_t deadline_ns, Signal signal = Signal::kTraces);

  // From any thread: makes the running and every later send() return kAborted until reset().
  void interrupt() noexcept;
  void reset_interrupt() noexcept;

  // `around_wait` brackets each wait in poll(2): called with true before and false after.
  void set_wait_hook(std::function<void(bool waiting)> around_wait);
  const Endpoint& endpoint() const noexcept;

 private:
  struct State;
  explicit OtlpClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nuages::net
