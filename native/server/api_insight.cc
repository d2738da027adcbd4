#include "query/insight.h"
#include "server/api_routes.h"

namespace nuages::server::api {
namespace {

constexpr uint64_t kDefaultRows = 50;
constexpr uint64_t kMostRows = 1000;

Result<query::InsightFilter> read_filter(const Request& request, bool with_route) {
  Parameters parameters(request);
  query::InsightFilter filter;
  filter.service = parameters.text("service");
  if (with_route) filter.route = parameters.text("route");
  filter.start = parameters.nanoseconds("start");
  filter.end = parameters.nanoseconds("end");
  filter.limit = parameters.limit(kDefaultRows, kMostRows);
  if (Status good = parameters.finish(); !good) return good.error();
  return filter;
}

void write_durations(query::JsonWriter& json, const query::Durations& durations) {
  json.field("count", durations.count).field("errors", durations.errors);
  json.field("total_duration", durations.total).field("p50", durations.p50);
  json.field("p95", durations.p95).field("p99", durations.p99);
}

}  // namespace

Response red(const Context& context) {
  const auto filter = read_filter(context.request, true);
  if (!filter) return error_response(filter.error());
  const auto rows = query::list_red(context.store, *filter);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("operations").begin_array();
  for (const query::RedRow& row : *rows) {
    json.begin_object().field("service", std::string_view(row.service));
    json.field("route", std::string_view(row.route)).field("name", std::string_view(row.name));
    json.field("kind", query::kind_name(row.kind));
    write_durations(json, row.durations);
    json.end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

Response queries(const Context& context) {
  const auto filter = read_filter(context.request, false);
  if (!filter) return error_response(filter.error());
  const auto rows = query::list_queries(context.store, *filter);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("queries").begin_array();
  for (const query::QueryRow& row : *rows) {
    json.begin_object().field("service", std::string_view(row.service));
    json.field("db_system", std::string_view(row.db_system));
    json.field("db_name", std::string_view(row.db_name));
    // As text: JSON numbers of browsers end at 2^53.
    json.field("fingerprint", std::string_view(std::to_string(row.fingerprint)));
    json.field("statement", std::string_view(row.statement));
    json.field("label", std::string_view(row.label));
    write_durations(json, row.durations);
    json.end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

Response edges(const Context& context) {
  const auto filter = read_filter(context.request, false);
  if (!filter) return error_response(filter.error());
  const auto rows = query::list_edges(context.store, *filter);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("edges").begin_array();
  for (const query::EdgeRow& row : *rows) {
    json.begin_object().field("service", std::string_view(row.service));
    json.field("kind", query::kind_name(row.kind));
    json.field("target_type", std::string_view(row.target_type));
    json.field("target_system", std::string_view(row.target_system));
    json.field("target", std::string_view(row.target));
    json.field("count", row.count).field("errors", row.errors);
    json.field("total_duration", row.total).end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

}  // namespace nuages::server::api
