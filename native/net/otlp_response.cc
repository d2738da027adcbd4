#include "net/otlp_response.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ctime>

#include "wire/grpc_frame.h"
#include "wire/protobuf_reader.h"

namespace nuages::net {
namespace {

using wire::GrpcStatus;

constexpr size_t kMaxMessage = 512;  // of a receiver's text inside ours

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool same_name(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(), [](unsigned char x, char y) {
           return static_cast<char>(std::tolower(x)) == y;
         });
}

// A receiver's words for our log: one line, bounded, printable.
std::string quote(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMaxMessage)) {
    out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c);
  }
  return out;
}

// ExportTraceServiceResponse. False: not that message.
bool read_partial_success(std::string_view body, SendResult& result) {
  wire::ProtobufReader response(body);
  while (response.next()) {
    if (!response.is(1, wire::WireType::kLength)) {
      response.skip();
      continue;
    }
    wire::ProtobufReader partial(response.bytes());
    while (partial.next()) {
      if (partial.is(1, wire::WireType::kVarint)) {
        const auto rejected = static_cast<int64_t>(partial.varint());
        result.rejected_spans = static_cast<uint64_t>(std::max<int64_t>(rejected, 0));
      } else if (partial.is(2, wire::WireType::kLength)) {
        result.message = quote(partial.bytes());
      } else {
        partial.skip();
      }
    }
    if (!partial.ok()) return false;
  }
  return response.ok();
}

bool retryable(GrpcStatus status, bool has_retry_info) {
  switch (status) {
    case GrpcStatus::kCancelled:
    case GrpcStatus::kDeadlineExceeded:
    case GrpcStatus::kAborted:
    case GrpcStatus::kOutOfRange:
    case GrpcStatus::kUnavailable:
    case GrpcStatus::kDataLoss:
      return true;
    case GrpcStatus::kResourceExhausted:
      return has_retry_info;
    default:
      return false;
  }
}

std::string hint(GrpcStatus status) {
  switch (status) {
    case GrpcStatus::kUnauthenticated:
    case GrpcStatus::kPermissionDenied:
      return "; check the key in OTEL_EXPORTER_OTLP_HEADERS";
    case GrpcStatus::kUnimplemented:
      return "; is this an OTLP/gRPC receiver for traces (usually port 4317)?";
    default:
      return "";
  }
}

}  // namespace

void Response::clear() {
  body.clear();
  grpc_status.clear();
  grpc_message.clear();
  grpc_details.clear();
  retry_after.clear();
  content_type.clear();
  lines = 0;
}

void Response::add_header(std::string_view line) {
  ++lines;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (same_name(name, "grpc-status")) {
    grpc_status = value;
  } else if (same_name(name, "grpc-message")) {
    grpc_message = value;
  } else if (same_name(name, "grpc-status-details-bin")) {
    grpc_details = value;
  } else if (same_name(name, "retry-after")) {
    retry_after = value;
  } else if (same_name(name, "content-type")) {
    content_type = value;
  }
}

void judge_grpc(const Response& response, int http_status, const Endpoint& endpoint,
                SendResult& result) {
  // A connection that ends in the middle of an answer (GOAWAY, a restart) may cost the trailers. A
  // receiver writes its message only when all is well; without one nothing is known.
  const bool cut = response.grpc_status.empty() && http_status == 200 &&
                   response.content_type.starts_with("application/grpc");
  const bool complete = cut && wire::read_grpc_frame(response.body).has_value();
  if (cut && !complete) {
    result.outcome = Outcome::kRetry;
    result.error_type = "connection_error";
    result.message = "the answer of " + endpoint.url + " was cut off";
    return;
  }
  if (response.grpc_status.empty() && !complete) {
    const GrpcStatus status = wire::grpc_status_from_http(http_status);
    result.error_type = std::to_string(http_status);
    result.outcome =
        http_status != 200 && retryable(status, false) ? Outcome::kRetry : Outcome::kPermanent;
    result.retry_after_ms = retry_after_ms(response.retry_after, std::time(nullptr));
    result.message = endpoint.url + " answered HTTP " + std::to_string(http_status) +
                     " without a gRPC status; is this an OTLP/gRPC receiver (usually port 4317)?";
    return;
  }
  const GrpcStatus status =
      complete ? GrpcStatus::kOk : wire::grpc_status_from_text(response.grpc_status);
  if (status == GrpcStatus::kOk) {
    result.outcome = Outcome::kSuccess;
    const auto frame = wire::read_grpc_frame(response.body);
    // An empty or strange body behind status 0 is still an acknowledgement.
    if (frame && !frame->compressed && !read_partial_success(frame->message, result)) {
      result.message = "the receiver's response was not understood";
    }
    return;
  }
  result.error_type = wire::grpc_status_name(status);
  if (!response.grpc_details.empty()) {
    if (const auto details = wire::base64_decode(response.grpc_details)) {
      if (const auto delay = wire::retry_delay_ms(*details)) {
        result.retry_after_ms = std::max<uint64_t>(*delay, 1);
      }
    }
  }
  result.outcome =
      retryable(status, result.retry_after_ms != 0) ? Outcome::kRetry : Outcome::kPermanent;
  result.message = endpoint.url + " answered " + std::string(wire::grpc_status_name(status));
  if (!response.grpc_message.empty()) {
    result.message += ": " + quote(wire::percent_decode(response.grpc_message));
  }
  result.message += hint(status);
}

