#include "store/chdb_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "store/retention.h"
#include "store/schema.h"
#include "store/test_spans.h"
#include "store/test_store.h"

namespace nuages::store {
namespace {

using testing::make_block;
using testing::process_store;
using testing::TestSpan;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1'790'000'000 * kSecond;

class ChdbStoreTest : public testing::EngineTest {};
class ChdbStoreReopenTest : public testing::EngineTest {};

std::string rows_of(Store& store, std::string_view sql, const Parameters& parameters = {}) {
  auto answer = store.query(sql, parameters);
  if (!answer) return "error: " + answer.error().message;
  const size_t data = answer->find("\"data\":");
  std::string rows;
  for (const char c : answer->substr(data + 7, answer->find("\"rows\":") - data - 7)) {
    if (c != '\n' && c != '\t' && c != ' ') rows += c;
  }
  return rows.substr(0, rows.rfind(','));
}

// Names of derived tables that are not what a SELECT over spans gives.
std::string differing_tables(Store& store) {
  std::string names;
  const std::string days =
      rows_of(store, "SELECT DISTINCT toString(toYYYYMMDD(received)) FROM nuages.spans");
  for (size_t at = days.find('"'); at != std::string::npos; at = days.find('"', at + 10)) {
    const std::string day = days.substr(at + 1, 8);
    for (const std::string& table : derived_tables()) {
      const std::string is = rows_of(store, recount(table, false, day));
      const std::string should = rows_of(store, recount(table, true, day));
      if (is != should) names.append(table).append(" ").append(is).append(should).append(" ");
    }
  }
  return names;
}

std::vector<TestSpan> request(TraceId trace, TraceId linked) {
  TestSpan root{.trace_id = trace,
                .span_id = 0xa1,
                .name = "GET /orders/",
                .kind = wire::SpanKind::kServer,
                .start = kNow,
                .duration = 5 * kSecond,
                .attributes = {{"http.method", "GET"},
                               {"http.status_code", int64_t{200}},
                               {"db.query_count", int64_t{7}},
                               {"db.potential_n_plus_one", true},
                               {"order.id", int64_t{42}}},
                .events = {{"nuages.n_plus_one", {{"count", int64_t{6}}}, kNow}},
                .links = {{linked, 0xb7, {{"nuages.link", "celery"}}}}};
  TestSpan query{.trace_id = trace,
                 .span_id = 0xa2,
                 .parent_id = 0xa1,
                 .name = "SELECT",
                 .kind = wire::SpanKind::kClient,
                 .start = kNow + kSecond,
                 .duration = kSecond,
                 .attributes = {{"db.system", "sqlite"},
                                {"db.statement", "SELECT * FROM orders WHERE id = 5"}}};
  return {root, query};
}

TEST_F(ChdbStoreTest, InsertedBlockIsThereWithEveryView) {
  auto& store = process_store();
  const TraceId trace{1, 1};
  ASSERT_TRUE(store.insert(make_block("views", request(trace, {1, 9}), kNow), "views-1").ok());
  const Parameters id{{"id", to_hex(trace)}};
  EXPECT_EQ(rows_of(store,
                    "SELECT span_id, toUnixTimestamp64Nano(ts), duration, service, http_method,"
                    " http_status, query_count, fingerprint != 0, promoted, attributes"
                    " FROM nuages.spans WHERE trace_id = unhex({id:String}) ORDER BY ts",
                    id),
            R"([[161,1790000000000000000,5000000000,"views","GET",200,7,0,)"
            R"("http.method,http.status_code,db.query_count,db.potential_n_plus_one",)"
            R"("order.id=42"],[162,1790000001000000000,1000000000,"views","",0,-1,1,)"
            R"("db.system,db.statement",""]])");
  EXPECT_EQ(rows_of(store,
                    "SELECT text, label FROM nuages.sqltext FINAL WHERE fingerprint IN (SELECT "
                    "fingerprint FROM nuages.spans WHERE trace_id = unhex({id:String}))",
                    id),
            R"([["SELECT*FROMordersWHEREid=?","SELECTFROMordersWHEREid=?"]])");
  EXPECT_EQ(rows_of(store,
                    "SELECT name, query_count, n_plus_one FROM nuages.entry"
                    " WHERE trace_id = unhex({id:String})",
                    id),
            R"([["GET/orders/",7,1]])");
  EXPECT_EQ(rows_of(store,
                    "SELECT toUnixTimestamp(minute) FROM nuages.trace_ix WHERE trace_id = "
                    "unhex({id:String})",
                    id),
            "[[1789999980]]");
  EXPECT_EQ(rows_of(store,
                    "SELECT lower(hex(to_trace_id)), to_span_id, from_span_id FROM "
                    "nuages.trace_links WHERE from_trace_id = unhex({id:String})",
                    id),
            R"([["00000000000000010000000000000009",183,161]])");
  EXPECT_EQ(
      rows_of(store, "SELECT span_id FROM nuages.n_plus_one WHERE trace_id = unhex({id:String})",
              id),
      "[[161]]");
}

TEST_F(ChdbStoreTest, TheSameTokenTwiceChangesNothing) {
  auto& store = process_store();
  const TraceId trace{2, 1};
  const SpanBlock block = make_block("twice", request(trace, {2, 9}), kNow);
  const std::string counts =
      "SELECT (SELECT count() FROM nuages.spans), (SELECT count() FROM nuages.entry),"
      " (SELECT count() FROM nuages.trace_ix), (SELECT count() FROM nuages.trace_links),"
      " (SELECT count() FROM nuages.n_plus_one)";
  ASSERT_TRUE(store.insert(block, "twice-1").ok());
  const std::string before = rows_of(store, counts);
  ASSERT_TRUE(store.insert(block, "twice-1").ok());
  EXPECT_EQ(rows_of(store, counts), before);
  ASSERT_TRUE(store.insert(block, "twice-2").ok());
  EXPECT_NE(rows_of(store, counts), before) << "another token is another block";
}

TEST_F(ChdbStoreTest, DerivedTablesAreWhatASelectOverSpansGives) {
  auto& store = process_store();
  std::vector<TestSpan> spans;
  std::mt19937_64 random(7);
  for (uint64_t i = 0; i < 3000; ++i) {
    TestSpan span{.trace_id = {4, 1 + random() % 300},
                  .span_id = i + 1,
                  .parent_id = random() % 5,
                  .name = "name " + std::to_string(random() % 20),
                  .kind = static_cast<wire::SpanKind>(random() % 6),
                  .start = kNow - random() % (600 * kSecond),
                  .duration = random() >> (random() % 64)};
    if (random() % 9 == 0) span.duration = 0;
    if (random() % 9 == 0) span.duration = uint64_t{1} << random() % 63;
    if (random() % 7 == 0) span.status = wire::StatusCode::kError;
    const auto choose = [&](const char* key, std::vector<std::string> values) {
      if (random() % 2 == 0) span.attributes.push_back({key, values[random() % values.size()]});
    };
    choose("http.route", {"/a/", "/b/{id}/"});
    choose("http.method", {"GET", "POST"});
    choose("db.system", {"postgresql", "redis"});
    choose("db.name", {"shop", "stock", ""});
    choose("db.statement", {"SELECT 1 FROM a", "SELECT x FROM b WHERE id = 5", "GET key"});
    choose("messaging.destination", {"celery", "mail"});
    choose("peer.service", {"", "billing"});
    choose("server.address", {"a.example", "b \"quoted\" \n line"});
    choose("net.peer.name", {"c.example"});
    if (random() % 3 == 0) span.attributes.push_back({"http.host", int64_t{42}});
    if (random() % 5 == 0) span.attributes.push_back({"db.potential_n_plus_one", true});
    if (random() % 5 == 0) span.links = {{{1, 2}, 3, {}}, {{1, 3}, 4, {}}};
    spans.push_back(span);
  }
  SpanBlock block;
  BlockBuilder builder(block);
  for (size_t i = 0; i < 6; ++i) {
    builder.set_receive_time(kNow + i % 3 * 86400 * kSecond + random() % 1000 * kSecond);
    testing::append_spans(
        builder,
        {{"service.name", "derived-" + std::to_string(i % 2)}, {"deployment.environment", "ci"}},
        {spans.begin() + static_cast<ptrdiff_t>(i * 500),
         spans.begin() + static_cast<ptrdiff_t>((i + 1) * 500)});
  }
  ASSERT_TRUE(store.insert(block, "derived-1").ok());
  EXPECT_EQ(differing_tables(store), "");
  EXPECT_EQ(rows_of(store,
                    "SELECT (SELECT sum(count) FROM nuages.queries WHERE service LIKE 'derived%')"
                    " = (SELECT count() FROM nuages.spans WHERE fingerprint != 0 AND service LIKE"
                    " 'derived%'), (SELECT uniq(target_type) FROM nuages.edges)"),
            "[[1,3]]");
}

TEST_F(ChdbStoreTest, BlockOverTwoReceiveDaysAndManySpanDaysIsTaken) {
  auto& store = process_store();
  SpanBlock block;
  BlockBuilder builder(block);
  std::vector<TestSpan> spans;
  for (uint64_t day = 0; day < 200; ++day) {
    spans.push_back(
        {.trace_id = {3, day + 1}, .span_id = 1, .start = kNow - day * 86400 * kSecond});
  }
  spans.push_back({.trace_id = {3, 900}, .span_id = 1, .start = ~uint64_t{0} / 2});
  spans.push_back({.trace_id = {3, 901}, .span_id = 1, .start = 0});
  builder.set_receive_time(kNow);
  testing::append_spans(builder, {{"service.name", "days"}}, spans);
  builder.set_receive_time(kNow + 86400 * kSecond);
  testing::append_spans(builder, {{"service.name", "days"}}, spans);
  ASSERT_TRUE(store.insert(block, "days-1").ok());
  ASSERT_TRUE(store.insert(block, "days-1").ok());
  EXPECT_EQ(rows_of(store,
                    "SELECT count(), uniq(trace_id) FROM nuages.spans"
                    " WHERE service = 'days'"),
            "[[404,202]]");
}

// Dictionaries of 8, 16 and 32 bit indexes in one block, and a sort that moves every row.
TEST_F(ChdbStoreTest, WideDictionariesArriveWhole) {
  auto& store = process_store();
  constexpr uint64_t kRows = 70'000;
  std::vector<TestSpan> spans;
  for (uint64_t i = 0; i < kRows; ++i) {
    spans.push_back({.trace_id = {6, kRows - i},
                     .span_id = i + 1,
                     .name = "name-" + std::to_string(i),
                     .start = kNow + (kRows - i) * kSecond,
                     .attributes = {{"http.route", "route-" + std::to_string(i % 300)},
                                    {"http.method", "m" + std::to_string(i % 256)}}});
  }
  ASSERT_TRUE(store.insert(make_block("wide", spans, kNow), "wide-1").ok());
  EXPECT_EQ(
      rows_of(store,
              "SELECT count(), uniqExact(name), uniqExact(http_route), uniqExact(http_method),"
              " countIf(name = concat('name-', toString(span_id - 1))),"
              " countIf(http_route = concat('route-', toString((span_id - 1) % 300)))"
              " FROM nuages.spans WHERE service = 'wide'"),
      "[[70000,70000,300,256,70000,70000]]");
}

TEST_F(ChdbStoreTest, MergesRunAtTheLowestPriority) {
  process_store();
  int merge_threads = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name != "MergeMutate") continue;
    ++merge_threads;
    EXPECT_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(std::stoul(task.path().filename()))), 19);
  }
  EXPECT_EQ(merge_threads, 2);
}

