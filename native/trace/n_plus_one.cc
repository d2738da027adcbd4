#include <vector>

#include "trace/local_root.h"
#include "trace/span.h"

namespace nuages::trace {
namespace {

constexpr size_t kMaxFindings = 20;  // events on one root span
constexpr std::string_view kSameParameters =
    "the parameters are the same each time: keep the result";

void add_text(std::vector<AttributeView>& attributes, std::string_view key, std::string_view text) {
  if (!text.empty()) attributes.push_back({key, text_value(text)});
}

}  // namespace

// Rows that are used one by one come in one query; one and the same row is kept.
std::string_view suggestion_of(const RepeatedQuery& query) {
  const std::string_view known =
      query.sites.empty() ? std::string_view() : query.sites.front().suggestion;
  const bool relation = !query.sites.empty() && !query.sites.front().relation.empty();
  return query.same_parameters && !relation ? kSameParameters : known;
}

void annotate_n_plus_one(Span& span, const NPlusOneResult& result) {
  if (result.query_count == 0) return;
  if (span.local_root()) span.local_root()->set_noted();
  span.set_attribute("db.query_count", int_value(result.query_count));
  span.set_attribute("db.max_query_repetitions", int_value(result.max_repetitions));
  if (result.query_count > n_plus_one_options().many) {
    span.set_attribute("db.high_query_count", bool_value(true));
  }
  if (!result.potential_n_plus_one) return;
  span.set_attribute("db.potential_n_plus_one", bool_value(true));
  std::vector<AttributeView> attributes;
  size_t findings = 0;
  for (const RepeatedQuery& query : result.flagged) {
    if (findings++ == kMaxFindings) break;
    attributes.clear();
    add_text(attributes, "db.statement", query.statement);
    attributes.push_back({"db.fingerprint", int_value(static_cast<int64_t>(query.fingerprint))});
    attributes.push_back({"count", int_value(query.count)});
    attributes.push_back({"duration_ns", int_value(static_cast<int64_t>(query.total_duration_ns))});
    attributes.push_back({"saved_ns", int_value(static_cast<int64_t>(query.saved_ns))});
    if (query.same_parameters) attributes.push_back({"same_parameters", bool_value(true)});
    if (query.sites.empty()) {
      add_text(attributes, "suggestion", suggestion_of(query));
    } else {
      const CallSite& site = query.sites.front();
      add_text(attributes, "code.filepath", site.file);
      attributes.push_back({"code.lineno", int_value(site.line)});
      add_text(attributes, "code.function", site.function);
      add_text(attributes, "django.relation", site.relation);
      add_text(attributes, "suggestion", suggestion_of(query));
      add_text(attributes, "via", site.via);
      if (!site.origin_file.empty()) {
        add_text(attributes, "origin.filepath", site.origin_file);
        attributes.push_back({"origin.lineno", int_value(site.origin_line)});
        add_text(attributes, "origin.function", site.origin_function);
        attributes.push_back({"origin.rows", int_value(site.origin_rows)});
      }
    }
    span.add_event("nuages.n_plus_one", 0, attributes);
  }
}

}  // namespace nuages::trace
