#include "store/schema.h"

#include <fmt/core.h>

namespace nuages::store {
namespace {

// The write-ahead log drops a segment after its insert, so a part must be on disk by then.
constexpr const char* kDurable = " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1";

constexpr const char* kSpanTable = R"(
  trace_id FixedString(16) CODEC(ZSTD(1)),
  span_id UInt64 CODEC(NONE),
  parent_id UInt64 CODEC(ZSTD(1)),
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  duration UInt64 CODEC(T64, ZSTD(1)),
  kind UInt8 CODEC(ZSTD(1)),
  status UInt8 CODEC(ZSTD(1)),
  entry UInt8 CODEC(ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  service LowCardinality(String) CODEC(ZSTD(1)),
  environment LowCardinality(String) CODEC(ZSTD(1)),
  scope LowCardinality(String) CODEC(ZSTD(1)),
  resource UInt64 CODEC(ZSTD(1)),
  name LowCardinality(String) CODEC(ZSTD(1)),
  status_message String CODEC(ZSTD(1)),
  http_method LowCardinality(String) CODEC(ZSTD(1)),
  http_route LowCardinality(String) CODEC(ZSTD(1)),
  http_status UInt16 CODEC(ZSTD(1)),
  db_system LowCardinality(String) CODEC(ZSTD(1)),
  db_name LowCardinality(String) CODEC(ZSTD(1)),
  db_operation LowCardinality(String) CODEC(ZSTD(1)),
  db_table LowCardinality(String) CODEC(ZSTD(1)),
  fingerprint UInt64 CODEC(ZSTD(1)),
  code_file LowCardinality(String) CODEC(ZSTD(1)),
  code_function LowCardinality(String) CODEC(ZSTD(1)),
  code_line UInt32 CODEC(ZSTD(1)),
  task LowCardinality(String) CODEC(ZSTD(1)),
  queue LowCardinality(String) CODEC(ZSTD(1)),
  exception_type LowCardinality(String) CODEC(ZSTD(1)),
  nuages_kind LowCardinality(String) CODEC(ZSTD(1)),
  query_count Int32 CODEC(ZSTD(1)),
  n_plus_one UInt8 CODEC(ZSTD(1)),
  max_repetitions UInt32 CODEC(ZSTD(1)),
  promoted LowCardinality(String) CODEC(ZSTD(1)),
  attributes String CODEC(ZSTD(1)),
  events String CODEC(ZSTD(1)),
  links String CODEC(ZSTD(1)),
  link_trace_id Array(FixedString(16)) CODEC(ZSTD(1)),
  link_span_id Array(UInt64) CODEC(ZSTD(1)),
  extra String CODEC(ZSTD(1)))";

constexpr const char* kSpanEngine = R"(,
  INDEX attribute_lines splitByChar('\n', attributes) TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree PARTITION BY toYYYYMMDD(received)
  ORDER BY (toStartOfMinute(ts), trace_id))";

// Rows are what `select` makes of "nuages.spans AS spans", with the columns in the order of
// `columns`. The server computes them itself (store/block_rows.h); the text fills a new table of an
// old store and is what a check counts again. `normal` brings both to the same form: rows that a
// merge would add up or replace.
struct Derived {
  const char* name;
  const char* columns;
  const char* engine;  // with its sort key
  const char* select;
  const char* normal;  // "%s" is a table or a select in parentheses
  const char* more_settings;
  uint32_t since;  // the schema version that brought it
};

constexpr Derived kDerived[] = {
    {"entry",
     R"(trace_id FixedString(16) CODEC(ZSTD(1)), span_id UInt64 CODEC(NONE),
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)), duration UInt64 CODEC(T64, ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)), kind UInt8, status UInt8,
  service LowCardinality(String), environment LowCardinality(String), name LowCardinality(String),
  http_method LowCardinality(String), http_route LowCardinality(String), http_status UInt16,
  task LowCardinality(String), query_count Int32, n_plus_one UInt8, max_repetitions UInt32)",
     "MergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (service, toStartOfMinute(ts), ts)",
     R"(SELECT trace_id, span_id, ts, duration, received, kind, status, service, environment, name,
  http_method, http_route, http_status, task, query_count, n_plus_one, max_repetitions
  FROM nuages.spans AS spans WHERE entry = 1)",
     "SELECT * FROM %s", "", 1},
    {"trace_ix",
     R"(trace_id FixedString(16) CODEC(NONE), minute DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)))",
     "ReplacingMergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (trace_id, minute)",
     R"(SELECT trace_id, toStartOfMinute(ts) AS minute, max(spans.received) AS received
  FROM nuages.spans AS spans GROUP BY trace_id, minute)",
     "SELECT DISTINCT trace_id, minute, toDate(received) AS received FROM %s",
     ", index_granularity = 1024", 1},
    {"trace_links",
     R"(to_trace_id FixedString(16) CODEC(NONE), to_span_id UInt64 CODEC(NONE),
  from_trace_id FixedString(16) CODEC(NONE), from_span_id UInt64 CODEC(NONE),
  from_ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)))",
     "MergeTree PARTITION BY toYYYYMMDD(received) ORDER BY to_trace_id",
     R"(SELECT to_trace_id, to_span_id, trace_id AS from_trace_id, span_id AS from_span_id,
  ts AS from_ts, received
  FROM nuages.spans AS spans ARRAY JOIN link_trace_id AS to_trace_id, link_span_id AS to_span_id)",
     "SELECT * FROM %s", ", index_granularity = 1024", 1},
    {"n_plus_one",
     R"(trace_id FixedString(16) CODEC(NONE), span_id UInt64 CODEC(NONE),
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)), duration UInt64,
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)), service LowCardinality(String),
  name LowCardinality(String), http_route LowCardinality(String), query_count Int32,
  max_repetitions UInt32, events String CODEC(ZSTD(1)))",
     "MergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (service, ts)",
     R"(SELECT trace_id, span_id, ts, duration, received, service, name, http_route, query_count,
  max_repetitions, events FROM nuages.spans AS spans WHERE n_plus_one = 1)",
     "SELECT * FROM %s", "", 1},
    {"services",
     R"(service LowCardinality(String), received Date, span_count SimpleAggregateFunction(sum, UInt64),
  entry_count SimpleAggregateFunction(sum, UInt64), error_count SimpleAggregateFunction(sum, UInt64),
  last_seen SimpleAggregateFunction(max, DateTime('UTC')))",
     "AggregatingMergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (service, received)",
     R"(SELECT service, toDate(spans.received) AS received, count() AS span_count,
  countIf(entry = 1) AS entry_count, countIf(status = 2) AS error_count, max(spans.received) AS last_seen
  FROM nuages.spans AS spans GROUP BY service, received)",
     R"(SELECT service, received, sum(span_count), sum(entry_count), sum(error_count), max(last_seen)
  FROM %s GROUP BY service, received)",
     "", 2},
    {"red",
     R"(service LowCardinality(String), minute DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  http_route LowCardinality(String), name LowCardinality(String), kind UInt8,
  http_method LowCardinality(String), environment LowCardinality(String), bucket UInt16,
  received Date, count UInt64 CODEC(T64, ZSTD(1)), errors UInt64 CODEC(T64, ZSTD(1)),
  duration UInt64 CODEC(T64, ZSTD(1)))",
     "SummingMergeTree((count, errors, duration)) PARTITION BY toYYYYMMDD(received)"
     " ORDER BY (service, minute, http_route, name, kind, http_method, environment, bucket,"
     " received)",
     R"(SELECT service, toStartOfMinute(ts) AS minute, http_route, name, kind, http_method,
  environment, toUInt16(if(spans.duration = 0, 0, floor(8 * log2(spans.duration)))) AS bucket,
  toDate(spans.received) AS received, count() AS count, countIf(status = 2) AS errors,
  sum(spans.duration) AS duration
  FROM nuages.spans AS spans WHERE entry = 1
  GROUP BY service, minute, http_route, name, kind, http_method, environment, bucket, received)",
     R"(SELECT service, minute, http_route, name, kind, http_method, environment, bucket, received,
  sum(count), sum(errors), sum(duration) FROM %s
  GROUP BY service, minute, http_route, name, kind, http_method, environment, bucket, received)",
     "", 2},
    {"queries",
     R"(service LowCardinality(String), minute DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  fingerprint UInt64 CODEC(ZSTD(1)), db_system LowCardinality(String),
  db_name LowCardinality(String), environment LowCardinality(String), bucket UInt16, received Date,
  count UInt64 CODEC(T64, ZSTD(1)), errors UInt64 CODEC(T64, ZSTD(1)),
  duration UInt64 CODEC(T64, ZSTD(1)))",
     "SummingMergeTree((count, errors, duration)) PARTITION BY toYYYYMMDD(received)"
     " ORDER BY (service, minute, fingerprint, db_system, db_name, environment, bucket, received)",
     R"(SELECT service, toStartOfMinute(ts) AS minute, fingerprint, db_system, db_name, environment,
  toUInt16(if(spans.duration = 0, 0, floor(8 * log2(spans.duration)))) AS bucket,
  toDate(spans.received) AS received, count() AS count, countIf(status = 2) AS errors,
  sum(spans.duration) AS duration
  FROM nuages.spans AS spans WHERE fingerprint != 0
  GROUP BY service, minute, fingerprint, db_system, db_name, environment, bucket, received)",
     R"(SELECT service, minute, fingerprint, db_system, db_name, environment, bucket, received,
  sum(count), sum(errors), sum(duration) FROM %s
  GROUP BY service, minute, fingerprint, db_system, db_name, environment, bucket, received)",
     "", 3},
    {"edges",
     R"(service LowCardinality(String), minute DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  environment LowCardinality(String), kind UInt8, target_type LowCardinality(String),
  target_system LowCardinality(String), target LowCardinality(String), received Date,
  count UInt64 CODEC(T64, ZSTD(1)), errors UInt64 CODEC(T64, ZSTD(1)),
  duration UInt64 CODEC(T64, ZSTD(1)))",
     "SummingMergeTree((count, errors, duration)) PARTITION BY toYYYYMMDD(received)"
     " ORDER BY (service, minute, environment, kind, target_type, target_system, target, received)",
     R"(SELECT service, toStartOfMinute(ts) AS minute, environment, kind,
  multiIf(db_system != '', 'database', queue != '', 'queue', 'service') AS target_type,
  db_system AS target_system,
  multiIf(db_system != '', toString(db_name), queue != '', toString(queue),
    arrayFirst(peer -> peer != '', arrayMap(key -> trim(BOTH '"' FROM substring(
      arrayFirst(line -> startsWith(line, concat(key, '=')), splitByChar('\n', attributes)),
      length(key) + 2)), ['peer.service', 'server.address', 'net.peer.name', 'http.host']))
  ) AS target,
  toDate(spans.received) AS received, count() AS count, countIf(status = 2) AS errors,
  sum(spans.duration) AS duration
  FROM nuages.spans AS spans WHERE kind IN (3, 4) OR (kind = 5 AND queue != '')
  GROUP BY service, minute, environment, kind, target_type, target_system, target, received
  HAVING target_system != '' OR target != '')",
     R"(SELECT service, minute, environment, kind, target_type, target_system, target, received,
  sum(count), sum(errors), sum(duration) FROM %s
  GROUP BY service, minute, environment, kind, target_type, target_system, target, received)",
     "", 3},
};

