// The gRPC methods of the server: Export of the three OTLP services and the health check; names it
// does not know get a clear refusal.
//
// handle() decompresses and validates on the calling (network) thread; the reply comes when the
// request is on the disk. Thread-safe.
// Source: opentelemetry-proto collector/*; grpc/health/v1/health.proto.
#pragma once

#include "server/grpc_session.h"
#include "server/intake.h"

namespace nuages::server {

class GrpcService {
 public:
  GrpcService(Intake& intake, size_t max_message_bytes)
      : intake_(intake), max_message_bytes_(max_message_bytes) {}

  void handle(GrpcCall call, const GrpcOptions::Done& done);

 private:
  Result<std::string> body_of(GrpcCall& call) const;

  Intake& intake_;
  const size_t max_message_bytes_;
};

}  // namespace nuages::server
