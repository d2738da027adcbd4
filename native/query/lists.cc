#include "query/lists.h"

#include <algorithm>
#include <limits>
#include <map>

#include "query/rows.h"
#include "store/attribute_sql.h"

namespace nuages::query {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

constexpr uint64_t kFewRepeats = 20;        // among the newest rows
constexpr uint64_t kMoreRepeats = 16;       // times as many rows, when there were more
constexpr uint64_t kMostBounded = 100'000;  // rows; above, all are read

// The conditions of one SELECT and their values.
class Conditions {
 public:
  void add(const char* sql) { sql_ += (sql_.empty() ? " WHERE " : " AND ") + std::string(sql); }
  template <typename Value>
  void add(const char* sql, const char* name, const Value& value) {
    add(sql);
    if constexpr (std::is_arithmetic_v<Value>) {
      parameters_[name] = std::to_string(value);
    } else {
      parameters_[name] = value;
    }
  }
  void text(const char* sql, const char* name, const std::string& value) {
    if (!value.empty()) add(sql, name, value);
  }
  template <typename Value>
  void number(const char* sql, const char* name, const std::optional<Value>& value) {
    if (value) add(sql, name, *value);
  }
  void parameter(const char* name, std::string value) { parameters_[name] = std::move(value); }

  const std::string& sql() const { return sql_; }
  const store::Parameters& parameters() const { return parameters_; }