constexpr const char* kResources = R"(CREATE TABLE IF NOT EXISTS nuages.resources (
  hash UInt64, service LowCardinality(String), attributes String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree ORDER BY hash)";

constexpr const char* kSqlText = R"(CREATE TABLE IF NOT EXISTS nuages.sqltext (
  fingerprint UInt64, text String CODEC(ZSTD(1)), label String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree ORDER BY fingerprint)";

constexpr const char* kSchemaTable =
    "CREATE TABLE IF NOT EXISTS nuages.schema (version UInt32, created DateTime('UTC'))"
    " ENGINE = MergeTree ORDER BY version SETTINGS fsync_after_insert = 1";

}  // namespace

std::vector<std::string> create_statements() {
  std::vector<std::string> statements{
      std::string("CREATE DATABASE IF NOT EXISTS ") + kDatabase,
      kSchemaTable,
      std::string("CREATE TABLE IF NOT EXISTS nuages.spans (") + kSpanTable + kSpanEngine +
          kDurable,
      std::string(kResources) + kDurable,
      std::string(kSqlText) + kDurable,
  };
  for (const Derived& table : kDerived) {
    statements.push_back(fmt::format("CREATE TABLE IF NOT EXISTS nuages.{} ({}) ENGINE = {}{}{}",
                                     table.name, table.columns, table.engine, kDurable,
                                     table.more_settings));
  }
  return statements;
}

