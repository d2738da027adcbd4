#include "store/ingest.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "store/chdb_library.h"
#include "wire/otlp_reader_testing.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;
using wire::testing::Message;
using wire::testing::request;
using wire::testing::span;

constexpr uint64_t kLong = uint64_t{60} * 1'000'000'000;

// A store that keeps span ids per token, and fails when told to.
class FakeStore : public Store {
 public:
  Status insert(const SpanBlock& block, std::string_view token) override {
    const std::lock_guard lock(mutex);
    ++calls;
    if (failures > 0) {
      --failures;
      return failure;
    }
    if (block.rows() > max_rows) return Error{ErrorCode::kExhausted, "not enough memory"};
    for (const uint64_t id : block.span_id) {
      if (poison != 0 && id == poison) return poisoned;
    }
    if (tokens.insert(std::string(token)).second) {
      for (size_t row = 0; row < block.rows(); ++row) ++spans[block.span_id[row]];
    }
    return {};
  }
  Result<std::string> query(std::string_view, const Parameters&) override { return std::string(); }
  Status stream(std::string_view, const Parameters&,
                const std::function<bool(std::string_view)>&) override {
    return {};
  }

  std::mutex mutex;
  int calls = 0;
  int failures = 0;
  Error failure{ErrorCode::kUnavailable, "store is down"};
  uint64_t poison = 0;
  Error poisoned{ErrorCode::kInvalid, "poison"};
  size_t max_rows = 1'000'000;
  std::set<std::string> tokens;
  std::map<uint64_t, int> spans;  // span id -> how often it is stored
};

class IngestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "nuages_ingest_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    options_.wal.folder = folder_ + "/wal";
    options_.wal.seal_age_ns = options_.wal.seal_busy_age_ns = kLong * 60;
    options_.retry_min_ns = 1'000'000;
    options_.retry_max_ns = 1'000'000;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<Ingest> open() {
    auto ingest = Ingest::open(options_);
    EXPECT_TRUE(ingest.ok()) << (ingest.ok() ? "" : ingest.error().message);
    return std::move(ingest).value();
  }
  static void accept(Ingest& ingest, uint64_t id) {
    Result<Accepted> result = ingest.accept_and_wait(request({span(1, id)}));
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->spans, 1U);
  }
  size_t segment_files() const {
    size_t count = 0;
    for (const auto& file : fs::directory_iterator(options_.wal.folder)) {
      count += file.path().extension() == ".wal" ? 1 : 0;
    }
    return count;
  }

  std::string folder_;
  IngestOptions options_;
  FakeStore store_;
};

std::map<uint64_t, int> once(uint64_t first, uint64_t last) {
  std::map<uint64_t, int> out;
  for (uint64_t id = first; id <= last; ++id) out[id] = 1;
  return out;
}

TEST_F(IngestTest, AcceptedSpansReachTheStoreAndLeaveTheLog) {
  auto ingest = open();
  ingest->set_store(store_);
  for (uint64_t id = 1; id <= 20; ++id) accept(*ingest, id);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 20));
  EXPECT_EQ(segment_files(), 0U);
  const IngestCounters counters = ingest->counters();
  EXPECT_EQ(counters.received_spans, 20U);
  EXPECT_EQ(counters.inserted_spans, 20U);
  EXPECT_EQ(counters.wal_bytes, 0U);
  EXPECT_EQ(counters.waiting_blocks, 0U);
}

TEST_F(IngestTest, ARepeatedBodyIsAcknowledgedAndStoredOnce) {
  auto ingest = open();
  ingest->set_store(store_);
  for (int i = 0; i < 3; ++i) accept(*ingest, 1);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 1));
  EXPECT_EQ(ingest->counters().received_spans, 1U);
  EXPECT_EQ(ingest->counters().repeated_spans, 2U);
}

TEST_F(IngestTest, ARepeatAfterARestartIsKnownFromTheLog) {
  {
    accept(*open(), 1);
  }
  auto ingest = open();
  ingest->set_store(store_);
  accept(*ingest, 1);
  EXPECT_EQ(ingest->counters().repeated_spans, 1U);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 1));
}

TEST_F(IngestTest, ARepeatIsKnownAfterItsSegmentIsStoredAndTheServerIsStartedAgain) {
  const std::string body = request({span(1, 1)});
  for (int start = 0; start < 3; ++start) {
    auto ingest = open();
    ingest->set_store(store_);
    const auto result = ingest->accept_and_wait(std::string(body));
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->repeated, start > 0);
    ASSERT_TRUE(ingest->insert_all(kLong));
    EXPECT_EQ(segment_files(), 0U);
    // What a crash in the middle of a write leaves is passed over.
    for (const auto& file : fs::directory_iterator(options_.wal.folder)) {
      if (file.path().filename().string().starts_with("repeats-")) {
        std::ofstream(file.path(), std::ios::app | std::ios::binary) << "torn";
      }
    }
    accept(*ingest, static_cast<uint64_t>(100 + start));
    ASSERT_TRUE(ingest->insert_all(kLong));
  }
  EXPECT_EQ(store_.spans[1], 1);
}

