#include "query/jaeger.h"

#include <algorithm>
#include <limits>

#include "query/rows.h"
#include "store/attribute_sql.h"
#include "store/attribute_text.h"
#include "store/promoted.h"

namespace nuages::query {
namespace {

// How far a search looks back at once, in steps; the last is everything.
constexpr int64_t kMinute = 60'000'000'000;
constexpr int64_t kWindows[] = {10 * kMinute, 120 * kMinute, std::numeric_limits<int64_t>::max()};

constexpr const char* kInTime =
    "ts >= fromUnixTimestamp64Nano({start:Int64}, 'UTC')"
    " AND ts <= fromUnixTimestamp64Nano({end:Int64}, 'UTC')";

// That the span, its resource or one of its events has the attribute; the value may have been sent
// as a text or as a number.
std::string attribute_condition(size_t number, const std::string& key, const std::string& value,
                                store::Parameters& parameters) {
  const std::string n = std::to_string(number);
  std::string quoted_key;
  std::string quoted;
  store::append_json_string(quoted_key, key);
  store::append_json_string(quoted, value);
  parameters["text" + n] = store::attribute_line(key, quoted);
  parameters["plain" + n] = store::attribute_line(key, value);
  parameters["event_text" + n] = quoted_key + ":" + quoted;
  parameters["event_plain" + n] = quoted_key + ":" + value;
  const std::string lines =
      "hasAny(splitByChar('\\n', attributes), [{text" + n + ":String}, {plain" + n + ":String}])";
  std::string holds = lines + " OR resource IN (SELECT hash FROM nuages.resources WHERE " + lines +
                      ") OR position(events, {event_text" + n +
                      ":String}) > 0 OR match(events, concat('\\\\Q', {event_plain" + n +
                      ":String}, '\\\\E[,}]'))";
  if (const auto field = store::promoted_field(key)) {
    parameters["key" + n] = key;
    parameters["value" + n] = value;
    holds += " OR " + store::promoted_condition(*field, "key" + n, "value" + n);
  }
  return " AND (" + holds + ")";
}

}  // namespace

Result<std::vector<Operation>> list_operations(store::Store& store, const std::string& service,
                                               std::optional<uint8_t> kind) {
  store::Parameters parameters{{"service", service}};
  std::string sql = "SELECT name, kind FROM nuages.spans WHERE service = {service:String}";
  if (kind) {
    sql += " AND kind = {kind:UInt8}";
    parameters["kind"] = std::to_string(*kind);
  }
  auto rows =
      Rows::select(store, sql + " GROUP BY name, kind ORDER BY name, kind LIMIT 10000", parameters);
  if (!rows) return rows.error();
  std::vector<Operation> operations;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    operations.push_back({std::string(row.text(0)), static_cast<uint8_t>(row.integer(1))});
  }
  return operations;
}

Result<std::vector<TraceId>> find_traces(store::Store& store, const SpanSearch& search) {
  store::Parameters parameters{{"service", search.service},
                               {"start", std::to_string(search.start)},
                               {"end", std::to_string(search.end)},
                               {"limit", std::to_string(search.limit)}};
  std::string sql = std::string("SELECT lower(hex(trace_id)) FROM nuages.spans WHERE") +
                    " service = {service:String} AND " + kInTime;
  if (!search.operation.empty()) {
    sql += " AND name = {operation:String}";
    parameters["operation"] = search.operation;
  }
  if (search.min_duration) {
    sql += " AND duration >= {min_duration:UInt64}";
    parameters["min_duration"] = std::to_string(*search.min_duration);
  }
  if (search.max_duration) {
    sql += " AND duration <= {max_duration:UInt64}";
    parameters["max_duration"] = std::to_string(*search.max_duration);
  }
  if (search.error) sql += *search.error ? " AND status = 2" : " AND status = 1";
  for (size_t i = 0; i < search.attributes.size(); ++i) {
    const auto& [key, value] = search.attributes[i];
    sql += attribute_condition(i, key, value, parameters);
  }
  sql += " GROUP BY trace_id ORDER BY max(ts) DESC, trace_id LIMIT {limit:UInt64}";
  // Latest first: most searches end in the last minutes, whatever the time asked for.
  std::vector<TraceId> traces;
  int64_t end = search.end;
  for (const int64_t back : kWindows) {
    const int64_t start = end - search.start > back ? end - back : search.start;
    parameters["start"] = std::to_string(start);
    parameters["end"] = std::to_string(end);
    auto rows = Rows::select(store, sql, parameters);
    if (!rows) return rows.error();
    for (size_t i = 0; i < rows->size() && traces.size() < search.limit; ++i) {
      const auto id = trace_id_from_hex((*rows)[i].text(0));
      if (id && std::find(traces.begin(), traces.end(), *id) == traces.end()) traces.push_back(*id);
    }
    if (traces.size() == search.limit || start == search.start) break;
    end = start - 1;
  }
  return traces;
}

Result<std::vector<ServiceCalls>> count_calls(store::Store& store, int64_t start, int64_t end) {
  store::Parameters parameters{{"start", std::to_string(start)}, {"end", std::to_string(end)}};
  auto size = Rows::select(store, std::string("SELECT count() FROM nuages.spans WHERE ") + kInTime,
                           parameters);
  if (!size) return size.error();
  const uint64_t spans = size->size() == 0 ? 0 : (*size)[0].natural(0);
  const uint64_t share = spans / kExactSpans + 1;  // one of so many traces
  parameters["share"] = std::to_string(share);
  const std::string chosen = std::string(" FROM nuages.spans WHERE ") + kInTime +
                             " AND cityHash64(trace_id) % {share:UInt64} = 0";
  auto rows = Rows::select(
      store,
      "SELECT parent.service, child.service, count() FROM (SELECT DISTINCT trace_id, span_id,"
      " parent_id, service" +
          chosen +
          " AND parent_id != 0) AS child INNER JOIN (SELECT trace_id, span_id, any(service) AS"
          " service" +
          chosen +
          " GROUP BY trace_id, span_id) AS parent ON child.trace_id = parent.trace_id AND"
          " child.parent_id = parent.span_id GROUP BY parent.service, child.service"
          " ORDER BY parent.service, child.service LIMIT 10000",
      parameters);
  if (!rows) return rows.error();
  std::vector<ServiceCalls> calls;
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    calls.push_back({std::string(row.text(0)), std::string(row.text(1)), row.natural(2) * share});
  }
  return calls;
}

}  // namespace nuages::query
