// OTLP over HTTP: POST /v1/traces with protobuf, as port 4318 serves it.
//
// Errors are google.rpc.Status in protobuf with the HTTP status that the OTLP specification maps
// them to; retryable ones carry Retry-After. Metrics, logs and OTLP/JSON are refused with a message
// that names the exporter setting to change. Thread-safe.
#pragma once

#include "server/http_session.h"
#include "store/ingest.h"

namespace nuages::server {

class OtlpHttp final : public HttpService {
 public:
  explicit OtlpHttp(store::Ingest& ingest) : ingest_(ingest) {}

  void handle(Request request, Done done) override;
  Response error(int status, const std::string& message) const override;

 private:
  store::Ingest& ingest_;
};

}  // namespace nuages::server
