#include "query/insight.h"

#include <cmath>
#include <map>

#include "query/rows.h"

namespace nuages::query {
namespace {

// The conditions all three share.
struct Where {
  explicit Where(const InsightFilter& filter) {
    if (!filter.service.empty()) add("service = {service:String}", "service", filter.service);
    if (filter.start)
      add("minute >= toStartOfMinute(fromUnixTimestamp64Nano({start:Int64}, 'UTC'))", "start",
          std::to_string(*filter.start));
    if (filter.end)
      add("minute < fromUnixTimestamp64Nano({end:Int64}, 'UTC')", "end",
          std::to_string(*filter.end));
    parameters["limit"] = std::to_string(filter.limit);
  }
  void add(const std::string& condition, const std::string& name, const std::string& value) {
    sql += (sql.empty() ? " WHERE " : " AND ") + condition;
    parameters[name] = value;
  }
  std::string sql;
  store::Parameters parameters;
};

// Buckets and their counts side by side, in the order of the buckets.
constexpr const char* kSums =
    "sum(n) AS count, sum(e), sum(d) AS total, arraySort(groupArray((bucket, n)))";
constexpr const char* kPerBucket = "bucket, sum(count) AS n, sum(errors) AS e, sum(duration) AS d";

uint64_t upper_end(uint64_t bucket) {
  constexpr double kBucketsPerDoubling = 8;
  return static_cast<uint64_t>(std::exp2(static_cast<double>(bucket + 1) / kBucketsPerDoubling));
}

Durations durations_at(const Row& row, size_t first) {
  Durations out;
  out.count = row.natural(first);
  out.errors = row.natural(first + 1);
  out.total = row.natural(first + 2);
  const auto* buckets = row.array(first + 3);
  if (buckets == nullptr) return out;
  const std::pair<double, uint64_t*> wanted[] = {
      {0.5, &out.p50}, {0.95, &out.p95}, {0.99, &out.p99}};
  for (const auto& [share, value] : wanted) {
    const auto rank = static_cast<uint64_t>(std::ceil(share * static_cast<double>(out.count)));
    uint64_t seen = 0;
    for (const auto& element : *buckets) {
      const Row pair(element.as_array());
      seen += pair.natural(1);
      if (seen >= rank) {
        *value = upper_end(pair.natural(0));
        break;
      }
    }
  }
  return out;
}

}  // namespace

Result<std::vector<RedRow>> list_red(store::Store& store, const InsightFilter& filter) {
  Where where(filter);
  if (!filter.route.empty()) where.add("http_route = {route:String}", "route", filter.route);
  auto rows = Rows::select(
      store,
      std::string("SELECT service, http_route, name, kind, ") + kSums +
          " FROM (SELECT service, http_route, name, kind, " + kPerBucket + " FROM nuages.red" +
          where.sql +
          " GROUP BY service, http_route, name, kind, bucket)"
          " GROUP BY service, http_route, name, kind ORDER BY count DESC, service, http_route, name"
          " LIMIT {limit:UInt64}",
      where.parameters);
  if (!rows) return rows.error();
  std::vector<RedRow> out;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    out.push_back({std::string(row.text(0)), std::string(row.text(1)), std::string(row.text(2)),
                   static_cast<uint8_t>(row.natural(3)), durations_at(row, 4)});
  }
  return out;
}

Result<std::vector<QueryRow>> list_queries(store::Store& store, const InsightFilter& filter) {
  const Where where(filter);
  auto rows = Rows::select(
      store,
      std::string("SELECT service, db_system, db_name, fingerprint, ") + kSums +
          " FROM (SELECT service, db_system, db_name, fingerprint, " + kPerBucket +
          " FROM nuages.queries" + where.sql +
          " GROUP BY service, db_system, db_name, fingerprint, bucket)"
          " GROUP BY service, db_system, db_name, fingerprint ORDER BY total DESC, fingerprint"
          " LIMIT {limit:UInt64}",
      where.parameters);
  if (!rows) return rows.error();
  std::vector<QueryRow> out;
  std::string wanted = "[";
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    QueryRow query;
    query.service = row.text(0);
    query.db_system = row.text(1);
    query.db_name = row.text(2);
    query.fingerprint = row.natural(3);
    query.durations = durations_at(row, 4);
    if (i != 0) wanted += ',';
    wanted += std::to_string(query.fingerprint);
    out.push_back(std::move(query));
  }
  if (out.empty()) return out;
  auto texts = Rows::select(store,
                            "SELECT fingerprint, any(text), any(label) FROM nuages.sqltext WHERE"
                            " fingerprint IN {wanted:Array(UInt64)} GROUP BY fingerprint",
                            {{"wanted", wanted + "]"}});
  if (!texts) return texts.error();
  std::map<uint64_t, std::pair<std::string, std::string>> by_fingerprint;
  for (size_t i = 0; i < texts->size(); ++i) {
    const Row row = (*texts)[i];
    by_fingerprint[row.natural(0)] = {std::string(row.text(1)), std::string(row.text(2))};
  }
  for (QueryRow& query : out) {
    std::tie(query.statement, query.label) = by_fingerprint[query.fingerprint];
  }
  return out;
}

Result<std::vector<EdgeRow>> list_edges(store::Store& store, const InsightFilter& filter) {
  const Where where(filter);
  auto rows = Rows::select(
      store,
      "SELECT service, kind, target_type, target_system, target, sum(count) AS n, sum(errors),"
      " sum(duration) FROM nuages.edges" +
          where.sql +
          " GROUP BY service, kind, target_type, target_system, target ORDER BY n DESC, service,"
          " target LIMIT {limit:UInt64}",
      where.parameters);
  if (!rows) return rows.error();
  std::vector<EdgeRow> out;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    EdgeRow edge;
    edge.service = row.text(0);
    edge.kind = static_cast<uint8_t>(row.natural(1));
    edge.target_type = row.text(2);
    edge.target_system = row.text(3);
    edge.target = row.text(4);
    edge.count = row.natural(5);
    edge.errors = row.natural(6);
    edge.total = row.natural(7);
    out.push_back(std::move(edge));
  }
  return out;
}

}  // namespace nuages::query
