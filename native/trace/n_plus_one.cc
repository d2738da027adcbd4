#include <vector>

#include "trace/local_root.h"
#include "trace/span.h"

namespace nuages::trace {
namespace {

constexpr size_t kMaxFindings = 20;  // events on one root span

void add_text(std::vector<AttributeView>& attributes, std::string_view key, std::string_view text) {
  if (!text.empty()) attributes.push_back({key, text_value(text)});
}

}  // namespace

void annotate_n_plus_one(Span& span, const NPlusOneResult& result) {
  if (result.query_count == 0) return;
  if (span.local_root()) span.local_root()->set_noted();
  span.set_attribute("db.query_count", int_value(result.query_count));
  span.set_attribute("db.max_query_repetitions", int_value(result.max_repetitions));
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
    if (!query.sites.empty()) {
      const CallSite& site = query.sites.front();
      add_text(attributes, "code.filepath", site.file);
      attributes.push_back({"code.lineno", int_value(site.line)});
      add_text(attributes, "code.function", site.function);
      add_text(attributes, "django.relation", site.relation);
      add_text(attributes, "suggestion", site.suggestion);
    }
    span.add_event("nuages.n_plus_one", 0, attributes);
  }
}

}  // namespace nuages::trace
