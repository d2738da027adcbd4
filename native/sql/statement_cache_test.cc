#include "sql/statement_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace nuages::sql {
namespace {

std::string query(int i) { return "SELECT a FROM t" + std::to_string(i) + " WHERE id = 1"; }

TEST(StatementCache, GivesTheSameObjectForTheSameText) {
  StatementCache cache;
  const auto first = cache.get(query(1), Dialect::kPostgreSql);
  const auto second = cache.get(query(1), Dialect::kPostgreSql);
  EXPECT_EQ(first, second);
  EXPECT_EQ(first->table, "t1");
  EXPECT_EQ(cache.hits(), 1u);
  EXPECT_EQ(cache.misses(), 1u);
}

TEST(StatementCache, KeepsDialectsApart) {
  StatementCache cache;
  const char* text = "SELECT \"a\" FROM t";
  EXPECT_FALSE(cache.get(text, Dialect::kPostgreSql)->has_literals);
  EXPECT_TRUE(cache.get(text, Dialect::kMySql)->has_literals);
}

TEST(StatementCache, StaysBoundedAndKeepsWhatIsUsed) {
  StatementCache cache(64);
  const auto hot = cache.get("SELECT hot FROM t", Dialect::kPostgreSql);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(cache.get(query(i), Dialect::kPostgreSql)->table, "t" + std::to_string(i));
    ASSERT_EQ(cache.get("SELECT hot FROM t", Dialect::kPostgreSql), hot) << "evicted at " << i;
  }
  const uint64_t before = cache.misses();
  for (int i = 0; i < 10'000; ++i) cache.get(query(i), Dialect::kPostgreSql);
  EXPECT_GE(cache.misses() - before, 10'000 - cache.capacity());
}

TEST(StatementCache, ResultsOutliveTheirEvictionAndTheCache) {
  std::shared_ptr<const Statement> kept;
  {
    StatementCache cache(1);
    kept = cache.get(query(7), Dialect::kPostgreSql);
    for (int i = 100; i < 1000; ++i) cache.get(query(i), Dialect::kPostgreSql);
  }
  EXPECT_EQ(kept->label, "SELECT FROM t7 WHERE id = ?");
}

TEST(StatementCache, DoesNotKeepLargeStatements) {
  StatementCache cache;
  const std::string large =
      "SELECT " + std::string(StatementCache::kMaxCachedBytes, 'a') + " FROM t";
  EXPECT_EQ(cache.get(large, Dialect::kPostgreSql)->table, "t");
  EXPECT_EQ(cache.get(large, Dialect::kPostgreSql)->table, "t");
  EXPECT_EQ(cache.hits(), 0u);
}

TEST(StatementCache, AnswersRightFromManyThreads) {
  StatementCache cache(32);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      for (int i = 0; i < 5'000; ++i) {
        const int which = (i * 7 + t) % 100;
        const auto statement = cache.get(query(which), Dialect::kPostgreSql);
        ASSERT_EQ(statement->table, "t" + std::to_string(which));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(cache.hits() + cache.misses(), 20'000u);
}

}  // namespace
}  // namespace nuages::sql
