// One HTTP/2 connection of the exporter in clear text: one POST at a time, its body sent from where
// it lies.
//
// libcurl opens the connection and hands over its socket (OtlpClient). It would also send the
// request, but copies each body three times and asks the kernel some twenty things for each; this
// does one sendmsg, one wait and one read for a usual batch, which halves the cost of sending
// (docs/design/export.md). nghttp2 keeps the protocol: header compression, flow control, SETTINGS,
// PING, GOAWAY.
//
//   H2Connection h2(std::move(socket));
//   h2.begin(request, response);
//   while (h2.proceed() == H2Connection::Progress::kWaiting) poll(h2.socket(), h2.events());
//
// Never blocks. After kLost the connection is of no use any more; an abandoned request (deadline)
// ends with the connection, too. One thread. Source: RFC 9113; nghttp2.org/documentation.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/otlp_response.h"

struct nghttp2_session;

namespace nuages::net {

class H2Connection {
 public:
  enum class Progress : uint8_t {
    kWaiting,  // for events() on the socket
    kDone,     // `response` and status() hold the answer
    kReset,    // the receiver refused this request; the connection goes on
    kLost,     // closed, broken, or not HTTP/2: detail() says which
  };

  struct Request {
    std::string_view authority;
    std::string_view path;
    std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
    std::string_view prefix;                                   // the body is prefix and payload
    std::string_view payload;
  };

  explicit H2Connection(int socket);  // connected and non-blocking; closed at the end
  ~H2Connection();
  H2Connection(const H2Connection&) = delete;
  H2Connection& operator=(const H2Connection&) = delete;

  // Can take a request. Reads what has come meanwhile: a GOAWAY, the end.
  bool usable();
  // `request` and `response` stay alive until the request has ended. False: out of memory.
  bool begin(const Request& request, Response& response);
  Progress proceed();

  int socket() const noexcept { return socket_; }
  short events() const noexcept;  // for poll(2)
  int status() const noexcept { return status_; }
  // The receiver spoke HTTP/2, so what is there is no other server.
  bool spoke_http2() const noexcept { return settled_; }
  bool answer_too_large() const noexcept { return too_large_; }
  const std::string& detail() const noexcept { return detail_; }

 private:
  struct Callbacks;  // nghttp2's
  // What is to be written: a piece of `frames_` (by offset, because it grows) or of the body.
  struct Part {
    const char* body;  // nullptr: in frames_
    size_t offset;
    size_t size;
  };

  bool send();
  bool flush();
  bool receive();
  Progress lost(std::string_view why);
  bool unsent() const noexcept { return next_part_ < parts_.size(); }

  int socket_;
  nghttp2_session* session_ = nullptr;
  const Request* request_ = nullptr;
  Response* response_ = nullptr;
  size_t body_sent_ = 0;  // handed to nghttp2
  int32_t stream_ = -1;
  int status_ = 0;
  uint32_t reset_code_ = 0;
  bool stream_closed_ = false;
  bool settled_ = false;
  bool going_away_ = false;
  bool dead_ = false;
  bool begun_ = false;  // nothing of the request was sent yet
  bool too_large_ = false;
  std::string detail_;
  std::string frames_;  // frame headers and whole small frames
  std::vector<Part> parts_;
  size_t next_part_ = 0;
  std::vector<iovec> vectors_;
};

}  // namespace nuages::net
