#include "trace/local_root.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

#include "trace/span.h"

namespace nuages::trace {
namespace {

constexpr std::string_view kUserById = "SELECT * FROM auth_user WHERE id = ?";

TEST(NPlusOneTest, ExactlyTheThresholdIsNotFlagged) {
  const auto root = LocalRoot::create();
  for (int i = 0; i < 5; ++i) root->count_query(1, 10, 100, kUserById);
  NPlusOneResult result = root->n_plus_one();
  EXPECT_EQ(result.query_count, 5U);
  EXPECT_EQ(result.max_repetitions, 5U);
  EXPECT_FALSE(result.potential_n_plus_one);
  EXPECT_TRUE(result.flagged.empty());

  root->count_query(1, 10, 100, kUserById);
  result = root->n_plus_one();
  EXPECT_TRUE(result.potential_n_plus_one);
  ASSERT_EQ(result.flagged.size(), 1U);
  EXPECT_EQ(result.flagged[0].count, 6U);
  EXPECT_EQ(result.flagged[0].total_duration_ns, 600U);
  EXPECT_EQ(result.flagged[0].statement, kUserById);
  EXPECT_TRUE(root->n_plus_one(5).potential_n_plus_one);
  EXPECT_FALSE(root->n_plus_one(6).potential_n_plus_one);
}

TEST(NPlusOneTest, StatementsOnTwoDatabasesAreTwoGroups) {
  const auto root = LocalRoot::create();
  for (int i = 0; i < 4; ++i) {
    root->count_query(1, 10, 1, "a");
    root->count_query(2, 10, 1, "a");
  }
  EXPECT_EQ(root->n_plus_one().query_count, 8U);
  EXPECT_EQ(root->n_plus_one().max_repetitions, 4U);
  EXPECT_FALSE(root->n_plus_one().potential_n_plus_one);
}

TEST(NPlusOneTest, TableGrowsAndKeepsEveryCount) {
  const auto root = LocalRoot::create();
  std::map<uint64_t, uint32_t> expected;
  for (uint64_t fingerprint = 1; fingerprint <= 700; ++fingerprint) {
    for (uint64_t i = 0; i < 1 + fingerprint % 9; ++i) {
      // Keys that differ only in high or only in low bits.
      const uint64_t key = fingerprint % 2 != 0 ? fingerprint << 40 : fingerprint;
      root->count_query(0, key, 1, "s");
      ++expected[key];
    }
  }
  const NPlusOneResult result = root->n_plus_one(0);
  ASSERT_EQ(result.flagged.size(), expected.size());
  for (const RepeatedQuery& query : result.flagged) {
    EXPECT_EQ(query.count, expected[query.fingerprint]);
  }
  EXPECT_GE(result.flagged.front().count, result.flagged.back().count);
}

TEST(NPlusOneTest, DistinctStatementsAreBoundedButAllAreCounted) {
  const auto root = LocalRoot::create();
  for (uint64_t i = 1; i <= LocalRoot::kMaxStatements + 100; ++i) root->count_query(0, i, 1, "s");
  EXPECT_EQ(root->query_count(), LocalRoot::kMaxStatements + 100);
  EXPECT_EQ(root->n_plus_one(0).flagged.size(), LocalRoot::kMaxStatements);
}

TEST(NPlusOneTest, CallSitesAreWantedFromTheThirdRepeatAndEverLess) {
  const auto root = LocalRoot::create();
  std::vector<uint32_t> wanted;
  for (uint32_t i = 1; i <= 200; ++i) {
    const QueryCount count = root->count_query(0, 1, 1, "s");
    EXPECT_EQ(count.repetitions, i);
    if (count.wants_call_site) wanted.push_back(i);
  }
  EXPECT_EQ(wanted, (std::vector<uint32_t>{3, 4, 5, 6, 8, 16, 32, 64, 128}));
}

TEST(NPlusOneTest, CallSitesAreMergedBoundedAndOrdered) {
  const auto root = LocalRoot::create();
  for (int i = 0; i < 6; ++i) root->count_query(0, 1, 1, "s");
  root->add_call_site(0, 1, {"a.py", 1, "f", "", ""});
  root->add_call_site(0, 1, {"b.py", 2, "g", "", ""});
  root->add_call_site(0, 1, {"b.py", 2, "g", "Order.user", "select_related(\"user\")"});
  for (uint32_t line = 10; line < 20; ++line)
    root->add_call_site(0, 1, {"c.py", line, "h", "", ""});
  root->add_call_site(0, 99, {"unknown.py", 1, "f", "", ""});
  const NPlusOneResult result = root->n_plus_one();
  ASSERT_EQ(result.flagged.size(), 1U);
  const auto& sites = result.flagged[0].sites;
  ASSERT_EQ(sites.size(), LocalRoot::kMaxCallSites);
  EXPECT_EQ(sites[0].file, "b.py");
  EXPECT_EQ(sites[0].seen, 2U);
  EXPECT_EQ(sites[0].relation, "Order.user");
  EXPECT_EQ(sites[0].suggestion, "select_related(\"user\")");
}

TEST(NPlusOneTest, TheOriginOfTheRowsIsTheFirstOfAChain) {
  const auto root = LocalRoot::create();
  root->note_batch({"shop.Order", "views.py", 10, "list", 20, "", ""});
  for (uint32_t i = 0; i < 40; ++i) {  // one of them for each order
    root->note_batch({"shop.Item", "views.py", 12, "list", 3, "shop.Order", "items"});
  }
  for (uint32_t i = 0; i < 6; ++i) root->count_query(0, 1, i == 0 ? 100 : 10, "s");
  root->add_call_site(0, 1, {"views.py", 13, "list", "Item.product", "x", "shop.Item"});
  NPlusOneResult result = root->n_plus_one();
  const CallSite& site = result.flagged.at(0).sites.at(0);
  EXPECT_EQ(site.suggestion, "prefetch_related(\"items__product\")");
  EXPECT_EQ(site.origin_line, 10U);
  EXPECT_EQ(site.origin_rows, 20U);
  EXPECT_EQ(result.flagged[0].saved_ns, 150U - 100U - 25U);

  for (uint32_t i = 0; i < LocalRoot::kMaxBatches; ++i) {
    root->note_batch({"shop.Other", "views.py", 100 + i, "f", 2, "", ""});
  }
  for (uint32_t i = 0; i < 6; ++i) root->count_query(0, 2, 1, "t");
  root->add_call_site(0, 2, {"views.py", 14, "list", "Item.product", "x", "shop.Item"});
  result = root->n_plus_one();
  for (const RepeatedQuery& query : result.flagged) {
    EXPECT_EQ(query.sites.at(0).origin_line, query.fingerprint == 1 ? 10U : 0U) << "forgotten";
  }
}

TEST(NPlusOneTest, SeriesAreFineAndRepeatedParametersAreNamed) {
  const auto root = LocalRoot::create();
  for (uint64_t key : {1, 2, 3}) {
    for (int i = 0; i < 6; ++i) root->count_query(0, key, 1, "s");
  }
  for (uint64_t i = 0; i < 3; ++i) {
    root->add_call_site(0, 1, {.file = "a.py", .line = 1, .parameters = i + 1, .series = true});
    root->add_call_site(0, 2, {.file = "a.py", .line = 2, .parameters = 9, .series = i != 0});
    root->add_call_site(0, 3, {.file = "a.py", .line = 3, .parameters = i + 1});
  }
  const NPlusOneResult result = root->n_plus_one();
  ASSERT_EQ(result.flagged.size(), 2U) << "all of the first were one of a series";
  for (const RepeatedQuery& query : result.flagged) {
    EXPECT_EQ(query.same_parameters, query.fingerprint == 2);
    EXPECT_EQ(suggestion_of(query).empty(), query.fingerprint == 3);
  }
  EXPECT_EQ(result.max_repetitions, 6U);
}

TEST(NPlusOneTest, OptionsOfTheProcessSetThresholdAndExceptions) {
  const auto root = LocalRoot::create();
  for (uint64_t key : {1, 2, 3}) {
    for (int i = 0; i < 4; ++i)
      root->count_query(0, key, 1, key == 2 ? "SELECT django_session" : "s");
  }
  root->add_call_site(0, 1, {.file = "a.py", .line = 1, .relation = "Order.user"});
  set_n_plus_one_options({.threshold = 3, .many = 10, .allow = {"Order.*", "*session*"}});
  const NPlusOneResult result = root->n_plus_one();
  ASSERT_EQ(result.flagged.size(), 1U);
  EXPECT_EQ(result.flagged[0].fingerprint, 3U);
  set_n_plus_one_options({});
  EXPECT_FALSE(root->n_plus_one().potential_n_plus_one);
}

TEST(NPlusOneTest, CountsFromManyThreads) {
  const auto root = LocalRoot::create();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < 5000; ++i) root->count_query(0, i % 50, 2, "s");
    });
  }
  for (auto& thread : threads) thread.join();
  const NPlusOneResult result = root->n_plus_one();
  EXPECT_EQ(result.query_count, 20'000U);
  ASSERT_EQ(result.flagged.size(), 50U);
  for (const RepeatedQuery& query : result.flagged) {
    EXPECT_EQ(query.count, 400U);
    EXPECT_EQ(query.total_duration_ns, 800U);
  }
}