std::vector<std::string> migration(uint32_t from) {
  std::vector<std::string> statements;
  if (from == 2) {  // up to there views filled the tables
    for (const Derived& table : kDerived) {
      if (table.since > from) continue;
      statements.push_back(fmt::format("DROP TABLE IF EXISTS nuages.{}_view SYNC", table.name));
    }
  }
  for (const Derived& table : kDerived) {  // nothing else fills a new table before this is done
    if (table.since != from + 1) continue;
    statements.push_back(fmt::format("TRUNCATE TABLE nuages.{}", table.name));
    statements.push_back(fmt::format("INSERT INTO nuages.{} {}", table.name, table.select));
  }
  return statements;
}

std::vector<std::string> derived_tables() {
  std::vector<std::string> names;
  for (const Derived& table : kDerived) names.emplace_back(table.name);
  return names;
}

bool is_new_table(std::string_view table) {
  for (const Derived& derived : kDerived) {
    if (table == derived.name) return derived.since == kSchemaVersion;
  }
  return false;
}

std::string derive_day(const std::string& table, const std::string& day) {
  for (const Derived& derived : kDerived) {
    if (table != derived.name) continue;
    std::string select = derived.select;
    constexpr std::string_view kFrom = "nuages.spans AS spans";
    return select.replace(
        select.find(kFrom), kFrom.size(),
        "(SELECT * FROM nuages.spans WHERE toYYYYMMDD(received) = " + day + ") AS spans");
  }
  return {};
}

std::string recount(const std::string& table, bool from_spans, const std::string& day) {
  for (const Derived& derived : kDerived) {
    if (table != derived.name) continue;
    std::string source = derive_day(table, day);
    if (!from_spans) {
      source = fmt::format("SELECT * FROM nuages.{} WHERE toYYYYMMDD(received) = {}", table, day);
    }
    std::string normal = derived.normal;
    normal.replace(normal.find("%s"), 2, "(" + source + ")");
    return "SELECT count(), sum(cityHash64(*)) FROM (" + normal + ")";
  }
  return {};
}

}  // namespace nuages::store