TEST_F(IngestTest, PartOfARequestMayBeRejected) {
  auto ingest = open();
  ingest->set_store(store_);
  Result<Accepted> result = ingest->accept_and_wait(request({span(1, 1), span(0, 2)}));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->spans, 1U);
  EXPECT_EQ(result->rejected, 1U);
  EXPECT_NE(result->message.find("trace id"), std::string::npos);
  result = ingest->accept_and_wait(request({span(0, 3)}));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->rejected, 1U);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 1));
  EXPECT_EQ(ingest->counters().rejected_spans, 2U);
}

TEST_F(IngestTest, MalformedAndEmptyRequestsTouchNothing) {
  auto ingest = open();
  Result<Accepted> result = ingest->accept_and_wait("not protobuf");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
  result = ingest->accept_and_wait("");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->spans, 0U);
  EXPECT_EQ(segment_files(), 0U);
}

TEST_F(IngestTest, WithoutAStoreTheNextStartInsertsEverything) {
  {
    auto ingest = open();
    for (uint64_t id = 1; id <= 5; ++id) accept(*ingest, id);
  }
  {
    auto ingest = open();
    for (uint64_t id = 6; id <= 9; ++id) accept(*ingest, id);
    EXPECT_FALSE(ingest->drain(0));
  }
  auto ingest = open();
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->wait_inserted(kLong));
  EXPECT_EQ(store_.spans, once(1, 9));
  EXPECT_EQ(store_.tokens.size(), 2U);  // a segment is a block
  EXPECT_EQ(segment_files(), 0U);
}

TEST_F(IngestTest, ACrashBetweenInsertAndDeleteRepeatsTheSameToken) {
  const std::string copy = folder_ + "/copy";
  {
    auto ingest = open();
    accept(*ingest, 1);
    accept(*ingest, 2);
    fs::copy(options_.wal.folder, copy);
    ingest->set_store(store_);
    EXPECT_TRUE(ingest->drain(kLong));
  }
  fs::remove_all(options_.wal.folder);
  fs::rename(copy, options_.wal.folder);
  auto ingest = open();
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->wait_inserted(kLong));
  EXPECT_EQ(store_.calls, 2);
  EXPECT_EQ(store_.spans, once(1, 2));
  EXPECT_EQ(segment_files(), 0U);
}

TEST_F(IngestTest, TokensDifferWhenAnEmptiedFolderCountsAgain) {
  for (uint64_t id = 1; id <= 3; ++id) {
    auto ingest = open();
    ingest->set_store(store_);
    accept(*ingest, id);
    EXPECT_TRUE(ingest->drain(kLong));
  }
  EXPECT_EQ(store_.spans, once(1, 3));
}

TEST_F(IngestTest, AStoreThatFailsIsTriedAgain) {
  store_.failures = 5;
  auto ingest = open();
  ingest->set_store(store_);
  accept(*ingest, 1);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.calls, 6);
  EXPECT_EQ(store_.spans, once(1, 1));
  EXPECT_EQ(ingest->counters().store_error, "");
}

TEST_F(IngestTest, ARefusedBlockGoesToQuarantineAndOthersGoOn) {
  store_.poison = 1;
  options_.wal.seal_rows = 1;
  auto ingest = open();
  ingest->set_store(store_);
  accept(*ingest, 1);
  accept(*ingest, 2);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(2, 2));
  EXPECT_EQ(ingest->counters().quarantined_blocks, 1U);
  EXPECT_TRUE(fs::exists(options_.wal.folder + "/quarantine/00000000000000000001.wal"));
}

