#include "server/tls.h"

#include <openssl/ssl.h>
#include <sys/stat.h>

#include <cstring>
#include <string_view>
#include <tuple>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::server {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

constexpr uint64_t kLookEveryNs = 1'000'000'000;

// gRPC is HTTP/2 and offers h2; browsers offer that too, but the other ports speak HTTP/1.1 only.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned int size, void* protocol) {
  const std::string_view wanted(static_cast<const char*>(protocol));
  for (unsigned int at = 0; at < size; at += 1U + offered[at]) {
    const std::string_view name(reinterpret_cast<const char*>(offered) + at + 1, offered[at]);
    if (name != wanted) continue;
    *out = offered + at + 1;
    *out_size = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

std::array<int64_t, 9> Tls::versions() const {
  std::array<int64_t, 9> out{};
  size_t at = 0;
  for (const std::string* file : {&files_.certificate, &files_.key, &files_.client_ca}) {
    struct stat found{};
    if (!file->empty()) std::ignore = ::stat(file->c_str(), &found);
    out[at++] = static_cast<int64_t>(found.st_ino);
    out[at++] = found.st_mtim.tv_sec;
    out[at++] = found.st_mtim.tv_nsec;
  }
  return out;
}

Result<Tls::Context> Tls::load() const {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  error_code error;
  std::string failed;
  const auto step = [&](const std::string& what, const error_code& result) {
    if (failed.empty() && result) failed = what + ": " + result.message();
  };
  std::ignore = context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                                         ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                                         ssl::context::no_tlsv1_1,
                                     error);
  step("TLS", error);
  std::ignore = context->use_certificate_chain_file(files_.certificate, error);
  step("--tls-cert=" + files_.certificate, error);
  std::ignore = context->use_private_key_file(files_.key, ssl::context::pem, error);
  step("--tls-key=" + files_.key, error);
  if (failed.empty() && SSL_CTX_check_private_key(context->native_handle()) != 1) {
    failed = "--tls-key=" + files_.key + ": not the key of the certificate " + files_.certificate;
  }
  if (!files_.client_ca.empty()) {
    std::ignore = context->load_verify_file(files_.client_ca, error);
    step("--tls-client-ca=" + files_.client_ca, error);
    std::ignore =
        context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
    step("--tls-client-ca", error);
  }
  SSL_CTX_set_alpn_select_cb(context->native_handle(), &choose_protocol,
                             const_cast<char*>(protocol_));
  if (failed.empty()) return context;
  return Error{ErrorCode::kInvalid, failed};
}

Result<std::unique_ptr<Tls>> Tls::open(const TlsFiles& files, const char* protocol) {
  std::unique_ptr<Tls> tls(new Tls(files, protocol));
  tls->versions_ = tls->versions();
  auto context = tls->load();
  if (!context.ok()) return context.error();
  tls->context_ = std::move(context).value();
  return tls;
}

Tls::Context Tls::context() {
  const std::lock_guard lock(mutex_);
  const uint64_t now = steady_now();
  if (looked_ns_ != 0 && now - looked_ns_ < kLookEveryNs) return context_;
  looked_ns_ = now;
  const auto found = versions();
  if (found == versions_) return context_;
  versions_ = found;
  auto fresh = load();
  if (fresh.ok()) {
    context_ = std::move(fresh).value();
    log(LogLevel::kInfo, "tls", "the certificate was read again");
  } else {
    log(LogLevel::kError, "tls", "the former certificate stays: " + fresh.error().message);
  }
  return context_;
}

}  // namespace nuages::server
