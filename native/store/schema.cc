#include "store/schema.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "store/native_format.h"

namespace nuages::store {
namespace {

// The write-ahead log drops a segment after its insert, so a part must be on disk by then. The
// deduplication window is far more blocks than a log can hold for replay.
constexpr const char* kDurable =
    " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,"
    " non_replicated_deduplication_window = 10000";

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
  ORDER BY (toStartOfMinute(ts), trace_id, ts))";

// The select names its columns in the order of `columns`, and reads from "nuages.spans AS spans".
struct View {
  const char* name;
  const char* columns;
  const char* engine;  // with its sort key
  const char* select;
  const char* more_settings;
};

constexpr View kViews[] = {
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
     ""},
    {"trace_ix",
     R"(trace_id FixedString(16) CODEC(NONE), minute DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)))",
     "ReplacingMergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (trace_id, minute)",
     R"(SELECT trace_id, toStartOfMinute(ts) AS minute, max(spans.received) AS received
  FROM nuages.spans AS spans GROUP BY trace_id, minute)",
     ", index_granularity = 1024"},
    {"trace_links",
     R"(to_trace_id FixedString(16) CODEC(NONE), to_span_id UInt64 CODEC(NONE),
  from_trace_id FixedString(16) CODEC(NONE), from_span_id UInt64 CODEC(NONE),
  from_ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)))",
     "MergeTree PARTITION BY toYYYYMMDD(received) ORDER BY to_trace_id",
     R"(SELECT to_trace_id, to_span_id, trace_id AS from_trace_id, span_id AS from_span_id,
  ts AS from_ts, received
  FROM nuages.spans AS spans ARRAY JOIN link_trace_id AS to_trace_id, link_span_id AS to_span_id)",
     ", index_granularity = 1024"},
    {"n_plus_one",
     R"(trace_id FixedString(16) CODEC(NONE), span_id UInt64 CODEC(NONE),
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)), duration UInt64,
  received DateTime('UTC') CODEC(Delta(4), ZSTD(1)), service LowCardinality(String),
  name LowCardinality(String), http_route LowCardinality(String), query_count Int32,
  max_repetitions UInt32, events String CODEC(ZSTD(1)))",
     "MergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (service, ts)",
     R"(SELECT trace_id, span_id, ts, duration, received, service, name, http_route, query_count,
  max_repetitions, events FROM nuages.spans AS spans WHERE n_plus_one = 1)",
     ""},
    {"services",
     R"(service LowCardinality(String), received Date, span_count SimpleAggregateFunction(sum, UInt64),
  entry_count SimpleAggregateFunction(sum, UInt64), error_count SimpleAggregateFunction(sum, UInt64),
  last_seen SimpleAggregateFunction(max, DateTime('UTC')))",
     "AggregatingMergeTree PARTITION BY toYYYYMMDD(received) ORDER BY (service, received)",
     R"(SELECT service, toDate(spans.received) AS received, count() AS span_count,
  countIf(entry = 1) AS entry_count, countIf(status = 2) AS error_count, max(spans.received) AS last_seen
  FROM nuages.spans AS spans GROUP BY service, received)",
     ""},
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
     ""},
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

constexpr const char* kSpanColumns =
    "trace_id, span_id, parent_id, ts, duration, kind, status, entry, received, service,"
    " environment, scope, resource, name, status_message, http_method, http_route, http_status,"
    " db_system, db_name, db_operation, db_table, fingerprint, code_file, code_function, code_line,"
    " task, queue, exception_type, nuages_kind, query_count, n_plus_one, max_repetitions, promoted,"
    " attributes, events, links, link_trace_id, link_span_id, extra";

size_t count_columns(std::string_view list) {
  return static_cast<size_t>(std::count(list.begin(), list.end(), ',')) + 1;
}

std::string insert_into(std::string_view table, std::string_view columns) {
  return std::string("INSERT INTO nuages.").append(table).append(" (").append(columns).append(")");
}

std::string select_from(const View& view, std::string_view table) {
  constexpr std::string_view kFrom = "FROM nuages.spans";
  std::string select = view.select;
  const size_t at = select.find(kFrom);
  return select.replace(at, kFrom.size(), "FROM nuages." + std::string(table));
}

