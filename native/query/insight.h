// The roll-ups: rate, errors and durations of entry spans, the SQL statements that cost most, and
// whom a service calls. SQL built from fixed parts; values travel as parameters only.
//
// Durations are kept as counts per bucket floor(8 log2 ns), so quantiles are exact to 9 percent:
// what is given is the bucket's upper end. Repeats that a client sent in another grouping count
// twice here. Functions block on SQL; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace nuages::query {

struct InsightFilter {
  std::string service = {};
  std::string route = {};                       // of red only
  std::optional<int64_t> start = {}, end = {};  // ns: start <= minute < end
  uint64_t limit = 50;
};

struct Durations {
  uint64_t count = 0, errors = 0;
  uint64_t total = 0;                  // ns
  uint64_t p50 = 0, p95 = 0, p99 = 0;  // ns
};

struct RedRow {
  std::string service, route, name;
  uint8_t kind = 0;
  Durations durations;
};
// By service, route and name; most requests first.
Result<std::vector<RedRow>> list_red(store::Store& store, const InsightFilter& filter);

struct QueryRow {
  std::string service, db_system, db_name;
  uint64_t fingerprint = 0;
  std::string statement, label;
  Durations durations;
};
// By service, database and statement; most time first.
Result<std::vector<QueryRow>> list_queries(store::Store& store, const InsightFilter& filter);

struct EdgeRow {
  std::string service, target_type, target_system, target;
  uint8_t kind = 0;
  uint64_t count = 0, errors = 0, total = 0;
};
Result<std::vector<EdgeRow>> list_edges(store::Store& store, const InsightFilter& filter);

}  // namespace nuages::query
