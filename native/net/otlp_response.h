// What an OTLP receiver's answer means: success, try again (when), or never.
//
// Inside net only. Pure functions over the collected answer; messages name the endpoint and never a
// header value. Source: opentelemetry-proto docs/specification.md (failures, throttling, partial
// success); gRPC status handling as in wire/grpc_frame.h.
#pragma once

#include <string>
#include <string_view>

#include "net/otlp_client.h"

namespace nuages::net {

struct Response {
  std::string body;
  std::string grpc_status;
  std::string grpc_message;
  std::string grpc_details;  // grpc-status-details-bin, base64
  std::string retry_after;
  std::string content_type;
  unsigned lines = 0;  // header lines so far

  void clear();
  bool untouched() const { return lines == 0 && body.empty(); }
  // One line as libcurl hands it out, from the header block or the trailers.
  void add_header(std::string_view line);
};

// Fill outcome, message, retry_after_ms and rejected_spans of `result`.
void judge_grpc(const Response& response, int http_status, const Endpoint& endpoint,
                SendResult& result);
void judge_http(const Response& response, int http_status, const Endpoint& endpoint,
                SendResult& result);
// `curl_code` is a CURLcode other than CURLE_OK, `detail` libcurl's error text, perhaps empty,
// `diagnosis` what a look at the port told, perhaps empty.
void explain_transport_error(int curl_code, std::string_view detail, const Endpoint& endpoint,
                             const OtlpClientConfig& config, std::string_view diagnosis,
                             SendResult& result);

// Retry-After as seconds or an HTTP date, in milliseconds from `unix_now`; 0 when unusable.
uint64_t retry_after_ms(const std::string& header, int64_t unix_now);

}  // namespace nuages::net
