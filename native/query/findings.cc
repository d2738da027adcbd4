#include "query/findings.h"

#include <boost/json.hpp>
#include <map>

#include "sql/statement.h"

namespace nuages::query {
namespace {

std::string_view text_at(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string_view(text->data(), text->size()) : std::string_view();
}

int64_t number_at(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return 0;
  if (const auto* number = value->if_int64()) return *number;
  if (const auto* number = value->if_uint64()) return static_cast<int64_t>(*number);
  return 0;
}

std::string title_of(const Finding& finding, std::string_view place) {
  std::string title = finding.label + " ran " + std::to_string(finding.count) + " times";
  if (!place.empty()) title.append(" in ").append(place);
  return title;
}

struct EventFinding {
  Finding finding;
  uint64_t fingerprint = 0;
};

std::vector<EventFinding> read_events(std::string_view events, TraceId trace_id, SpanId span_id,
                                      std::string_view place) {
  std::vector<EventFinding> found;
  if (events.empty()) return found;
  boost::system::error_code failure;
  const auto parsed = boost::json::parse({events.data(), events.size()}, failure);
  const auto* list = failure ? nullptr : parsed.if_array();
  if (list == nullptr) return found;
  for (const auto& event : *list) {
    const auto* object = event.if_object();
    if (object == nullptr || text_at(*object, "name") != "nuages.n_plus_one") continue;
    const auto* value = object->if_contains("attributes");
    const auto* attributes = value != nullptr ? value->if_object() : nullptr;
    if (attributes == nullptr) continue;
    EventFinding entry;
    Finding& finding = entry.finding;
    finding.trace_id = trace_id;
    finding.parent_span_id = span_id;
    finding.statement = text_at(*attributes, "db.statement");
    finding.label = sql::analyze(finding.statement, sql::Dialect::kGeneric).label;
    finding.count = static_cast<uint64_t>(number_at(*attributes, "count"));
    finding.total_duration = static_cast<uint64_t>(number_at(*attributes, "duration_ns"));
    finding.file = text_at(*attributes, "code.filepath");
    finding.line = static_cast<uint32_t>(number_at(*attributes, "code.lineno"));
    finding.function = text_at(*attributes, "code.function");
    finding.relation = text_at(*attributes, "django.relation");
    finding.suggestion = text_at(*attributes, "suggestion");
    finding.title = title_of(finding, place);
    entry.fingerprint = static_cast<uint64_t>(number_at(*attributes, "db.fingerprint"));
    found.push_back(std::move(entry));
  }
  return found;
}

void add_spans(const Trace& trace, size_t ancestor, EventFinding& entry) {
  uint64_t total = 0;
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    const SpanRecord& span = trace.spans[i];
    if (span.fingerprint != entry.fingerprint || span.fingerprint == 0) continue;
    if (!trace.is_below(i, ancestor)) continue;
    entry.finding.span_ids.push_back(span.span_id);
    total += span.duration;
    if (entry.finding.statement.empty()) entry.finding.statement = span.statement;
    if (!span.sql_label.empty()) entry.finding.label = span.sql_label;
  }
  if (entry.finding.total_duration == 0) entry.finding.total_duration = total;
}

// BEGIN, COMMIT and savepoints repeat by design.
bool reads_or_writes(std::string_view label) {
  for (const std::string_view verb : {"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"}) {
    if (label.starts_with(verb)) return true;
  }
  return false;
}

void derive(const Trace& trace, std::vector<Finding>& findings) {
  std::map<std::pair<size_t, uint64_t>, std::vector<size_t>> groups;
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    const SpanRecord& span = trace.spans[i];
    if (span.fingerprint == 0 || !reads_or_writes(display_label(span))) continue;
    const size_t entry = trace.nodes[i].entry;
    const bool agent_counted = entry != kNoParent && trace.spans[entry].query_count >= 0;
    if (!agent_counted) groups[{entry, span.fingerprint}].push_back(i);
  }
  for (const auto& [key, members] : groups) {
    if (members.size() <= kMaxRepetitions) continue;
    const SpanRecord& first = trace.spans[members.front()];
    Finding finding;
    finding.trace_id = first.trace_id;
    finding.parent_span_id = key.first == kNoParent ? 0 : trace.spans[key.first].span_id;
    finding.statement = first.statement;
    finding.label = display_label(first);
    finding.count = members.size();
    finding.file = first.code_file;
    finding.line = first.code_line;
    finding.function = first.code_function;
    if (finding.label.starts_with("SELECT")) {
      finding.suggestion = "read the rows in one query: select_related or prefetch_related";
    } else {
      finding.suggestion = "write the rows in one statement: bulk_create, bulk_update or update";
    }
    for (const size_t member : members) {
      finding.span_ids.push_back(trace.spans[member].span_id);
      finding.total_duration += trace.spans[member].duration;
    }
    finding.title = title_of(
        finding, key.first == kNoParent ? std::string() : display_label(trace.spans[key.first]));
    findings.push_back(std::move(finding));
  }
}

}  // namespace

std::vector<Finding> findings_in_events(std::string_view events, TraceId trace_id, SpanId span_id,
                                        std::string_view place) {
  std::vector<Finding> findings;
  for (auto& entry : read_events(events, trace_id, span_id, place)) {
    findings.push_back(std::move(entry.finding));
  }
  return findings;
}

std::vector<Finding> find_n_plus_one(const Trace& trace) {
  std::vector<Finding> findings;
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    const SpanRecord& span = trace.spans[i];
    if (span.events.find("nuages.n_plus_one") == std::string::npos) continue;
    const std::string place = display_label(span);
    for (auto& entry : read_events(span.events, span.trace_id, span.span_id, place)) {
      add_spans(trace, i, entry);
      entry.finding.title = title_of(entry.finding, place);
      findings.push_back(std::move(entry.finding));
    }
  }
  derive(trace, findings);
  return findings;
}

}  // namespace nuages::query
