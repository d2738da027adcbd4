#include "query/findings.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/golden.h"
#include "query/test_trace_text.h"

namespace nuages::query {
namespace {

TEST(Findings, Golden) {
  nuages::testing::run_golden_suite("findings", [](const std::string& input) {
    std::istringstream in(input);
    const Trace trace = assemble(testing::parse_spans(in));
    std::string out;
    for (const Finding& finding : find_n_plus_one(trace)) {
      out += fmt::format("{}\n  statement {}\n  count {} total {} parent {:x} at {}:{} {}\n",
                         finding.title, finding.statement, finding.count, finding.total_duration,
                         finding.parent_span_id, finding.file, finding.line, finding.function);
      out +=
          fmt::format("  relation {} suggestion {}\n  spans", finding.relation, finding.suggestion);
      for (const SpanId id : finding.span_ids) out += fmt::format(" {:x}", id);
      out += '\n';
    }
    return out.empty() ? std::string("none") : out;
  });
}

TEST(Findings, BrokenEventsAreNoFindings) {
  for (const char* events : {"", "[", "{}", "[1]", R"([{"name":"nuages.n_plus_one"}])",
                             R"([{"name":"nuages.n_plus_one","attributes":[]}])",
                             R"([{"name":"other","attributes":{"count":9}}])"}) {
    EXPECT_TRUE(findings_in_events(events, {0, 1}, 1, "place").empty()) << events;
  }
}

}  // namespace
}  // namespace nuages::query
