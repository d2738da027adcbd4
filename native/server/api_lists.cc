#include <algorithm>
#include <charconv>

#include "query/lists.h"
#include "server/api_findings.h"
#include "server/api_routes.h"

namespace nuages::server::api {
namespace {

constexpr uint64_t kDefaultTraces = 20;
constexpr uint64_t kDefaultFindings = 50;

// "404" or "5xx".
void read_http_status(Parameters& parameters, query::TraceFilter& filter) {
  const std::string text = parameters.text("http_status");
  if (text.empty()) return;
  if (text.size() == 3 && text[0] >= '1' && text[0] <= '5' && text.substr(1) == "xx") {
    filter.http_status_from = static_cast<uint16_t>((text[0] - '0') * 100);
    filter.http_status_to = static_cast<uint16_t>(*filter.http_status_from + 99);
    return;
  }
  uint16_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size() || number < 100 || number > 599) {
    parameters.refuse("http_status", "a status such as 404 or a class such as 5xx");
    return;
  }
  filter.http_status_from = filter.http_status_to = number;
}

// "order.id=42": the key ends at the first '='.
void read_attribute(Parameters& parameters, query::TraceFilter& filter) {
  const std::string text = parameters.text("attribute");
  if (text.empty()) return;
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) {
    parameters.refuse("attribute", "key=value, for example order.id=42");
    return;
  }
  filter.attribute_key = text.substr(0, equals);
  filter.attribute_value = text.substr(equals + 1);
}

// "<ns>-<trace id>-<span id>": the last row of a page. A time alone is taken too.
std::string cursor_text(const query::TraceCursor& cursor) {
  return time_text(cursor.start) + "-" + to_hex(cursor.trace_id) + "-" + to_hex(cursor.span_id);
}

void read_cursor(Parameters& parameters, query::TraceFilter& filter) {
  const std::string text = parameters.text("before");
  if (text.empty()) return;
  query::TraceCursor cursor;
  const char* const all = text.data() + text.size();
  const auto [end, failure] = std::from_chars(text.data(), all, cursor.start);
  bool good = failure == std::errc() && cursor.start >= 0;
  if (good && end != all) {
    constexpr size_t kTraceDigits = 32;
    const std::string_view ids(end, static_cast<size_t>(all - end));
    const bool shaped =
        ids.size() > kTraceDigits + 1 && ids[0] == '-' && ids[kTraceDigits + 1] == '-';
    const auto trace = shaped ? trace_id_from_hex(ids.substr(1, kTraceDigits)) : std::nullopt;
    const auto span = shaped ? span_id_from_hex(ids.substr(kTraceDigits + 2)) : std::nullopt;
    good = trace && span;
    if (good) cursor = {cursor.start, *trace, *span};
  }
  if (good) {
    filter.before = cursor;
  } else {
    parameters.refuse("before", "next_before of a page, or a time in Unix nanoseconds");
  }
}

Result<query::TraceFilter> read_filter(const Request& request) {
  Parameters parameters(request);
  query::TraceFilter filter;
  filter.service = parameters.text("service");
  filter.route = parameters.text("route");
  filter.name = parameters.text("name");
  if (const auto status = parameters.choice("status", "ok|error"); !status.empty()) {
    filter.error = status == "error";
  }
  read_http_status(parameters, filter);
  filter.min_duration = parameters.milliseconds_as_ns("min_duration_ms");
  filter.max_duration = parameters.milliseconds_as_ns("max_duration_ms");
  filter.start = parameters.nanoseconds("start");
  filter.end = parameters.nanoseconds("end");
  read_cursor(parameters, filter);
  if (const auto id = parameters.text("trace_id"); !id.empty()) {
    filter.trace_id = trace_id_from_hex(id);
    if (!filter.trace_id) parameters.refuse("trace_id", "32 hexadecimal digits, not all zero");
  }
  filter.n_plus_one = parameters.boolean("n_plus_one");
  const auto kind = parameters.choice("kind", "internal|server|client|producer|consumer");
  for (uint8_t number = 1; number <= query::kConsumer && !kind.empty(); ++number) {
    if (query::kind_name(number) == kind) filter.kind = number;
  }
  read_attribute(parameters, filter);
  filter.limit = parameters.limit(kDefaultTraces, query::kMaxListed);
  if (Status good = parameters.finish(); !good) return good.error();
  return filter;
}

