// The lists: services, routes, traces that match filters, recent findings. SQL built from fixed
// parts; values travel as parameters only.
//
// Lists read the table `entry` (one row per request, task and root span) and then count the spans
// of the few traces they return. Functions block on SQL; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "query/findings.h"
#include "store/store.h"

namespace nuages::query {

struct ServiceRow {
  std::string name;
  uint64_t span_count = 0, entry_count = 0, error_count = 0;
  int64_t last_seen = 0;  // Unix nanoseconds, of receipt, whole seconds
};
Result<std::vector<ServiceRow>> list_services(store::Store& store);

struct RouteRow {
  std::string service, route, name;
  uint64_t count = 0;
};
// The 500 most frequent; all services when `service` is empty.
Result<std::vector<RouteRow>> list_routes(store::Store& store, const std::string& service);

inline constexpr uint64_t kMaxListed = 500;

// Where a page of traces ended: rows behind this one, newest first and by ids where they start
// together. Without ids (span_id 0): rows that started before.
struct TraceCursor {
  int64_t start = 0;
  TraceId trace_id = {};
  SpanId span_id = 0;
};

// Empty strings and nothing mean: not filtered.
struct TraceFilter {
  std::string service = {};
  std::string route = {};
  std::string name = {};  // part of the name, any case
  std::optional<bool> error = {};
  std::optional<uint16_t> http_status_from = {}, http_status_to = {};  // inclusive
  std::optional<uint64_t> min_duration = {}, max_duration = {};        // ns, inclusive
  std::optional<int64_t> start = {}, end = {};                         // ns: start <= ts < end
  std::optional<TraceId> trace_id = {};
  std::optional<bool> n_plus_one = {};
  std::optional<uint8_t> kind = {};
  std::string attribute_key = {}, attribute_value = {};  // of any span of the trace; value as text
  std::optional<TraceCursor> before = {};
  uint64_t limit = 20;
};

struct TraceRow {
  TraceId trace_id;
  SpanId span_id = 0;
  std::string name, service, route, method, task;
  uint8_t kind = 0, status = 0;
  uint16_t http_status = 0;
  int64_t start = 0;
  uint64_t duration = 0;
  int32_t query_count = -1;
  bool n_plus_one = false;
  uint32_t max_repetitions = 0;
  uint64_t span_count = 0, error_count = 0;  // of the whole trace
  std::vector<std::string> services;
};

struct TraceList {
  std::vector<TraceRow> rows;              // newest first
  std::optional<TraceCursor> next_before;  // more rows match
};
Result<TraceList> list_traces(store::Store& store, const TraceFilter& filter);

struct ListedFinding {
  Finding finding;
  std::string service, name, route;
  int64_t start = 0;
};
// Newest first, as the agent reported them.
Result<std::vector<ListedFinding>> list_findings(store::Store& store, const std::string& service,
                                                 uint64_t limit);

}  // namespace nuages::query