TEST_F(ChdbStoreTest, ReadersAndTheWriterWorkAtOnce) {
  auto& store = process_store();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int reader = 0; reader < 6; ++reader) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        auto answer = store.query("SELECT count() FROM nuages.spans WHERE service = {s:String}",
                                  {{"s", "parallel"}});
        if (!answer) ++failures;
      }
    });
  }
  for (uint64_t i = 0; i < 10; ++i) {
    const auto block = make_block("parallel", request({7, i + 1}, {7, 99}), kNow);
    if (!store.insert(block, "parallel-" + std::to_string(i))) ++failures;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(rows_of(store, "SELECT count() FROM nuages.spans WHERE service = 'parallel'"),
            "[[20]]");
}

// A statement over its memory or time ends with an error that says so, and harms nobody else.
TEST_F(ChdbStoreTest, LimitsHold) {
  auto& store = process_store();
  auto hungry = store.query("SELECT length(groupArray(number)) FROM numbers(1000000000)", {});
  ASSERT_FALSE(hungry.ok());
  EXPECT_EQ(hungry.error().code, ErrorCode::kExhausted) << hungry.error().message;
  auto slow = store.query(
      "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1"
      " SETTINGS max_execution_time = 0.05",
      {});
  ASSERT_FALSE(slow.ok());
  EXPECT_EQ(slow.error().code, ErrorCode::kExhausted) << slow.error().message;
  EXPECT_EQ(rows_of(store, "SELECT 4"), "[[4]]");
}