void write_trace_row(query::JsonWriter& json, const query::TraceRow& row) {
  json.begin_object();
  json.field("trace_id", std::string_view(to_hex(row.trace_id)));
  json.field("span_id", std::string_view(to_hex(row.span_id)));
  json.field("name", std::string_view(row.name)).field("service", std::string_view(row.service));
  json.field("route", std::string_view(row.route)).field("method", std::string_view(row.method));
  json.field("kind", query::kind_name(row.kind));
  json.key("http_status");
  row.http_status == 0 ? json.null() : json.integer(row.http_status);
  json.field("status", query::status_name(row.status));
  json.field("start", std::string_view(time_text(row.start))).field("duration", row.duration);
  json.field("span_count", row.span_count).field("error_count", row.error_count);
  json.key("services").begin_array();
  for (const auto& service : row.services) json.string(service);
  json.end_array();
  json.key("query_count");
  row.query_count < 0 ? json.null() : json.integer(row.query_count);
  json.field("n_plus_one", row.n_plus_one).field("max_repetitions", row.max_repetitions);
  json.field("task", std::string_view(row.task));
  json.end_object();
}

}  // namespace

void write_finding_fields(query::JsonWriter& json, const query::Finding& finding) {
  json.field("kind", "n_plus_one").field("title", std::string_view(finding.title));
  json.field("statement", std::string_view(finding.statement));
  json.field("label", std::string_view(finding.label));
  json.field("count", finding.count).field("total_duration", finding.total_duration);
  json.field("file", std::string_view(finding.file)).field("line", finding.line);
  json.field("function", std::string_view(finding.function));
  json.field("relation", std::string_view(finding.relation));
  json.field("suggestion", std::string_view(finding.suggestion));
  json.key("span_ids").begin_array();
  for (const SpanId id : finding.span_ids) json.string(to_hex(id));
  json.end_array();
  json.field("parent_span_id", std::string_view(id_or_empty(finding.parent_span_id)));
}

Response services(const Context& context) {
  Parameters parameters(context.request);
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  auto rows = query::list_services(context.store);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("services").begin_array();
  for (const auto& row : *rows) {
    json.begin_object().field("name", std::string_view(row.name));
    json.field("span_count", row.span_count).field("entry_count", row.entry_count);
    json.field("error_count", row.error_count);
    json.field("last_seen", std::string_view(time_text(row.last_seen))).end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

Response routes(const Context& context) {
  Parameters parameters(context.request);
  const std::string service = parameters.text("service");
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  auto rows = query::list_routes(context.store, service);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("routes").begin_array();
  for (const auto& row : *rows) {
    json.begin_object().field("service", std::string_view(row.service));
    json.field("route", std::string_view(row.route)).field("name", std::string_view(row.name));
    json.field("count", row.count).end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

Response traces(const Context& context) {
  auto filter = read_filter(context.request);
  if (!filter) return error_response(filter.error());
  auto list = query::list_traces(context.store, *filter);
  if (!list) return error_response(list.error());
  query::JsonWriter json;
  json.begin_object().key("traces").begin_array();
  for (const auto& row : list->rows) write_trace_row(json, row);
  json.end_array().key("next_before");
  const auto& cursor = list->next_before;
  cursor ? json.string(cursor_text(*cursor)) : json.null();
  json.field("truncated", cursor.has_value()).end_object();
  return json_response(std::move(json));
}

Response findings(const Context& context) {
  Parameters parameters(context.request);
  const std::string service = parameters.text("service");
  const uint64_t limit = parameters.limit(kDefaultFindings, query::kMaxListed);
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  auto rows = query::list_findings(context.store, service, limit);
  if (!rows) return error_response(rows.error());
  query::JsonWriter json;
  json.begin_object().key("findings").begin_array();
  for (const auto& row : *rows) {
    json.begin_object();
    json.field("trace_id", std::string_view(to_hex(row.finding.trace_id)));
    json.field("service", std::string_view(row.service)).field("name", std::string_view(row.name));
    json.field("route", std::string_view(row.route));
    json.field("start", std::string_view(time_text(row.start)));
    write_finding_fields(json, row.finding);
    json.end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

}  // namespace nuages::server::api
