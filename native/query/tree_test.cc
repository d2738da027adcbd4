#include "query/tree.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/golden.h"
#include "query/test_trace_text.h"

namespace nuages::query {
namespace {

TEST(Tree, Golden) {
  nuages::testing::run_golden_suite("tree", [](const std::string& input) {
    std::istringstream in(input);
    std::string layout;
    std::getline(in, layout);
    EXPECT_TRUE(layout == "guide" || layout == "full") << layout;
    const Trace trace = assemble(testing::parse_spans(in));
    return render_tree(trace, find_n_plus_one(trace),
                       layout == "full" ? Layout::kFull : Layout::kGuide);
  });
}

TEST(Tree, DurationText) {
  EXPECT_EQ(duration_text(0), "0.0ms");
  EXPECT_EQ(duration_text(40'000), "0.0ms");
  EXPECT_EQ(duration_text(400'000), "0.4ms");
  EXPECT_EQ(duration_text(999'999), "1ms");
  EXPECT_EQ(duration_text(1'499'999), "1ms");
  EXPECT_EQ(duration_text(1'500'000), "2ms");
  EXPECT_EQ(duration_text(250'000'000), "250ms");
  EXPECT_EQ(duration_text(~uint64_t{0}), "18446744073710ms");
}

// A chain as deep as a read may return must neither overflow the stack nor fill memory.
TEST(Tree, ManyFoldedRunsBelowOneSpanStayLinear) {
  constexpr size_t kRuns = 5'000;
  constexpr size_t kTimes = 10;
  std::vector<SpanRecord> spans(1 + kRuns * kTimes);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].trace_id = {0, 1};
    spans[i].span_id = i + 1;
    spans[i].parent_id = i == 0 ? 0 : 1;
    spans[i].start = static_cast<int64_t>(i);
    spans[i].name = "run " + std::to_string(i % kRuns);
  }
  const Trace trace = assemble(std::move(spans));
  const std::string text = render_tree(trace, {}, Layout::kGuide);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + kRuns);
  EXPECT_NE(text.find("run 17 (0.0ms) [10 times]"), std::string::npos);
}

TEST(Tree, DeepChainStaysLinear) {
  std::vector<SpanRecord> spans(50'000);
  for (size_t i = 0; i < spans.size(); ++i) {
    spans[i].trace_id = {0, 1};
    spans[i].span_id = i + 1;
    spans[i].parent_id = i;
    spans[i].start = static_cast<int64_t>(i);
    spans[i].name = "level";
    spans[i].fingerprint = 9;
    spans[i].sql_label = "SELECT FROM t";
  }
  const Trace trace = assemble(std::move(spans));
  ASSERT_EQ(trace.roots.size(), 1U);
  const auto findings = find_n_plus_one(trace);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].count, 50'000U);
  const std::string text = render_tree(trace, {}, Layout::kFull);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 50'000);
  EXPECT_LT(text.size(), 50'000U * 1'300);
}

}  // namespace
}  // namespace nuages::query
