// The JSON API: every route below /api/v1, /healthz, /readyz and /metrics, as a function from
// Request to Response.
//
// docs/openapi.yaml describes the routes; a test compares both. handle() may be called by any
// number of threads and blocks on SQL, so call it on a worker, not on a network thread. It never
// throws: what goes wrong becomes {"error":{"code","message"}}. The store, the recent spans and
// whatever the status function uses must outlive the Api.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "server/http_types.h"
#include "store/backup.h"
#include "store/check.h"
#include "store/erasure.h"
#include "store/recent_spans.h"
#include "store/store.h"

namespace nuages::server {

// What GET /api/v1/status tells; the program fills it at each call.
struct ServerStatus {
  std::string version;
  std::string store_kind = "chdb";
  std::string store_version;
  bool store_ready = false;
  std::string store_error;  // why it is not ready
  uint64_t received_spans = 0;
  uint64_t rejected_spans = 0;
  uint64_t repeated_spans = 0;
  uint64_t dropped_log_records = 0;  // taken and kept by nothing
  uint64_t dropped_data_points = 0;
  uint64_t inserted_spans = 0;
  uint64_t waiting_blocks = 0;
  uint64_t split_blocks = 0;
  uint64_t quarantined_blocks = 0;
  uint64_t store_bytes = 0;
  uint64_t dropped_partitions = 0;  // by retention
  uint64_t disk_free_bytes = 0;
  uint64_t disk_full_seconds = 0;  // at the growth of the last hour; 0: not in sight
  uint64_t wal_segments = 0;
  uint64_t wal_bytes = 0;
  uint64_t start_time_ns = 0;  // Unix nanoseconds
};

struct ApiOptions {
  std::function<ServerStatus()> status;        // required
  const store::RecentSpans* recent = nullptr;  // optional: spans not yet inserted
  // Optional: what administrators may do, and metrics of other parts in Prometheus' text form.
  std::function<Result<store::EraseReport>(const store::EraseRequest&)> erase = {};
  std::function<Result<store::Manifest>(const std::string& folder)> backup = {};
  std::function<std::vector<std::string>()> backups = {};
  std::function<Result<store::CheckReport>(bool repair)> check = {};
  std::function<std::string()> more_metrics = {};
};

class Api {
 public:
  Api(store::Store& store, ApiOptions options);

  Response handle(const Request& request) const;

  // {"GET", "/api/v1/traces/{trace_id}"}, ...: all routes.
  static std::vector<std::pair<std::string, std::string>> routes();

 private:
  store::Store* store_;
  ApiOptions options_;
};

}  // namespace nuages::server
