// The gRPC methods of the server: TraceService/Export, the health check, and clear refusals for the
// other OTLP signals and for names it does not know.
//
// handle() decompresses and validates on the calling (network) thread; the reply comes when the
// request is on the disk. Thread-safe.
#pragma once

#include "server/grpc_session.h"
#include "store/ingest.h"

namespace nuages::server {

class GrpcService {
 public:
  GrpcService(store::Ingest& ingest, size_t max_message_bytes)
      : ingest_(ingest), max_message_bytes_(max_message_bytes) {}

  void handle(GrpcCall call, const GrpcOptions::Done& done);

 private:
  Result<std::string> body_of(GrpcCall& call) const;

  store::Ingest& ingest_;
  const size_t max_message_bytes_;
};

}  // namespace nuages::server
