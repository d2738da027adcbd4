#include "server/host_guard.h"

#include <string_view>

#include "server/options.h"

namespace nuages::server {
namespace {

std::string_view host_part(std::string_view authority) {
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    return end == std::string_view::npos ? authority : authority.substr(1, end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

bool loopback_origin(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.starts_with(scheme))
      return is_loopback_host(host_part(origin.substr(scheme.size())));
  }
  return false;
}

}  // namespace

std::optional<std::string> refuse_foreign(const Request& request) {
  const auto& headers = request.headers;
  for (const char* name :
       {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}) {
    if (headers.contains(name)) {
      return std::string("the request came through a proxy (header ") + name +
             "): this address is open without a key for this machine only; start the server with "
             "--allow-remote if the proxy's network is trusted";
    }
  }
  if (const auto host = headers.find("host"); host != headers.end()) {
    if (!is_loopback_host(host_part(host->second))) {
      return "Host \"" + host->second +
             "\" is not a loopback name: use localhost or 127.0.0.1, or start the server with "
             "--allow-remote";
    }
  }
  if (const auto origin = headers.find("origin"); origin != headers.end()) {
    if (!loopback_origin(origin->second)) {
      return "Origin \"" + origin->second +
             "\" is not on this machine: pages of other sites may not use this address";
    }
  }
  return {};
}

}  // namespace nuages::server
