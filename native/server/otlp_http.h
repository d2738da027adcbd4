// OTLP over HTTP: POST /v1/traces, /v1/logs and /v1/metrics with protobuf or JSON, as port 4318
// serves it.
//
// The answer has the request's format. Errors are google.rpc.Status with the HTTP status that the
// OTLP specification maps them to; retryable ones carry Retry-After. JSON becomes protobuf here, so
// the same spans are the same bytes behind, repeats included. Thread-safe.
#pragma once

#include "server/http_session.h"
#include "server/intake.h"

namespace nuages::server {

class OtlpHttp final : public HttpService {
 public:
  OtlpHttp(Intake& intake, size_t max_body_bytes)
      : intake_(intake), max_body_bytes_(max_body_bytes) {}

  void handle(Request request, Done done) override;
  Response error(int status, const std::string& message,
                 std::string_view request_type) const override;

 private:
  Intake& intake_;
  const size_t max_body_bytes_;
};

}  // namespace nuages::server
