#include "query/trace.h"

#include <gtest/gtest.h>

#include <sstream>

#include "query/test_trace_text.h"

namespace nuages::query {
namespace {

Trace trace_of(const std::string& text) {
  std::istringstream in(text);
  return assemble(testing::parse_spans(in));
}

TEST(Trace, SelfDurationLeavesOutTheUnionOfChildren) {
  const Trace trace = trace_of(
      "t1/1 - server root 0 100\n"
      "t1/2 1 internal a 10 20\n"     // 10..30
      "t1/3 1 internal b 20 30\n"     // 20..50, overlaps a
      "t1/4 1 internal c 25 2\n"      // inside both
      "t1/5 1 internal late 90 50\n"  // ends after its parent
      "t1/6 1 internal early 90 0\n");
  EXPECT_EQ(trace.nodes[0].self_duration, 50'000'000U);
  EXPECT_EQ(trace.nodes[1].self_duration, 20'000'000U);
  EXPECT_TRUE(trace.complete());
}

TEST(Trace, MissingParentMakesARootAndAnIncompleteTrace) {
  const Trace trace = trace_of("t1/1 - server root 0 100\nt1/2 9 internal orphan 10 20\n");
  EXPECT_EQ(trace.roots, (std::vector<size_t>{0, 1}));
  EXPECT_FALSE(trace.nodes[0].parent_missing);
  EXPECT_TRUE(trace.nodes[1].parent_missing);
  EXPECT_FALSE(trace.complete());
}

TEST(Trace, CyclesAreCutAtTheirEarliestSpan) {
  const Trace trace = trace_of(
      "t1/1 1 internal self 0 1\n"
      "t1/2 4 internal a 1 1\n"
      "t1/3 2 internal b 2 1\n"
      "t1/4 3 internal c 3 1\n"
      "t1/5 4 internal below 4 1\n");
  EXPECT_EQ(trace.roots, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(trace.nodes[1].children, (std::vector<size_t>{2}));
  EXPECT_EQ(trace.nodes[2].children, (std::vector<size_t>{3}));
  EXPECT_EQ(trace.nodes[3].children, (std::vector<size_t>{4}));
}

TEST(Trace, IdsCountWithinTheirTraceAndTheFirstOfTwoGetsTheChildren) {
  const Trace trace = trace_of(
      "t1/1 - server root 0 100\n"
      "t2/1 - server other 0 100\n"
      "t1/2 1 internal first 1 1\n"
      "t1/2 1 internal second 2 1\n"
      "t1/3 2 internal child 3 1\n"
      "t2/2 1 internal elsewhere 3 1\n");
  EXPECT_EQ(trace.nodes[0].children, (std::vector<size_t>{2, 3}));
  EXPECT_EQ(trace.nodes[1].children, (std::vector<size_t>{5}));
  EXPECT_EQ(trace.nodes[2].children, (std::vector<size_t>{4}));
  EXPECT_TRUE(trace.is_below(4, 0));
  EXPECT_TRUE(trace.is_below(2, 2));
  EXPECT_FALSE(trace.is_below(5, 0));
  EXPECT_FALSE(trace.is_below(0, 2));
}

TEST(Trace, EntryIsTheNearestSpanThatEnteredTheProcess) {
  const Trace trace = trace_of(
      "t1/1 - server web 0 100\n"
      "t1/2 1 producer send 1 1\n"
      "t1/3 2 consumer task 2 10\n"
      "t1/4 3 client query 3 1\n"
      "t1/5 8 client lost 3 1\n");
  EXPECT_EQ(trace.nodes[1].entry, 0U);
  EXPECT_EQ(trace.nodes[3].entry, 2U);
  EXPECT_EQ(trace.nodes[4].entry, kNoParent);
}

}  // namespace
}  // namespace nuages::query
