#include <algorithm>
#include <cctype>
#include <charconv>
#include <string>
#include <string_view>

#include "net/otlp_client.h"

namespace nuages::net {
namespace {

constexpr std::string_view kGrpcPath =
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
constexpr std::string_view kHttpPath = "v1/traces";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool loopback(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool secret_name(std::string_view header) {
  const std::string name = lower(header);
  return name.find("auth") != std::string::npos || name.find("key") != std::string::npos ||
         name.find("token") != std::string::npos;
}

Error invalid(const OtlpClientConfig& config, std::string_view shown, std::string_view why) {
  const bool grpc = config.protocol == Protocol::kGrpc;
  return {ErrorCode::kInvalid, "the OTLP endpoint \"" + std::string(shown) + "\" " +
                                   std::string(why) + "; write it as " +
                                   (grpc ? "http://host:4317 or https://host:4317"
                                         : "http://host:4318 or https://host:4318")};
}

// unix:/path, unix:///path. The URL's host is only what the Host header says.
Result<Endpoint> unix_endpoint(const OtlpClientConfig& config, std::string_view text) {
  std::string_view path = text.substr(5);
  if (path.starts_with("//")) path.remove_prefix(2);
  if (path.size() < 2 || path[0] != '/') {
    return invalid(config, text, "names no absolute path of a Unix socket (unix:///run/otlp.sock)");
  }
  Endpoint endpoint;
  endpoint.unix_socket = path;
  endpoint.url = "http://localhost";
  endpoint.url +=
      config.protocol == Protocol::kGrpc ? std::string(kGrpcPath) : "/" + std::string(kHttpPath);
  return endpoint;
}

// The authority of a URL in its parts; `why` is set when it cannot be one.
struct Authority {
  std::string_view host;
  unsigned port = 0;
  std::string why;
};

Authority read_authority(std::string_view authority) {
  Authority out;
  std::string_view port;
  out.host = authority;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) {
      out.why = "has no ] behind its IPv6 address";
      return out;
    }
    out.host = authority.substr(1, close - 1);
    const std::string_view behind = authority.substr(close + 1);
    if (!behind.empty() && behind[0] != ':') out.why = "has text between ] and the port";
    if (!behind.empty()) port = behind.substr(1);
  } else if (std::count(authority.begin(), authority.end(), ':') == 1) {
    out.host = authority.substr(0, authority.find(':'));
    port = authority.substr(authority.find(':') + 1);
  }  // more colons: an IPv6 address without brackets and port
  if (!out.why.empty()) return out;
  if (out.host.empty()) {
    out.why = "names no host";
  } else if (!std::all_of(out.host.begin(), out.host.end(), [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == ':' ||
                      c == '%' || c >= 0x80;
             })) {
    out.why = "has a character in its host that no host name has";
  } else if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size() || out.port == 0 ||
        out.port > 65535) {
      out.why = "has the port \"" + std::string(port) + "\", which is not 1 to 65535";
    }
  }
  return out;
}

}  // namespace

