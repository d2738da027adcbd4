#include "query/insight.h"

#include <gtest/gtest.h>

#include "store/test_spans.h"
#include "store/test_store.h"

namespace nuages::query {
namespace {

using store::testing::make_block;
using store::testing::process_store;
using store::testing::TestSpan;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kNow = 1'790'000'000'000 * kMs;

class InsightTest : public store::testing::EngineTest {};

// A bucket's upper end is at most nine percent above what is in it.
bool is_near(uint64_t is, uint64_t expected) {
  return is >= expected && static_cast<double>(is) <= static_cast<double>(expected) * 1.1;
}

TEST_F(InsightTest, RollUpsAreListedWithQuantiles) {
  std::vector<TestSpan> spans;
  for (uint64_t i = 1; i <= 100; ++i) {
    TestSpan span{.trace_id = {777, i},
                  .span_id = i,
                  .name = "GET /rolled/",
                  .kind = wire::SpanKind::kServer,
                  .start = kNow,
                  .duration = i * kMs,
                  .attributes = {{"http.route", "/rolled/"}}};
    if (i > 98) span.status = wire::StatusCode::kError;
    spans.push_back(span);
    spans.push_back({.trace_id = {777, i},
                     .span_id = 1000 + i,
                     .parent_id = i,
                     .name = "SELECT",
                     .kind = wire::SpanKind::kClient,
                     .start = kNow,
                     .duration = 2 * kMs,
                     .attributes = {{"db.system", "postgresql"},
                                    {"db.name", "shop"},
                                    {"db.statement", "SELECT x FROM rolled WHERE id = 5"}}});
  }
  ASSERT_TRUE(process_store().insert(make_block("rolled", spans, kNow), "rolled-1").ok());
  const InsightFilter filter{.service = "rolled"};
  const auto red = list_red(process_store(), filter);
  ASSERT_TRUE(red.ok()) << red.error().message;
  ASSERT_EQ(red->size(), 1U);
  const Durations& durations = red->front().durations;
  EXPECT_EQ(red->front().route, "/rolled/");
  EXPECT_EQ(durations.count, 100U);
  EXPECT_EQ(durations.errors, 2U);
  EXPECT_EQ(durations.total, 5050 * kMs);
  EXPECT_TRUE(is_near(durations.p50, 50 * kMs)) << durations.p50;
  EXPECT_TRUE(is_near(durations.p95, 95 * kMs)) << durations.p95;
  EXPECT_TRUE(is_near(durations.p99, 99 * kMs)) << durations.p99;
  const auto queries = list_queries(process_store(), filter);
  ASSERT_TRUE(queries.ok()) << queries.error().message;
  ASSERT_EQ(queries->size(), 1U);
  EXPECT_EQ(queries->front().durations.count, 100U);
  EXPECT_EQ(queries->front().statement, "SELECT x FROM rolled WHERE id = ?");
  EXPECT_EQ(queries->front().db_name, "shop");
  const auto edges = list_edges(process_store(), filter);
  ASSERT_TRUE(edges.ok()) << edges.error().message;
  ASSERT_EQ(edges->size(), 1U);
  EXPECT_EQ(edges->front().target, "shop");
  EXPECT_EQ(edges->front().target_type, "database");
  EXPECT_EQ(edges->front().count, 100U);
  const InsightFilter before{.service = "rolled", .end = 1};
  EXPECT_EQ(list_red(process_store(), before)->size(), 0U);
}

}  // namespace
}  // namespace nuages::query