TEST_F(IngestTest, ABlockThatCrashesTheProcessTwiceGoesToQuarantine) {
  if (!kChdbRuns) GTEST_SKIP() << "the sanitizers have handlers of their own for these signals";
  class Crashing : public FakeStore {
   public:
    Status insert(const SpanBlock& block, std::string_view token) override {
      for (const uint64_t id : block.span_id) {
        if (id == 1) std::raise(SIGSEGV);
      }
      return FakeStore::insert(block, token);
    }
  };
  accept(*open(), 1);
  for (int crash = 0; crash < 3; ++crash) {
    const pid_t child = fork();
    if (child == 0) {
      CrashMark::install(options_.wal.folder);
      Crashing store;
      auto ingest = open();
      ingest->set_store(store);
      _exit(ingest->insert_all(kLong) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (crash < 2) {
      EXPECT_EQ(WTERMSIG(status), SIGSEGV);
    } else {
      EXPECT_EQ(WEXITSTATUS(status), 0) << "nothing is left that crashes";
    }
  }
  EXPECT_EQ(segment_files(), 0U);
  EXPECT_FALSE(fs::is_empty(options_.wal.folder + "/quarantine"));
}

TEST_F(IngestTest, ABlockTheStoreCannotTakeDoesNotHoldUpTheNextOnes) {
  store_.poison = 1;
  store_.poisoned = {ErrorCode::kUnavailable, "something about this block"};
  options_.wal.seal_rows = 1;
  options_.internal_attempts = 4;
  auto ingest = open();
  ingest->set_store(store_);
  for (uint64_t id = 1; id <= 9; ++id) accept(*ingest, id);
  EXPECT_TRUE(ingest->drain(kLong)) << "the poisoned block leaves the queue in the end";
  EXPECT_EQ(store_.spans, once(2, 9));
  EXPECT_EQ(ingest->counters().quarantined_blocks, 1U);
  EXPECT_TRUE(fs::exists(options_.wal.folder + "/quarantine/00000000000000000001.wal"));
}

TEST_F(IngestTest, WhileTheStoreTakesNothingNothingIsGivenUp) {
  options_.wal.seal_rows = 1;
  options_.internal_attempts = 2;
  store_.failures = 40;
  auto ingest = open();
  ingest->set_store(store_);
  for (uint64_t id = 1; id <= 4; ++id) accept(*ingest, id);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 4));
  EXPECT_EQ(ingest->counters().quarantined_blocks, 0U);
}

TEST_F(IngestTest, ABlockTooLargeForTheStoreIsSplit) {
  store_.max_rows = 3;
  auto ingest = open();
  for (uint64_t id = 1; id <= 17; ++id) accept(*ingest, id);
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 17));
  EXPECT_GE(ingest->counters().split_blocks, 5U);
  EXPECT_EQ(ingest->counters().quarantined_blocks, 0U);
  EXPECT_EQ(ingest->counters().wal_bytes, 0U);
  EXPECT_EQ(ingest->counters().wal_segments, 0U);
  EXPECT_EQ(segment_files(), 0U);
}

TEST_F(IngestTest, MemoryIsBoundedByReadingBlocksBackFromTheLog) {
  options_.max_memory_bytes = 300;  // room for some bodies, not for a segment
  options_.wal.seal_rows = 10;
  auto ingest = open();
  for (uint64_t id = 1; id <= 50; ++id) accept(*ingest, id);
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, 50));
}

TEST_F(IngestTest, BackPressureWhenTheLogIsFull) {
  options_.wal.max_total_bytes = 2000;
  auto ingest = open();
  uint64_t taken = 0;
  for (;;) {
    Result<Accepted> result = ingest->accept_and_wait(request({span(1, taken + 1)}));
    if (!result.ok()) {
      EXPECT_EQ(result.error().code, ErrorCode::kExhausted);
      break;
    }
    ++taken;
  }
  EXPECT_GT(taken, 3U);
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_EQ(store_.spans, once(1, taken));
}

TEST_F(IngestTest, RecentSpansAreVisibleUntilInserted) {
  auto ingest = open();
  accept(*ingest, 7);
  const auto visible = [&] {
    std::set<uint64_t> ids;
    ingest->visit_blocks(
        [&](const SpanBlock& block) { ids.insert(block.span_id.begin(), block.span_id.end()); });
    return ids;
  };
  while (!visible().contains(7)) std::this_thread::yield();  // the builder runs beside us
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->drain(kLong));
  EXPECT_TRUE(visible().empty());
}

TEST_F(IngestTest, AStoppingIngestRefuses) {
  auto ingest = open();
  ingest->set_store(store_);
  EXPECT_TRUE(ingest->drain(kLong));
  const Result<Accepted> result = ingest->accept_and_wait(request({span(1, 1)}));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
}

TEST(RepeatFilter, ForgetsAfterItsWindowAndFailures) {
  RepeatFilter filter(100, 3);
  const BodyHash hash{1, 2};
  EXPECT_EQ(filter.begin(hash), RepeatFilter::Seen::kNew);
  EXPECT_EQ(filter.begin(hash), RepeatFilter::Seen::kPending);
  filter.failed(hash);
  EXPECT_EQ(filter.begin(hash), RepeatFilter::Seen::kNew);
  filter.stored(hash, 1000);
  EXPECT_EQ(filter.begin(hash), RepeatFilter::Seen::kStored);
  filter.stored({9, 9}, 1200);  // time goes on
  EXPECT_EQ(filter.begin(hash), RepeatFilter::Seen::kNew);
  for (uint64_t i = 0; i < 10; ++i) filter.stored({3, i}, 1200);
  EXPECT_EQ(filter.begin({3, 0}), RepeatFilter::Seen::kNew);  // pushed out by newer ones
  EXPECT_EQ(filter.begin({3, 9}), RepeatFilter::Seen::kStored);
}

}  // namespace
}  // namespace nuages::store