Result<Endpoint> parse_endpoint(const OtlpClientConfig& config) {
  const std::string_view text = trim(config.endpoint);
  const bool grpc = config.protocol == Protocol::kGrpc;
  if (text.empty()) return invalid(config, text, "is empty");
  if (lower(text.substr(0, 5)) == "unix:") return unix_endpoint(config, text);

  Endpoint endpoint;
  const auto warn = [&endpoint](const std::string& sentence) {
    if (!endpoint.warning.empty()) endpoint.warning += "; ";
    endpoint.warning += sentence;
  };
  std::string_view rest = text;
  std::string scheme;
  if (const size_t colon = text.find("://"); colon != std::string_view::npos) {
    scheme = lower(text.substr(0, colon));
    rest.remove_prefix(colon + 3);
  }
  const bool has_scheme = !scheme.empty();
  const size_t slash = rest.find_first_of("/?#");
  std::string_view name = rest.substr(0, slash);
  const std::string path(slash == std::string_view::npos ? std::string_view() : rest.substr(slash));
  // Never the text before an @ in a message: it may hold a password.
  if (const size_t at = name.rfind('@'); at != std::string_view::npos) {
    name.remove_prefix(at + 1);
    warn(
        "the user name in the OTLP endpoint is ignored: pass credentials as a header, as in "
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20KEY");
  }
  std::string shown = has_scheme ? scheme + "://" : "";
  shown.append(name).append(path);

  if (scheme == "grpc" || scheme == "grpcs") {
    const std::string meant = scheme == "grpc" ? "http" : "https";
    warn("the OTLP endpoint \"" + shown + "\" is taken as " + meant + "://");
    scheme = meant;
  } else if (has_scheme && scheme != "http" && scheme != "https") {
    return invalid(config, shown,
                   "has the scheme \"" + scheme + "\", which is neither http nor https");
  }
  const Authority authority = read_authority(name);
  if (!authority.why.empty()) return invalid(config, shown, authority.why);
  const std::string_view host = authority.host;
  if (has_scheme) {
    endpoint.tls = scheme == "https";
  } else {
    endpoint.tls = !config.insecure && (grpc || !loopback(host));
  }

  unsigned port = authority.port;
  if (port == 0 && grpc) port = endpoint.tls && has_scheme ? 443 : 4317;
  if (port == 0 && !has_scheme) port = 4318;
  const bool ipv6 = host.find(':') != std::string_view::npos;
  endpoint.url = endpoint.tls ? "https://" : "http://";
  endpoint.url += ipv6 ? "[" + std::string(host) + "]" : std::string(host);
  if (port != 0) endpoint.url += ":" + std::to_string(port);
  endpoint.host = host;
  endpoint.port = static_cast<uint16_t>(port != 0 ? port : (endpoint.tls ? 443 : 80));
  if (grpc) {
    endpoint.url += kGrpcPath;
  } else if (config.endpoint_is_final) {
    endpoint.url += path.empty() ? "/" : path;
  } else {
    endpoint.url += path.empty() ? "/" : path;
    if (!endpoint.url.ends_with('/')) endpoint.url += '/';
    endpoint.url += kHttpPath;
  }

  if (grpc && port == 4318) {
    warn("the OTLP endpoint \"" + shown +
         "\" names port 4318, where OTLP/HTTP usually listens, but the protocol is gRPC: use port "
         "4317 or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf");
  } else if (!grpc && port == 4317) {
    warn("the OTLP endpoint \"" + shown +
         "\" names port 4317, where OTLP/gRPC usually listens, but the protocol is http/protobuf: "
         "use port 4318 or OTEL_EXPORTER_OTLP_PROTOCOL=grpc");
  } else if (grpc && path.find("v1/traces") != std::string::npos) {
    warn("the path of the OTLP endpoint \"" + shown +
         "\" is ignored, because OTLP/gRPC has none: for OTLP/HTTP set "
         "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf");
  } else if (!grpc && config.endpoint_is_final && (path.empty() || path == "/")) {
    warn("the OTLP endpoint \"" + shown +
         "\" has no path and an endpoint for traces is used as it is: add /v1/traces, or set "
         "OTEL_EXPORTER_OTLP_ENDPOINT instead");
  }
  if (config.insecure && has_scheme && endpoint.tls) {
    warn("insecure=True is ignored: the endpoint says https");
  }
  if (!endpoint.tls && !loopback(host)) {
    const auto secret = std::find_if(config.headers.begin(), config.headers.end(),
                                     [](const auto& header) { return secret_name(header.first); });
    if (secret != config.headers.end()) {
      warn("the header \"" + secret->first + "\" travels unencrypted to " + std::string(host) +
           ": use an https endpoint");
    }
  }
  return endpoint;
}

}  // namespace nuages::net
