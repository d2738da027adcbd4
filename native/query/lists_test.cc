// Lists beside a real store: exact whatever repeats there are, and for every byte an id can have.
#include "query/lists.h"

#include <gtest/gtest.h>

#include "query/trace_reader.h"
#include "store/test_spans.h"
#include "store/test_store.h"

namespace nuages::query {
namespace {

using store::testing::TestSpan;

constexpr uint64_t kStart = 1'790'000'000'000'000'000;
constexpr uint64_t kSecond = 1'000'000'000;

class Lists : public store::testing::EngineTest {
 protected:
  static store::Store& filled(const std::string& service, const std::vector<TestSpan>& spans) {
    store::ChdbStore& store = store::testing::process_store();
    const auto block = store::testing::make_block(service, spans, kStart);
    const Status status = store.insert(block, service);
    EXPECT_TRUE(status.ok()) << status.error().message;
    return store;
  }
};

TEST_F(Lists, NewestAreExactBehindManyRepeats) {
  std::vector<TestSpan> spans;
  for (uint64_t i = 0; i < 30; ++i) {
    const TestSpan span{.trace_id = {7, i},
                        .span_id = 100 + i,
                        .name = "GET /",
                        .kind = wire::SpanKind::kServer,
                        .start = kStart + i / 2 * kSecond,  // two at each moment
                        .duration = i,
                        .attributes = {{"http.route", "/repeats/"}}};
    // The newest five many times over: the newest rows are repeats of few.
    for (int copies = i < 25 ? 1 : 100; copies > 0; --copies) spans.push_back(span);
  }
  store::Store& store = filled("repeats", spans);
  for (const std::string& service : {std::string("repeats"), std::string()}) {
    TraceFilter filter{.service = service, .route = "/repeats/", .min_duration = 1, .limit = 10};
    std::vector<uint64_t> found;
    for (int page = 0; page < 4; ++page) {
      const auto list = list_traces(store, filter);
      ASSERT_TRUE(list.ok()) << list.error().message;
      for (const TraceRow& row : list->rows) found.push_back(row.trace_id.low);
      if (!list->next_before) break;
      filter.before = list->next_before;
    }
    std::vector<uint64_t> expected;
    for (uint64_t i = 30; i > 0; i -= 2) {  // newest first, then by trace id
      if (i != 2) expected.push_back(i - 2);
      expected.push_back(i - 1);
    }
    EXPECT_EQ(found, expected);
  }
}

TEST_F(Lists, FindTracesWhoseIdsHoldEveryByte) {
  std::vector<TestSpan> spans;
  std::vector<TraceId> ids;
  for (uint64_t byte = 0; byte < 256; byte += 8) {
    TraceId id;
    for (uint64_t i = 0; i < 8; ++i) id.high = id.high << 8 | (byte + i);
    id.low = ~id.high;
    ids.push_back(id);
    spans.push_back({.trace_id = id, .span_id = byte + 1, .name = "job", .start = kStart});
  }
  store::Store& store = filled("bytes", spans);
  const auto whole = read_traces({&store, nullptr}, ids);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_EQ(whole->spans.size(), ids.size());
  for (const TraceId id : ids) {
    const auto one = read_traces({&store, nullptr}, {id});
    ASSERT_TRUE(one.ok()) << one.error().message;
    ASSERT_EQ(one->spans.size(), 1U) << to_hex(id);
    EXPECT_EQ(one->spans[0].trace_id, id);
  }
  const auto list = list_traces(store, {.service = "bytes", .limit = 100});
  ASSERT_TRUE(list.ok()) << list.error().message;
  ASSERT_EQ(list->rows.size(), ids.size());
  for (const TraceRow& row : list->rows) EXPECT_EQ(row.span_count, 1U) << to_hex(row.trace_id);
}

}  // namespace
}  // namespace nuages::query
