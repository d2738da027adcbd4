// The server's certificate: read at the start, and again when its files change.
//
// A connection keeps the context it began with, so a renewed certificate costs nobody a connection.
// Files that do not load later (half written, mismatched) change nothing and are logged; at the
// start they are an Error that names them. TLS 1.2 and 1.3. Thread-safe; cost: a stat per second.
#pragma once

#include <array>
#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"

namespace nuages::server {

struct TlsFiles {
  std::string certificate;  // PEM, with its chain
  std::string key;          // PEM
  std::string client_ca;    // PEM; when given, clients must show a certificate of it
};

class Tls {
 public:
  using Context = std::shared_ptr<boost::asio::ssl::context>;

  // `protocol` is what the port speaks, a literal: "h2" or "http/1.1".
  static Result<std::unique_ptr<Tls>> open(const TlsFiles& files, const char* protocol);
  // For a new connection.
  Context context();

 private:
  Tls(const TlsFiles& files, const char* protocol) : files_(files), protocol_(protocol) {}
  Result<Context> load() const;
  std::array<int64_t, 9> versions() const;

  const TlsFiles files_;
  const char* const protocol_;
  std::mutex mutex_;
  Context context_;
  std::array<int64_t, 9> versions_{};
  uint64_t looked_ns_ = 0;
};

}  // namespace nuages::server