void judge_http(const Response& response, int http_status, const Endpoint& endpoint,
                SendResult& result) {
  if (http_status >= 200 && http_status < 300) {
    result.outcome = Outcome::kSuccess;
    const bool protobuf = response.content_type.starts_with("application/x-protobuf");
    if (protobuf && !read_partial_success(response.body, result)) {
      result.message = "the receiver's response was not understood";
    }
    if (response.content_type.starts_with("text/html")) {
      result.message = endpoint.url +
                       " answered with text/html: is this an OTLP/HTTP receiver (usually port "
                       "4318)? The spans may be lost";
    }
    return;
  }
  result.error_type = std::to_string(http_status);
  const bool retry =
      http_status == 429 || http_status == 502 || http_status == 503 || http_status == 504;
  result.outcome = retry ? Outcome::kRetry : Outcome::kPermanent;
  if (retry) result.retry_after_ms = retry_after_ms(response.retry_after, std::time(nullptr));
  result.message = endpoint.url + " answered HTTP " + std::to_string(http_status);
  if (http_status == 401 || http_status == 403) {
    result.message += "; check the key in OTEL_EXPORTER_OTLP_HEADERS";
  } else if (http_status == 404) {
    result.message += "; is this an OTLP/HTTP receiver (usually port 4318)?";
  }
}

void explain_transport_error(int curl_code, std::string_view detail, const Endpoint& endpoint,
                             const OtlpClientConfig& config, std::string_view diagnosis,
                             SendResult& result) {
  const std::string where = endpoint.unix_socket.empty() ? endpoint.url : endpoint.unix_socket;
  result.outcome = Outcome::kRetry;
  const bool tls = curl_code == CURLE_PEER_FAILED_VERIFICATION ||
                   curl_code == CURLE_SSL_CONNECT_ERROR || curl_code == CURLE_SSL_CERTPROBLEM ||
                   curl_code == CURLE_SSL_CACERT_BADFILE;
  result.error_type = tls ? "tls_error" : "connection_error";
  if (!diagnosis.empty()) {
    result.message = "cannot send to " + where + ": " + std::string(diagnosis);
    return;
  }
  std::string why =
      quote(detail.empty() ? std::string_view(curl_easy_strerror(static_cast<CURLcode>(curl_code)))
                           : detail);
  result.message = "cannot send to " + where + ": " + why;
  const auto add = [&](std::string_view hint) { result.message.append("; ").append(hint); };
  switch (curl_code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      add(why.find("subject name") != std::string::npos
              ? "the receiver's certificate is for another name: use the name it holds"
              : "set OTEL_EXPORTER_OTLP_CERTIFICATE to the authority's PEM file");
      break;
    case CURLE_SSL_CACERT_BADFILE:
      result.outcome = Outcome::kPermanent;
      add("OTEL_EXPORTER_OTLP_CERTIFICATE must name a PEM file with the authority's certificate");
      break;
    case CURLE_SSL_CERTPROBLEM:
      result.outcome = Outcome::kPermanent;
      add("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY must name a "
          "certificate and its key as PEM files");
      break;
    case CURLE_SSL_CIPHER:
    case CURLE_URL_MALFORMAT:
    case CURLE_WRITE_ERROR:  // an answer above the limit
      result.outcome = Outcome::kPermanent;
      break;
    case CURLE_SSL_CONNECT_ERROR:
      // OpenSSL's words for an answer in plaintext, and for a server that wants our certificate.
      if (why.find("wrong version number") != std::string::npos ||
          why.find("packet length too long") != std::string::npos ||
          why.find("http request") != std::string::npos) {
        add("the receiver does not speak TLS: write the endpoint as http://" + endpoint.host + ":" +
            std::to_string(endpoint.port));
      } else {
        add("if the receiver does not speak TLS, use an http:// endpoint");
      }
      break;
    case CURLE_COULDNT_CONNECT:
      if (why.find("refused") != std::string::npos) {
        add("nobody listens there: start the receiver or correct OTEL_EXPORTER_OTLP_ENDPOINT");
      }
      break;
    case CURLE_COULDNT_RESOLVE_PROXY:
      add("check http_proxy, https_proxy and no_proxy");
      break;
    default:
      if (why.find("CONNECT") != std::string::npos) {
        add("the proxy refused: check http_proxy, https_proxy and no_proxy");
      } else if (why.find("certificate required") != std::string::npos ||
                 why.find("handshake failure") != std::string::npos ||
                 why.find("bad certificate") != std::string::npos) {
        add("the receiver wants a client certificate it knows: set "
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY");
      } else if (endpoint.tls && config.client_cert_file.empty() &&
                 (curl_code == CURLE_HTTP2 || curl_code == CURLE_HTTP2_STREAM ||
                  curl_code == CURLE_RECV_ERROR || curl_code == CURLE_SEND_ERROR ||
                  curl_code == CURLE_COULDNT_CONNECT || curl_code == CURLE_GOT_NOTHING ||
                  curl_code == CURLE_PARTIAL_FILE) &&
                 why.find("refused") == std::string::npos) {
        add("the connection was cut: a receiver that wants a client certificate does so; set "
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY");
      } else if (curl_code == CURLE_HTTP2 && config.protocol == Protocol::kGrpc) {
        add("gRPC needs a receiver that speaks HTTP/2 there (usually port 4317), over TLS only "
            "with an https:// endpoint");
      }
      break;
  }
}

uint64_t retry_after_ms(const std::string& header, int64_t unix_now) {
  constexpr uint64_t kMaxSeconds = 1'000'000;
  if (header.empty()) return 0;
  uint64_t seconds = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), seconds);
  if (error == std::errc() && end == header.data() + header.size()) {
    return std::min(seconds, kMaxSeconds) * 1000;
  }
  const int64_t when = curl_getdate(header.c_str(), nullptr);
  if (when <= unix_now) return 0;
  return std::min(static_cast<uint64_t>(when - unix_now), kMaxSeconds) * 1000;
}

}  // namespace nuages::net