TEST(NPlusOneTest, RootSpanGetsTheGuidesAttributesAndOneEventPerFinding) {
  const SpanRef span = Span::start({.name = "GET /orders/"});
  LocalRoot& root = *span->local_root();
  for (int i = 0; i < 101; ++i) root.count_query(0, 5, 1000, kUserById);
  root.count_query(0, 6, 1, "other");
  root.add_call_site(0, 5,
                     {"/app/views.py", 42, "order_list", "Order.user", "select_related(\"user\")"});
  annotate_n_plus_one(*span, root.n_plus_one());
  span->read([](const RecordView& record) {
    std::map<std::string, wire::Value> attributes;
    for (const AttributeView& each : record.attributes())
      attributes[std::string(each.key)] = each.value;
    EXPECT_EQ(attributes["db.query_count"].integer, 102);
    EXPECT_EQ(attributes["db.max_query_repetitions"].integer, 101);
    EXPECT_TRUE(attributes["db.potential_n_plus_one"].boolean);
    ASSERT_EQ(record.events().size(), 1U);
    const EventView event = *record.events().begin();
    EXPECT_EQ(event.name, "nuages.n_plus_one");
    std::map<std::string, wire::Value> details;
    for (const AttributeView& each : event.attributes) details[std::string(each.key)] = each.value;
    EXPECT_EQ(details["db.statement"].text, kUserById);
    EXPECT_EQ(details["db.fingerprint"].integer, 5);
    EXPECT_EQ(details["count"].integer, 101);
    EXPECT_EQ(details["duration_ns"].integer, 101'000);
    EXPECT_EQ(details["code.filepath"].text, "/app/views.py");
    EXPECT_EQ(details["code.lineno"].integer, 42);
    EXPECT_EQ(details["code.function"].text, "order_list");
    EXPECT_EQ(details["django.relation"].text, "Order.user");
    EXPECT_EQ(details["suggestion"].text, "select_related(\"user\")");
  });
}

TEST(NPlusOneTest, ATraceWithoutQueriesOrRepeatsStaysUnmarked) {
  const SpanRef quiet = Span::start({.name = "a"});
  annotate_n_plus_one(*quiet, quiet->local_root()->n_plus_one());
  quiet->read([](const RecordView& record) { EXPECT_TRUE(record.attributes().empty()); });

  const SpanRef fine = Span::start({.name = "b"});
  fine->local_root()->count_query(0, 1, 1, "s");
  annotate_n_plus_one(*fine, fine->local_root()->n_plus_one());
  fine->read([](const RecordView& record) {
    EXPECT_EQ(record.attributes().size(), 2U);
    for (const AttributeView& each : record.attributes()) {
      EXPECT_NE(each.key, "db.potential_n_plus_one");
    }
    EXPECT_TRUE(record.events().empty());
  });
}

TEST(LocalRootTest, SpansOfATraceAreCappedAndTheRestCounted) {
  const SpanRef root = Span::start({.name = "root"});
  for (uint32_t i = 1; i < LocalRoot::kMaxSpans; ++i) {
    ASSERT_TRUE(Span::start({.name = "child", .local_parent = root.get()}));
  }
  EXPECT_FALSE(Span::start({.name = "child", .local_parent = root.get()}));
  EXPECT_EQ(record_leaf(*root, {.name = "leaf"}, {}), 0U);
  EXPECT_EQ(root->local_root()->dropped_spans(), 2U);
  EXPECT_TRUE(Span::start({.name = "another trace"}));
}

}  // namespace
}  // namespace nuages::trace