std::string span_data(const SpanBlock& block) {
  const std::vector<uint32_t> order = block.sorted_rows();
  NativeWriter out(count_columns(kSpanColumns), order);
  out.ids("trace_id", block.trace_id);
  out.integers("span_id", "UInt64", block.span_id);
  out.integers("parent_id", "UInt64", block.parent_id);
  out.integers("ts", "DateTime64(9, 'UTC')", block.ts);
  out.integers("duration", "UInt64", block.duration);
  out.integers("kind", "UInt8", block.kind);
  out.integers("status", "UInt8", block.status);
  out.integers("entry", "UInt8", block.entry);
  out.integers("received", "DateTime('UTC')", block.received);
  out.dictionary("service", block.service);
  out.dictionary("environment", block.environment);
  out.dictionary("scope", block.scope);
  out.integers("resource", "UInt64", block.resource);
  out.dictionary("name", block.name);
  out.strings("status_message", block.status_message);
  out.dictionary("http_method", block.http_method);
  out.dictionary("http_route", block.http_route);
  out.integers("http_status", "UInt16", block.http_status);
  out.dictionary("db_system", block.db_system);
  out.dictionary("db_name", block.db_name);
  out.dictionary("db_operation", block.db_operation);
  out.dictionary("db_table", block.db_table);
  out.integers("fingerprint", "UInt64", block.fingerprint);
  out.dictionary("code_file", block.code_file);
  out.dictionary("code_function", block.code_function);
  out.integers("code_line", "UInt32", block.code_line);
  out.dictionary("task", block.task);
  out.dictionary("queue", block.queue);
  out.dictionary("exception_type", block.exception_type);
  out.dictionary("nuages_kind", block.nuages_kind);
  out.integers("query_count", "Int32", block.query_count);
  out.integers("n_plus_one", "UInt8", block.n_plus_one);
  out.integers("max_repetitions", "UInt32", block.max_repetitions);
  out.dictionary("promoted", block.promoted);
  out.strings("attributes", block.attributes);
  out.strings("events", block.events);
  out.strings("links", block.links);
  out.id_arrays("link_trace_id", block.link_ends, block.link_trace_id);
  out.integer_arrays("link_span_id", block.link_ends, block.link_span_id);
  out.strings("extra", block.extra);
  return out.take();
}

std::vector<uint32_t> all_rows(size_t count) {
  std::vector<uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

Insert resource_insert(const SpanBlock& block) {
  std::vector<uint64_t> hash;
  DictionaryColumn service;
  StringColumn attributes;
  for (const auto& [key, row] : block.resources) {
    hash.push_back(key);
    service.append(row.service);
    attributes.append(row.attributes);
  }
  const auto order = all_rows(hash.size());
  NativeWriter out(3, order);
  out.integers("hash", "UInt64", hash);
  out.dictionary("service", service);
  out.strings("attributes", attributes);
  return {insert_into("resources", "hash, service, attributes"), out.take(), false};
}

Insert statement_insert(const SpanBlock& block) {
  std::vector<uint64_t> fingerprint;
  StringColumn text;
  StringColumn label;
  for (const auto& [key, row] : block.statements) {
    fingerprint.push_back(key);
    text.append(row.text);
    label.append(row.label);
  }
  const auto order = all_rows(fingerprint.size());
  NativeWriter out(3, order);
  out.integers("fingerprint", "UInt64", fingerprint);
  out.strings("text", text);
  out.strings("label", label);
  return {insert_into("sqltext", "fingerprint, text, label"), out.take(), false};
}

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
  for (const View& view : kViews) {
    const std::string name = std::string("nuages.") + view.name;
    statements.push_back(fmt::format("CREATE TABLE IF NOT EXISTS {} ({}) ENGINE = {}{}{}", name,
                                     view.columns, view.engine, kDurable, view.more_settings));
    statements.push_back(fmt::format("CREATE MATERIALIZED VIEW IF NOT EXISTS {}_view TO {} AS {}",
                                     name, name, view.select));
  }
  return statements;
}

std::vector<std::string> migration(uint32_t from) {
  if (from != 1) return {};
  std::vector<std::string> statements;
  for (const View& view : kViews) {  // new in version 2: nothing fills them before this is done
    const std::string_view name = view.name;
    if (name != "services" && name != "red") continue;
    statements.push_back(fmt::format("TRUNCATE TABLE nuages.{}", name));
    statements.push_back(fmt::format("INSERT INTO nuages.{} {}", name, view.select));
  }
  return statements;
}

std::vector<std::string> derived_tables() {
  std::vector<std::string> names;
  for (const View& view : kViews) names.emplace_back(view.name);
  return names;
}

std::string create_replay_table() {
  return fmt::format("CREATE TABLE nuages.{} ({}) ENGINE = MergeTree ORDER BY tuple()",
                     kReplayTable, kSpanTable);
}

std::string fill_from_replay(const std::string& table, const std::string& days) {
  std::string select = fmt::format("SELECT * FROM nuages.{}", kReplayTable);
  for (const View& view : kViews) {
    if (table == view.name) select = select_from(view, kReplayTable);
  }
  return fmt::format("INSERT INTO nuages.{} SELECT * FROM ({}) WHERE toYYYYMMDD(received) IN ({})",
                     table, select, days);
}

Insert replay_insert(const SpanBlock& block) {
  return {insert_into(kReplayTable, kSpanColumns), span_data(block), false};
}

std::vector<Insert> inserts_for(const SpanBlock& block) {
  std::vector<Insert> inserts;
  if (!block.resources.empty()) inserts.push_back(resource_insert(block));
  if (!block.statements.empty()) inserts.push_back(statement_insert(block));
  if (!block.empty())
    inserts.push_back({insert_into("spans", kSpanColumns), span_data(block), true});
  return inserts;
}

}  // namespace nuages::store
