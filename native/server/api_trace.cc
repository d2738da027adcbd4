#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "query/findings.h"
#include "query/trace.h"
#include "query/tree.h"
#include "server/api_findings.h"
#include "server/api_routes.h"
#include "store/attribute_text.h"

namespace nuages::server::api {
namespace {

struct ReadTrace {
  TraceId id;
  query::Trace trace;
  std::map<uint64_t, std::string> resources;
  std::vector<query::LinkedSpan> linked;
  bool truncated = false;
};

Result<ReadTrace> read(const Context& context, bool follow) {
  const auto id = trace_id_from_hex(context.path_parameter);
  if (!id) {
    return Error{ErrorCode::kInvalid, "the trace id '" + std::string(context.path_parameter) +
                                          "' must be 32 hexadecimal digits, not all zero"};
  }
  query::FollowedTraces found;
  if (follow) {
    auto followed = query::read_followed(context.source(), *id);
    if (!followed) return followed.error();
    found = std::move(*followed);
  } else {
    auto data = query::read_traces(context.source(), {*id});
    if (!data) return data.error();
    auto linked = query::read_linked(context.source(), *id, data->spans);
    if (!linked) return linked.error();
    found = {std::move(*data), std::move(*linked)};
  }
  const bool known = std::any_of(found.data.spans.begin(), found.data.spans.end(),
                                 [&](const auto& span) { return span.trace_id == *id; });
  if (!known) {
    return Error{ErrorCode::kNotFound,
                 "there is no trace " + to_hex(*id) + " (not received, or its data has expired)"};
  }
  // The trace's own spans first, then its linked traces', each by start.
  return ReadTrace{.id = *id,
                   .trace = query::assemble(std::move(found.data.spans)),
                   .resources = std::move(found.data.resources),
                   .linked = std::move(found.linked),
                   .truncated = found.data.truncated};
}

void write_attributes(query::JsonWriter& json,
                      const std::vector<std::pair<std::string, std::string>>& attributes) {
  json.key("attributes").begin_object();
  for (const auto& [key, value] : attributes) json.key(key).raw(value);
  json.end_object();
}

void write_span(query::JsonWriter& json, const query::SpanRecord& span, const query::Node& node,
                size_t resource) {
  json.begin_object();
  json.field("trace_id", std::string_view(to_hex(span.trace_id)));
  json.field("span_id", std::string_view(to_hex(span.span_id)));
  json.field("parent_span_id", std::string_view(id_or_empty(span.parent_id)));
  json.field("name", std::string_view(span.name));
  json.field("label", std::string_view(query::display_label(span)));
  json.field("kind", query::kind_name(span.kind));
  json.field("status", query::status_name(span.status));
  json.field("status_message", std::string_view(span.status_message));
  json.field("start", std::string_view(time_text(span.start))).field("duration", span.duration);
  json.field("self_duration", node.self_duration);
  json.field("service", std::string_view(span.service));
  json.field("scope", std::string_view(span.scope));
  write_attributes(json, span.attributes);
  json.key("events").raw(span.events.empty() ? "[]" : span.events);
  json.key("links").raw(span.links_json.empty() ? "[]" : span.links_json);
  json.field("resource", resource);
  if (!span.extra.empty()) json.key("extra").raw(span.extra);
  json.end_object();
}

void write_linked(query::JsonWriter& json, const std::vector<query::LinkedSpan>& linked) {
  json.key("linked").begin_array();
  for (const auto& link : linked) {
    json.begin_object().field("trace_id", std::string_view(to_hex(link.trace_id)));
    json.field("span_id", std::string_view(to_hex(link.span_id)));
    json.field("direction", link.task ? "task" : "producer");
    json.field("via_span_id", std::string_view(id_or_empty(link.via_span_id)));
    json.field("name", std::string_view(link.name));
    json.field("service", std::string_view(link.service));
    json.field("status", query::status_name(link.status));
    json.field("start", std::string_view(time_text(link.start)));
    json.field("duration", link.duration).field("stored", link.found).end_object();
  }
  json.end_array();
}

// Returns the position of each resource in the answer.
std::map<uint64_t, size_t> resource_positions(const query::Trace& trace) {
  std::map<uint64_t, size_t> positions;
  for (const auto& span : trace.spans) positions.try_emplace(span.resource, positions.size());
  return positions;
}

void write_resources(query::JsonWriter& json, const ReadTrace& read,
                     const std::map<uint64_t, size_t>& positions) {
  std::vector<uint64_t> hashes(positions.size());
  for (const auto& [hash, position] : positions) hashes[position] = hash;
  json.key("resources").begin_array();
  for (const uint64_t hash : hashes) {
    json.begin_object().key("attributes").begin_object();
    if (const auto found = read.resources.find(hash); found != read.resources.end()) {
      store::read_attribute_lines(found->second, [&](std::string_view key, std::string_view value) {
        json.key(key).raw(value);
      });
    }
    json.end_object().end_object();
  }
  json.end_array();
}

}  // namespace

Response trace(const Context& context) {
  Parameters parameters(context.request);
  const bool follow = parameters.boolean("follow").value_or(false);
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  auto found = read(context, follow);
  if (!found) return error_response(found.error());
  const query::Trace& trace = found->trace;
  int64_t start = std::numeric_limits<int64_t>::max();
  int64_t end = std::numeric_limits<int64_t>::min();
  std::set<std::string_view> services;
  for (const auto& span : trace.spans) {
    services.insert(span.service);
    if (span.trace_id != found->id) continue;
    start = std::min(start, span.start);
    end = std::max(end, span.end());
  }
  const auto positions = resource_positions(trace);
  query::JsonWriter json;
  json.begin_object().field("trace_id", std::string_view(to_hex(found->id)));
  json.field("start", std::string_view(time_text(start))).field("duration", end - start);
  json.key("services").begin_array();
  for (const auto service : services) json.string(service);
  json.end_array();
  json.key("spans").begin_array();
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    write_span(json, trace.spans[i], trace.nodes[i], positions.at(trace.spans[i].resource));
  }
  json.end_array();
  write_resources(json, *found, positions);
  write_linked(json, found->linked);
  json.key("findings").begin_array();
  for (const auto& finding : query::find_n_plus_one(trace)) {
    json.begin_object().field("trace_id", std::string_view(to_hex(finding.trace_id)));
    write_finding_fields(json, finding);
    json.end_object();
  }
  json.end_array();
  json.field("complete", trace.complete() && !found->truncated).end_object();
  return json_response(std::move(json));
}

Response trace_tree(const Context& context) {
  Parameters parameters(context.request);
  const std::string layout = parameters.choice("layout", "guide|full");
  const bool follow = parameters.boolean("follow").value_or(true);
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  auto found = read(context, follow);
  if (!found) return error_response(found.error());
  return text_response(
      200, query::render_tree(found->trace, query::find_n_plus_one(found->trace),
                              layout == "full" ? query::Layout::kFull : query::Layout::kGuide));
}

}  // namespace nuages::server::api
