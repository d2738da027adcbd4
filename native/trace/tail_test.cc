#include "trace/tail.h"

#include <gtest/gtest.h>

#include <map>

#include "trace/span.h"

namespace nuages::trace {
namespace {

struct Sink : RecordSink {
  void publish(std::string_view record) noexcept override { records.emplace_back(record); }
  std::vector<std::string> records;
};

TEST(TailTest, FoldsByNameKindAndScopeExactly) {
  Tail tail;
  for (uint64_t i = 1; i <= 100; ++i) {
    tail.fold({1, wire::SpanKind::kClient, i % 2 == 0 ? "even" : "odd", 1000 - i, i, i == 7});
  }
  tail.fold({2, wire::SpanKind::kClient, "even", 5, 1, false});
  ASSERT_EQ(tail.groups().size(), 3U);
  const Tail::Group& odd = tail.groups()[0];
  EXPECT_EQ(odd.name, "odd");
  EXPECT_EQ(odd.count, 50U);
  EXPECT_EQ(odd.total_ns, 2500U);
  EXPECT_EQ(odd.longest_ns, 99U);
  EXPECT_EQ(odd.errors, 1U);
  EXPECT_EQ(odd.first_ns, 901U);
  EXPECT_EQ(odd.last_ns, 1000U);
}

TEST(TailTest, NamesWithoutEndShareOneGroup) {
  Tail tail;
  for (int i = 0; i < 1000; ++i) {
    tail.fold({1, wire::SpanKind::kInternal, "name " + std::to_string(i), 1, 2});
  }
  ASSERT_EQ(tail.groups().size(), Tail::kMostGroups + 1);
  EXPECT_EQ(tail.groups().back().name, "other spans");
  EXPECT_EQ(tail.groups().back().count, 1000 - Tail::kMostGroups);
}

TEST(TailTest, ATraceBeyondTheCapGivesOneRecordForEachGroup) {
  const SpanRef root = Span::start({.name = "root"});
  Sink sink;
  RecordSink* const sinks[] = {&sink};
  for (uint64_t i = 0; i < LocalRoot::kMaxSpans + 500; ++i) {
    record_leaf(*root, {.name = "SELECT", .start_ns = 1000 * i + 1, .end_ns = 1000 * i + 11},
                sinks);
  }
  EXPECT_FALSE(Span::start({.name = "view", .local_parent = root.get()}));
  EXPECT_EQ(sink.records.size(), LocalRoot::kMaxSpans - 1);
  root->end();
  sink.records.clear();
  publish_folded(*root, sinks);
  ASSERT_EQ(sink.records.size(), 2U);
  std::map<std::string, std::map<std::string, int64_t>> seen;
  for (const std::string& bytes : sink.records) {
    const RecordView record(bytes);
    EXPECT_EQ(record.parent_id(), root->context().span_id);
    for (const AttributeView& each : record.attributes()) {
      seen[std::string(record.name())][std::string(each.key)] = each.value.integer;
    }
  }
  EXPECT_EQ(seen["SELECT"]["nuages.folded.count"], 501) << "the root is one of the ten thousand";
  EXPECT_EQ(seen["SELECT"]["nuages.folded.duration_ns"], 5010);
  EXPECT_EQ(seen["view"]["nuages.folded.count"], 1);
}

TEST(TailTest, HeldRecordsAreSentOrForgotten) {
  for (const bool keep : {true, false}) {
    const SpanRef root = Span::start({.name = "root", .sampled = false});
    LocalRoot& local = *root->local_root();
    local.hold_until_end();
    const SpanRef child =
        Span::start({.name = "child", .local_parent = root.get(), .sampled = false});
    child->end();
    child->read([&](const RecordView& record) { local.hold(record.bytes()); });
    Sink sink;
    RecordSink* const sinks[] = {&sink};
    local.settle(keep, sinks);
    EXPECT_EQ(sink.records.size(), keep ? 1U : 0U);
    EXPECT_EQ(local.fate(), keep ? LocalRoot::Fate::kKept : LocalRoot::Fate::kDropped);
  }
}

TEST(TailTest, AHeldTraceIsBounded) {
  Tail tail;
  const SpanRef span = Span::start({.name = std::string(100'000, 'x')});
  span->end();
  span->read([&](const RecordView& record) {
    for (int i = 0; i < 20; ++i) tail.hold(record.bytes());
  });
  Sink sink;
  RecordSink* const sinks[] = {&sink};
  tail.publish_held(sinks);
  EXPECT_EQ(sink.records.size(), 10U);
  EXPECT_EQ(tail.left_out(), 10U);
}

}  // namespace
}  // namespace nuages::trace