 private:
  std::string sql_;
  store::Parameters parameters_;
};

void add_attribute(Conditions& conditions, const TraceFilter& filter) {
  if (filter.attribute_key.empty()) return;
  store::Parameters parameters;
  const std::string holds =
      store::attribute_condition(filter.attribute_key, filter.attribute_value, parameters);
  std::string sql = "trace_id IN (SELECT trace_id FROM nuages.spans WHERE (" + holds + ")";
  // Any span of the trace may have it, and those lie within a day of the entry: other days' indexes
  // need not be read.
  constexpr int64_t kDay = int64_t{24} * 3600 * kNanosecondsPerSecond;
  if (filter.start) {
    sql += " AND ts >= fromUnixTimestamp64Nano({attribute_start:Int64}, 'UTC')";
    parameters["attribute_start"] = std::to_string(std::max<int64_t>(*filter.start - kDay, 0));
  }
  if (filter.end) {
    sql += " AND ts < fromUnixTimestamp64Nano({attribute_end:Int64}, 'UTC')";
    parameters["attribute_end"] =
        std::to_string(std::min(*filter.end, std::numeric_limits<int64_t>::max() - kDay) + kDay);
  }
  conditions.add((sql + ")").c_str());
  for (auto& [name, value] : parameters) conditions.parameter(name.c_str(), value);
}

void add_cursor(Conditions& conditions, const TraceCursor& cursor) {
  if (cursor.span_id == 0) {
    conditions.add("ts < fromUnixTimestamp64Nano({before:Int64}, 'UTC')", "before", cursor.start);
    return;
  }
  conditions.add("ts <= fromUnixTimestamp64Nano({before:Int64}, 'UTC')", "before", cursor.start);
  conditions.add(
      "(ts < fromUnixTimestamp64Nano({before:Int64}, 'UTC') OR (trace_id, span_id) >"
      " (toFixedString(unhex({before_trace:String}), 16), {before_span:UInt64}))",
      "before_trace", to_hex(cursor.trace_id));
  conditions.parameter("before_span", std::to_string(cursor.span_id));
}

Conditions conditions_of(const TraceFilter& filter) {
  Conditions where;
  where.text("service = {service:String}", "service", filter.service);
  where.text("http_route = {route:String}", "route", filter.route);
  where.text("positionCaseInsensitiveUTF8(name, {name:String}) > 0", "name", filter.name);
  if (filter.error) where.add(*filter.error ? "status = 2" : "status != 2");
  where.number("http_status >= {status_from:UInt16}", "status_from", filter.http_status_from);
  where.number("http_status <= {status_to:UInt16}", "status_to", filter.http_status_to);
  where.number("duration >= {min_duration:UInt64}", "min_duration", filter.min_duration);
  where.number("duration <= {max_duration:UInt64}", "max_duration", filter.max_duration);
  where.number("ts >= fromUnixTimestamp64Nano({start:Int64}, 'UTC')", "start", filter.start);
  where.number("ts < fromUnixTimestamp64Nano({end:Int64}, 'UTC')", "end", filter.end);
  if (filter.before) add_cursor(where, *filter.before);
  if (filter.trace_id) {
    where.add(
        "trace_id = unhex({trace_id:String}) AND toStartOfMinute(ts) IN (SELECT minute FROM"
        " nuages.trace_ix WHERE trace_id = unhex({trace_id:String}))",
        "trace_id", to_hex(*filter.trace_id));
  }
  if (filter.n_plus_one) where.add(*filter.n_plus_one ? "n_plus_one = 1" : "n_plus_one = 0");
  where.number("kind = {kind:UInt8}", "kind", filter.kind);
  add_attribute(where, filter);
  return where;
}

// The start of the `count`th newest row that matches; nothing if there are fewer.
Result<std::optional<int64_t>> newest_start(store::Store& store, const TraceFilter& filter,
                                            uint64_t count) {
  Conditions where = conditions_of(filter);
  where.parameter("last", std::to_string(count - 1));
  // Rows of one service lie in the order of their start: the read ends when there are enough.
  const char* order = filter.service.empty() ? "ts DESC" : "toStartOfMinute(ts) DESC, ts DESC";
  auto rows = Rows::select(store,
                           "SELECT toUnixTimestamp64Nano(ts) FROM nuages.entry" + where.sql() +
                               " ORDER BY " + order + " LIMIT 1 OFFSET {last:UInt64}",
                           where.parameters());
  if (!rows) return rows.error();
  if (rows->size() == 0) return std::optional<int64_t>();
  return std::optional<int64_t>((*rows)[0].integer(0));
}

// One row more than the limit, if there is one. LIMIT BY sorts all columns of every row that it
// sees, so it is shown the newest ones only, and more of them if too many were repeats.
Result<Rows> newest_rows(store::Store& store, const TraceFilter& filter) {
  const uint64_t wanted = filter.limit + 1;
  bool bounded = filter.attribute_key.empty();  // else looking twice costs more
  for (uint64_t count = wanted + kFewRepeats;; count *= kMoreRepeats) {
    Conditions where = conditions_of(filter);
    bounded = bounded && count <= kMostBounded;
    if (bounded) {
      const auto start = newest_start(store, filter, count);
      if (!start) return start.error();
      bounded = start->has_value();
      where.number("ts >= fromUnixTimestamp64Nano({newest:Int64}, 'UTC')", "newest", *start);
    }
    where.parameter("limit", std::to_string(wanted));
    auto rows = Rows::select(
        store,
        "SELECT lower(hex(trace_id)), span_id, name, service, http_route, http_method, task, kind,"
        " status, http_status, toUnixTimestamp64Nano(ts), duration, query_count, n_plus_one,"
        " max_repetitions FROM nuages.entry" +
            where.sql() +
            " ORDER BY ts DESC, trace_id, span_id LIMIT 1 BY trace_id, span_id"
            " LIMIT {limit:UInt64}",
        where.parameters());
    if (!rows || !bounded || rows->size() == wanted) return rows;
  }
}

Status count_spans(store::Store& store, std::vector<TraceRow>& traces) {
  if (traces.empty()) return {};
  std::map<std::string, std::vector<TraceRow*>, std::less<>> by_id;
  std::vector<TraceId> ids;
  for (TraceRow& trace : traces) {
    const std::string id = to_hex(trace.trace_id);
    auto& same = by_id[id];
    if (same.empty()) ids.push_back(trace.trace_id);
    same.push_back(&trace);
  }
  auto rows = Rows::select(
      store,
      std::string("SELECT lower(hex(trace_id)), uniqExact(span_id), uniqExactIf(span_id, status = "
                  "2), arraySort(groupUniqArray(service)) FROM nuages.spans") +
          kOfTraces + " GROUP BY trace_id",
      {{"ids", id_array(ids)}});
  if (!rows) return rows.error();
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    const auto found = by_id.find(row.text(0));
    if (found == by_id.end()) continue;
    std::vector<std::string> services;
    if (const auto* names = row.array(3)) {
      for (size_t name = 0; name < names->size(); ++name) {
        services.emplace_back(Row(*names).text(name));
      }
    }
    for (TraceRow* trace : found->second) {
      trace->span_count = row.natural(1);
      trace->error_count = row.natural(2);
      trace->services = services;
    }
  }
  return {};
}

}  // namespace