TEST_F(ChdbStoreTest, ParametersArriveAsTheyAre) {
  auto& store = process_store();
  const std::string nasty = "a'b\\c\t\"d\n{x:String} \xc3\xa9; DROP";
  auto answer = store.query("SELECT hex({value:String})", {{"value", nasty}});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  std::string hex;
  for (const unsigned char c : nasty) {
    const char digits[] = "0123456789ABCDEF";
    hex += digits[c >> 4];
    hex += digits[c & 15];
  }
  EXPECT_NE(answer->find(hex), std::string::npos) << *answer;
}

TEST_F(ChdbStoreTest, BadStatementIsAnErrorAndTheNextOneWorks) {
  auto& store = process_store();
  for (int i = 0; i < 5; ++i) {
    auto bad = store.query("SELECT nothing FROM nowhere", {});
    ASSERT_FALSE(bad.ok());
    EXPECT_EQ(bad.error().code, ErrorCode::kInternal);
  }
  EXPECT_EQ(rows_of(store, "SELECT 1"), "[[1]]");
  EXPECT_FALSE(store.stream("SELECT nothing FROM nowhere", {}, [](auto) { return true; }).ok());
  EXPECT_EQ(rows_of(store, "SELECT 2"), "[[2]]");
  const SpanBlock block = make_block("bad-token", request({4, 1}, {4, 2}), kNow);
  EXPECT_EQ(store.insert(block, "x' OR 1").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(store.insert(block, "").error().code, ErrorCode::kInvalid);
}

TEST_F(ChdbStoreTest, StreamHandsOutChunksUntilToldToStop) {
  auto& store = process_store();
  size_t lines = 0;
  size_t chunks = 0;
  const std::string sql = "SELECT number FROM numbers({n:UInt64})";
  auto count = [&](std::string_view chunk) {
    ++chunks;
    lines += static_cast<size_t>(std::count(chunk.begin(), chunk.end(), '\n'));
    return true;
  };
  ASSERT_TRUE(store.stream(sql, {{"n", "300000"}}, count).ok());
  EXPECT_EQ(lines, 300000U);
  EXPECT_GT(chunks, 1U);
  size_t calls = 0;
  ASSERT_TRUE(store
                  .stream(sql, {{"n", "300000"}},
                          [&](std::string_view) {
                            ++calls;
                            return false;
                          })
                  .ok());
  EXPECT_EQ(calls, 1U);
  EXPECT_EQ(rows_of(store, "SELECT 3"), "[[3]]");
}

TEST_F(ChdbStoreTest, MissingLibraryAndTakenFolderNameTheFix) {
  auto missing = ChdbStore::open({.library = "/nowhere/libchdb.so", .folder = "/tmp"});
  ASSERT_FALSE(missing.ok());
  if (missing.error().message.find("loaded already") == std::string::npos) {
    EXPECT_NE(missing.error().message.find("/nowhere/libchdb.so"), std::string::npos);
    EXPECT_NE(missing.error().message.find("make setup"), std::string::npos);
  }
  const std::string file = ::testing::TempDir() + "/a-file";
  std::ofstream(file) << "x";
  auto blocked = ChdbStore::open({.library = NUAGES_CHDB_LIBRARY, .folder = file + "/store"});
  ASSERT_FALSE(blocked.ok());
  EXPECT_NE(blocked.error().message.find("not writable"), std::string::npos);
}

// The engine keeps one path per process, so this test reopens the same folder; it must run alone in
// its process or first, which ctest does.
TEST_F(ChdbStoreReopenTest, DataStaysAndANewerVersionIsRefused) {
  std::string pattern = ::testing::TempDir() + "/reopen-XXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  const ChdbOptions options{.library = NUAGES_CHDB_LIBRARY, .folder = folder + "/store"};
  {
    auto store = ChdbStore::open(options);
    if (!store) GTEST_SKIP() << "another test of this process holds the engine: run by ctest";
    ASSERT_TRUE((*store)->insert(make_block("kept", request({5, 1}, {5, 2}), kNow), "kept-1").ok());
    auto second = ChdbStore::open(options);
    ASSERT_FALSE(second.ok());
    EXPECT_NE(second.error().message.find("in use"), std::string::npos);
  }
  {
    auto store = ChdbStore::open(options);
    ASSERT_TRUE(store.ok()) << store.error().message;
    ASSERT_TRUE((*store)->insert(make_block("kept", request({5, 1}, {5, 2}), kNow), "kept-1").ok());
    EXPECT_EQ(rows_of(**store, "SELECT count() FROM nuages.spans"), "[[2]]")
        << "the token is remembered over a restart";
    ASSERT_TRUE((*store)->query("INSERT INTO nuages.schema SELECT 7, now('UTC')", {}).ok());
  }
  auto newer = ChdbStore::open(options);
  ASSERT_FALSE(newer.ok());
  EXPECT_NE(newer.error().message.find("schema version 7"), std::string::npos);
  std::filesystem::remove_all(folder);
}

// What a crash or a power cut may leave: any tables without their part of the last insert, and a
// memory of tokens that is behind the data or ahead of it.
TEST_F(ChdbStoreReopenTest, AnInsertThatWasCutOffIsCompletedInEachTableExactlyOnce) {
  std::string pattern = ::testing::TempDir() + "/crash-XXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  const ChdbOptions options{.library = NUAGES_CHDB_LIBRARY, .folder = folder + "/store"};
  const std::string counts =
      "SELECT (SELECT count() FROM nuages.spans), (SELECT count() FROM nuages.entry),"
      " (SELECT count() FROM nuages.trace_ix), (SELECT count() FROM nuages.trace_links),"
      " (SELECT count() FROM nuages.n_plus_one), (SELECT sum(span_count) FROM nuages.services),"
      " (SELECT sum(count) FROM nuages.red)";
  struct Crash {
    std::string lost;  // tables that lack their part, for a regular expression
    bool token_lost;   // the engine forgot the token too
  };
  const Crash crashes[] = {{"nothing", true},
                           {"nothing", false},
                           {"spans", false},
                           {"entry", false},
                           {"spans|red|n_plus_one|edges", true},
                           {".*", false}};
  uint64_t times = 0;
  for (const Crash& crash : crashes) {
    ++times;
    const std::string token = std::to_string(times) + "-9";
    // Two receive days: two parts in each table.
    SpanBlock block;
    BlockBuilder builder(block);
    for (const uint64_t day : {0, 1}) {
      builder.set_receive_time(kNow + day * 86400 * kSecond);
      testing::append_spans(builder, {{"service.name", "crash"}},
                            request({7, 2 * times + day}, {7, 99}));
    }
    std::vector<std::string> parts;
    {
      auto store = ChdbStore::open(options);
      if (!store) GTEST_SKIP() << "another test of this process holds the engine: run by ctest";
      ASSERT_TRUE((*store)->query("SYSTEM STOP MERGES", {}).ok());
      const Status inserted = (*store)->insert(block, token);
      ASSERT_TRUE(inserted.ok()) << inserted.error().message;
      // The last insert's part of the first day only, so that a table may hold half of its rows.
      const std::string found = rows_of(
          **store,
          "SELECT path FROM system.parts WHERE database = 'nuages' AND active"
          " AND match(table, {lost:String}) AND table NOT IN ('schema', 'resources', 'sqltext')"
          " AND (table, min_block_number) IN (SELECT table, max(min_block_number) FROM system.parts"
          " WHERE database = 'nuages' AND active AND partition_id = '20260921' GROUP BY table)",
          {{"lost", "^(" + crash.lost + ")$"}});
      for (size_t at = found.find('/'); at != std::string::npos; at = found.find('/', at)) {
        const size_t end = found.find('"', at);
        parts.push_back(found.substr(at, end - at));
        at = end;
      }
      ASSERT_EQ(parts.empty(), crash.lost == "nothing") << found;
    }
    for (const std::string& part : parts) std::filesystem::remove_all(part);
    if (crash.token_lost) {
      for (const auto& file : std::filesystem::recursive_directory_iterator(options.folder)) {
        if (file.path().parent_path().filename() == "deduplication_logs") {
          std::filesystem::resize_file(file.path(), 0);
        }
      }
    }
    auto store = ChdbStore::open(options);
    ASSERT_TRUE(store.ok()) << store.error().message;
    const Status again = (*store)->insert(block, token);
    ASSERT_TRUE(again.ok()) << again.error().message;
    const auto all = [&](uint64_t each) { return std::to_string(each * times); };
    EXPECT_EQ(rows_of(**store, counts), "[[" + all(4) + "," + all(2) + "," + all(2) + "," + all(2) +
                                            "," + all(2) + "," + all(4) + "," + all(2) + "]]")
        << "lost: " << crash.lost;
    EXPECT_EQ(differing_tables(**store), "") << "lost: " << crash.lost;
  }
  std::filesystem::remove_all(folder);
}

TEST_F(ChdbStoreReopenTest, RetentionDropsOldDaysFromEveryTableAndNeverTheCurrentOne) {
  std::string pattern = ::testing::TempDir() + "/retention-XXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  auto store = ChdbStore::open({.library = NUAGES_CHDB_LIBRARY, .folder = folder + "/store"});
  if (!store) GTEST_SKIP() << "another test of this process holds the engine: run by ctest";
  constexpr uint64_t kDay = 86400 * kSecond;
  for (const uint64_t days_ago : {40, 31, 30, 2, 1, 0}) {
    const Status inserted = (*store)->insert(
        make_block("kept", request({6, 1 + days_ago}, {6, 99}), kNow - days_ago * kDay),
        "day-" + std::to_string(days_ago));
    ASSERT_TRUE(inserted.ok()) << inserted.error().message;
  }
  const std::string counts =
      "SELECT (SELECT count() FROM nuages.spans), (SELECT count() FROM nuages.entry),"
      " (SELECT count() FROM nuages.trace_ix), (SELECT count() FROM nuages.trace_links),"
      " (SELECT count() FROM nuages.n_plus_one), (SELECT sum(span_count) FROM nuages.services),"
      " (SELECT sum(count) FROM nuages.red)";
  auto done = Retention::enforce(**store, {.days = 30, .max_bytes = 0}, kNow);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->dropped_partitions, 2U);
  EXPECT_EQ(rows_of(**store, counts), "[[8,4,4,4,4,8,4]]");
  done = Retention::enforce(**store, {.days = 0, .max_bytes = done->store_bytes - 1}, kNow);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->dropped_partitions, 1U) << "one day less is small enough";
  EXPECT_EQ(rows_of(**store, counts), "[[6,3,3,3,3,6,3]]");
  done = Retention::enforce(**store, {.days = 1, .max_bytes = 1}, kNow);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(rows_of(**store, counts), "[[2,1,1,1,1,2,1]]") << "today stays";
  std::filesystem::remove_all(folder);
}