Result<std::vector<ServiceRow>> list_services(store::Store& store) {
  auto rows = Rows::select(store,
                           "SELECT service, sum(span_count), sum(entry_count), sum(error_count),"
                           " toUnixTimestamp(max(last_seen)) FROM nuages.services GROUP BY service"
                           " ORDER BY service LIMIT 1000",
                           {});
  if (!rows) return rows.error();
  std::vector<ServiceRow> services;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    services.push_back({.name = std::string(row.text(0)),
                        .span_count = row.natural(1),
                        .entry_count = row.natural(2),
                        .error_count = row.natural(3),
                        .last_seen = row.integer(4) * kNanosecondsPerSecond});
  }
  return services;
}

Result<std::vector<RouteRow>> list_routes(store::Store& store, const std::string& service) {
  Conditions where;
  where.text("service = {service:String}", "service", service);
  auto rows = Rows::select(store,
                           "SELECT service, http_route, name, sum(count) AS n FROM nuages.red" +
                               where.sql() +
                               " GROUP BY service, http_route, name ORDER BY n DESC, service, name"
                               " LIMIT 500",
                           where.parameters());
  if (!rows) return rows.error();
  std::vector<RouteRow> routes;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    routes.push_back({.service = std::string(row.text(0)),
                      .route = std::string(row.text(1)),
                      .name = std::string(row.text(2)),
                      .count = row.natural(3)});
  }
  return routes;
}

Result<TraceList> list_traces(store::Store& store, const TraceFilter& filter) {
  auto rows = newest_rows(store, filter);
  if (!rows) return rows.error();
  TraceList list;
  for (size_t i = 0; i < rows->size() && i < filter.limit; ++i) {
    const Row row = (*rows)[i];
    TraceRow trace;
    size_t column = 0;
    trace.trace_id = trace_id_from_hex(row.text(column++)).value_or(TraceId{});
    trace.span_id = row.natural(column++);
    trace.name = row.text(column++);
    trace.service = row.text(column++);
    trace.route = row.text(column++);
    trace.method = row.text(column++);
    trace.task = row.text(column++);
    trace.kind = static_cast<uint8_t>(row.integer(column++));
    trace.status = static_cast<uint8_t>(row.integer(column++));
    trace.http_status = static_cast<uint16_t>(row.integer(column++));
    trace.start = row.integer(column++);
    trace.duration = row.natural(column++);
    trace.query_count = static_cast<int32_t>(row.integer(column++));
    trace.n_plus_one = row.integer(column++) != 0;
    trace.max_repetitions = static_cast<uint32_t>(row.integer(column));
    list.rows.push_back(std::move(trace));
  }
  if (rows->size() > filter.limit && !list.rows.empty()) {
    const TraceRow& last = list.rows.back();
    list.next_before = TraceCursor{last.start, last.trace_id, last.span_id};
  }
  if (Status status = count_spans(store, list.rows); !status) return status.error();
  return list;
}

Result<std::vector<ListedFinding>> list_findings(store::Store& store, const std::string& service,
                                                 uint64_t limit) {
  Conditions where;
  where.text("service = {service:String}", "service", service);
  where.parameter("limit", std::to_string(limit));
  auto rows = Rows::select(store,
                           "SELECT lower(hex(trace_id)), span_id, service, name, http_route,"
                           " toUnixTimestamp64Nano(ts), events FROM nuages.n_plus_one" +
                               where.sql() +
                               " ORDER BY ts DESC LIMIT 1 BY trace_id, span_id"
                               " LIMIT {limit:UInt64}",
                           where.parameters());
  if (!rows) return rows.error();
  std::vector<ListedFinding> listed;
  for (size_t i = 0; i < rows->size() && listed.size() < limit; ++i) {
    const Row row = (*rows)[i];
    const auto trace_id = trace_id_from_hex(row.text(0)).value_or(TraceId{});
    for (Finding& finding :
         findings_in_events(row.text(6), trace_id, row.natural(1), row.text(3))) {
      if (listed.size() >= limit) break;
      listed.push_back({.finding = std::move(finding),
                        .service = std::string(row.text(2)),
                        .name = std::string(row.text(3)),
                        .route = std::string(row.text(4)),
                        .start = row.integer(5)});
    }
  }
  return listed;
}

}  // namespace nuages::query