TEST_F(ChdbStoreReopenTest, AStoreOfVersionOneIsBroughtForward) {
  std::string pattern = ::testing::TempDir() + "/migrate-XXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  const ChdbOptions options{.library = NUAGES_CHDB_LIBRARY, .folder = folder + "/store"};
  const std::string counts =
      "SELECT (SELECT sum(span_count) FROM nuages.services), (SELECT sum(count) FROM nuages.red),"
      " (SELECT max(version) FROM nuages.schema)";
  {
    auto store = ChdbStore::open(options);
    if (!store) GTEST_SKIP() << "another test of this process holds the engine: run by ctest";
    ASSERT_TRUE((*store)->insert(make_block("old", request({5, 1}, {5, 2}), kNow), "old-1").ok());
    // What version 1 was: without these tables, and with views.
    for (const char* table : {"services", "red", "queries", "edges"}) {
      ASSERT_TRUE((*store)->query(std::string("DROP TABLE nuages.") + table + " SYNC", {}).ok());
    }
    ASSERT_TRUE((*store)
                    ->query("CREATE MATERIALIZED VIEW nuages.entry_view TO nuages.entry AS SELECT"
                            " trace_id, span_id, ts FROM nuages.spans AS spans WHERE entry = 1",
                            {})
                    .ok());
    ASSERT_TRUE((*store)->query("TRUNCATE TABLE nuages.schema", {}).ok());
    ASSERT_TRUE((*store)->query("INSERT INTO nuages.schema SELECT 1, now('UTC')", {}).ok());
  }
  for (int start = 0; start < 2; ++start) {  // the second time there is nothing to do
    auto store = ChdbStore::open(options);
    ASSERT_TRUE(store.ok()) << store.error().message;
    EXPECT_EQ(rows_of(**store, counts), "[[2,1,3]]");
    EXPECT_EQ(differing_tables(**store), "");
    EXPECT_EQ(rows_of(**store,
                      "SELECT count() FROM system.tables WHERE database = 'nuages' AND"
                      " name LIKE '%_view'"),
              "[[0]]");
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace nuages::store
