#include "store/wal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

std::mutex g_log_mutex;
std::vector<std::string> g_log_lines;

void record_log(LogLevel, std::string_view, std::string_view message) {
  const std::lock_guard lock(g_log_mutex);
  g_log_lines.emplace_back(message);
}

class Recorder : public WalObserver {
 public:
  void on_commit(const SegmentId& segment, std::vector<WalEntry>& entries) override {
    const std::lock_guard lock(mutex);
    for (const WalEntry& entry : entries) committed.emplace_back(segment.number, entry.body);
  }
  void on_seal(const SegmentId& segment) override {
    const std::lock_guard lock(mutex);
    sealed.push_back(segment);
    changed.notify_all();
  }
  SegmentId wait_sealed(size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return sealed.size() >= count; });
    return sealed[count - 1];
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<uint64_t, std::string>> committed;
  std::vector<SegmentId> sealed;
};

class WalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "nuages_wal_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    options_.folder = folder_ + "/wal";
    options_.seal_age_ns = options_.seal_busy_age_ns = uint64_t{3600} * 1'000'000'000;
    g_log_lines.clear();
    set_log_sink(&record_log);
  }
  void TearDown() override {
    set_log_sink(nullptr);
    fs::remove_all(folder_);
  }

  std::unique_ptr<Wal> open() {
    found_.clear();
    replayed_.clear();
    auto wal = Wal::open(options_, recorder_, found_, [this](const WalRecord& record) {
      Result<std::string> body = record_body(record);
      replayed_.push_back(body.ok() ? *body : body.error().message);
    });
    EXPECT_TRUE(wal.ok()) << (wal.ok() ? "" : wal.error().message);
    return std::move(wal).value();
  }

  static WalEntry entry(const std::string& body, std::function<void(const Status&)> done = {}) {
    WalEntry out;
    out.record = make_record(body, hash_body(body), wall_now(), 1);
    out.body = body;
    out.done = std::move(done);
    return out;
  }

  static Status append(Wal& wal, const std::string& body) {
    std::promise<Status> promise;
    Status queued = wal.append(entry(body, [&](const Status& s) { promise.set_value(s); }));
    return queued.ok() ? promise.get_future().get() : queued;
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& file : fs::directory_iterator(options_.folder)) {
      if (file.path().extension() == ".wal") out.push_back(file.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  static std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void write_file(const fs::path& path, std::string_view data) {
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(data.data(), static_cast<std::streamsize>(data.size()));
  }

  // Does not compress, and is printable when a test fails.
  static std::string noise(size_t size) {
    std::mt19937 random(1);
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(33 + random() % 90);
    return out;
  }

  std::string folder_;
  WalOptions options_;
  Recorder recorder_;
  std::vector<SegmentScan> found_;
  std::vector<std::string> replayed_;
};

TEST_F(WalTest, WhatWasAcknowledgedIsReplayedInOrder) {
  const std::string big(100'000, 'x');  // compresses
  {
    auto wal = open();
    for (const std::string& body : {std::string("one"), big, noise(1000)}) {
      EXPECT_TRUE(append(*wal, body).ok());
    }
    EXPECT_EQ(wal->segments(), 1U);
    EXPECT_EQ(wal->bytes(), fs::file_size(files().at(0)));
    EXPECT_LT(wal->bytes(), 5000U);
  }
  auto wal = open();
  EXPECT_EQ(replayed_, (std::vector<std::string>{"one", big, noise(1000)}));
  ASSERT_EQ(found_.size(), 1U);
  EXPECT_EQ(found_[0].id.file_name(), "00000000000000000001.wal");
  EXPECT_EQ(found_[0].rows, 3U);
  EXPECT_TRUE(g_log_lines.empty());
}

TEST_F(WalTest, ATornTailIsCutAtEveryOffsetOfTheLastRecord) {
  {
    auto wal = open();
    EXPECT_TRUE(append(*wal, "first body").ok());
    EXPECT_TRUE(append(*wal, "second body").ok());
    EXPECT_TRUE(append(*wal, "the last body").ok());
  }
  const fs::path file = files().at(0);
  const std::string whole = read_file(file);
  const size_t last = whole.size() - entry("the last body").record.disk_size();
  for (size_t size = last; size < whole.size(); ++size) {
    write_file(file, std::string_view(whole).substr(0, size));
    g_log_lines.clear();
    auto wal = open();
    EXPECT_EQ(replayed_, (std::vector<std::string>{"first body", "second body"})) << size;
    EXPECT_EQ(fs::file_size(file), last);
    ASSERT_EQ(g_log_lines.size(), size == last ? 0U : 1U);
    if (size > last) {
      EXPECT_NE(g_log_lines[0].find("cut " + std::to_string(size - last) + " bytes"),
                std::string::npos)
          << g_log_lines[0];
    }
  }
}

TEST_F(WalTest, DamageInTheMiddleLosesOneRecordOnly) {
  {
    auto wal = open();
    for (const char* body : {"first body", "second body", "third body"}) {
      EXPECT_TRUE(append(*wal, body).ok());
    }
  }
  const fs::path file = files().at(0);
  const std::string whole = read_file(file);
  const size_t begin = kSegmentHeaderSize + entry("first body").record.disk_size();
  const size_t size = entry("second body").record.disk_size();
  for (size_t at = begin; at < begin + size; ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    write_file(file, damaged);
    g_log_lines.clear();
    auto wal = open();
    EXPECT_EQ(replayed_, (std::vector<std::string>{"first body", "third body"})) << at;
    ASSERT_EQ(g_log_lines.size(), 1U);
    EXPECT_NE(g_log_lines[0].find("skipped " + std::to_string(size)), std::string::npos);
  }
}

TEST_F(WalTest, ARecordOfAnotherSegmentIsNotTaken) {
  {
    auto wal = open();
    EXPECT_TRUE(append(*wal, "first").ok());
    wal->seal();
    EXPECT_TRUE(append(*wal, "other").ok());
  }
  const std::string other = read_file(files().at(1)).substr(kSegmentHeaderSize);
  write_file(files().at(0), read_file(files().at(0)) + other);
  open();
  EXPECT_EQ(replayed_, (std::vector<std::string>{"first", "other"}));
  EXPECT_EQ(found_.at(0).cut_bytes, other.size());
}

TEST_F(WalTest, ForeignFilesGoToQuarantineAndEmptyOnesGo) {
  open();
  write_file(options_.folder + "/00000000000000000007.wal", std::string(100, 'z'));
  write_file(options_.folder + "/00000000000000000008.wal", "NUAG");
  auto wal = open();
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(fs::exists(options_.folder + "/quarantine/00000000000000000007.wal"));
  EXPECT_TRUE(append(*wal, "x").ok());
  EXPECT_EQ(files().at(0).filename(), "00000000000000000009.wal");
}

// A disk whose second sector of a file cannot be read.
ssize_t read_with_a_bad_sector(int fd, void* buffer, size_t size, off_t offset) {
  constexpr off_t kBad = 4096;
  if (offset >= kBad && offset < 2 * kBad) {
    errno = EIO;
    return -1;
  }
  const auto room = offset < kBad ? static_cast<size_t>(kBad - offset) : size;
  return ::pread(fd, buffer, std::min(size, room), offset);
}

TEST_F(WalTest, ASegmentTheDiskCannotReadIsSavedAroundTheBadPartAndKept) {
  const std::string one = noise(2000);
  {
    auto wal = open();
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*wal, std::to_string(i) + one).ok());
    wal->seal();
  }
  set_segment_reader(&read_with_a_bad_sector);
  auto wal = open();
  EXPECT_EQ(replayed_.size(), 7U) << "three records touch the bad sector";
  ASSERT_EQ(found_.size(), 1U);
  EXPECT_EQ(found_[0].unreadable_bytes, 4096U);
  EXPECT_EQ(wal->damaged_at_open(), 1U);
  wal->remove(found_[0].id);
  set_segment_reader(nullptr);
  EXPECT_TRUE(files().empty());
  EXPECT_EQ(read_file(options_.folder + "/quarantine/00000000000000000001.wal").size(), 20'610U);
}

TEST_F(WalTest, ASegmentThatCannotBeReadAtAllIsQuarantinedAndTheOthersAreReplayed) {
  {
    auto wal = open();
    ASSERT_TRUE(append(*wal, "one").ok());
    wal->seal();
    ASSERT_TRUE(append(*wal, "two").ok());
    wal->seal();
  }
  // A folder in place of the file: open() works and no byte can be read.
  fs::remove(files()[0]);
  fs::create_directory(options_.folder + "/00000000000000000001.wal");
  auto wal = open();
  EXPECT_EQ(replayed_, std::vector<std::string>{"two"});
  EXPECT_EQ(wal->damaged_at_open(), 1U);
  EXPECT_TRUE(fs::exists(options_.folder + "/quarantine/00000000000000000001.wal"));
}

TEST_F(WalTest, AHalfFinishedSplitIsFinishedOrForgottenAtTheNextStart) {
  const std::vector<std::string> all{"a", "b", "c", "d", "e"};
  const auto sorted = [this] {
    std::sort(replayed_.begin(), replayed_.end());
    return replayed_;
  };
  {
    auto wal = open();
    for (const std::string& body : all) ASSERT_TRUE(append(*wal, body).ok());
    wal->seal();
  }
  const fs::path before = folder_ + "/before";
  fs::copy(options_.folder, before);
  {
    auto wal = open();
    auto halves = wal->split(found_[0].id);
    ASSERT_TRUE(halves.ok()) << halves.error().message;
    ASSERT_EQ(halves->size(), 2U);
    EXPECT_EQ((*halves)[0].records + (*halves)[1].records, 5U);
    EXPECT_EQ(wal->segments(), 2U);
    EXPECT_EQ(wal->split({(*halves)[0].id.number + 100, 0}).error().code, ErrorCode::kUnavailable);
  }
  const std::vector<fs::path> halves = files();
  ASSERT_EQ(halves.size(), 2U);
  open();
  EXPECT_EQ(sorted(), all);
  // Every state that a crash can leave: made but not renamed; renamed; one half moved up; the old
  // segment gone.
  for (int state = 0; state < 4; ++state) {
    const fs::path again = folder_ + "/state" + std::to_string(state);
    fs::copy(before, again);
    const fs::path folder = again / (state == 0 ? "split-1.tmp" : "split-1");
    fs::create_directory(folder);
    for (const fs::path& half : halves) fs::copy(half, folder / half.filename());
    if (state >= 2) fs::rename(folder / halves[0].filename(), again / halves[0].filename());
    if (state == 3) fs::remove(again / "00000000000000000001.wal");
    options_.folder = again;
    open();
    EXPECT_EQ(sorted(), all) << "state " << state;
    EXPECT_EQ(found_.size(), state == 0 ? 1U : 2U);
    EXPECT_FALSE(fs::exists(folder));
  }
}

TEST_F(WalTest, NumbersOfQuarantinedSegmentsAreNotUsedAgain) {
  const auto body_of = [](const fs::path& file) {
    std::string body;
    EXPECT_TRUE(scan_segment(file, [&](const WalRecord& record) {
                  body = record_body(record).value();
                }).ok());
    return body;
  };
  for (const std::string body : {"first", "second"}) {
    auto wal = open();
    EXPECT_TRUE(append(*wal, body).ok());
    wal->seal();
    wal->quarantine(recorder_.sealed.back());
  }
  const fs::path quarantine = fs::path(options_.folder) / "quarantine";
  EXPECT_EQ(body_of(quarantine / "00000000000000000001.wal"), "first");
  EXPECT_EQ(body_of(quarantine / "00000000000000000002.wal"), "second");
}

TEST_F(WalTest, ManyAppendersShareGroupsAndEachIsAcknowledgedOnce) {
  constexpr int kThreads = 8;
  constexpr int kEach = 200;
  std::atomic<int> acknowledged{0};
  {
    auto wal = open();
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          const std::string body = std::to_string(t) + "/" + std::to_string(i);
          EXPECT_TRUE(append(*wal, body).ok());
          ++acknowledged;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(acknowledged, kThreads * kEach);
  open();
  ASSERT_EQ(replayed_.size(), static_cast<size_t>(kThreads * kEach));
  for (size_t i = 0; i < replayed_.size(); ++i) {
    EXPECT_EQ(recorder_.committed[i].second, replayed_[i]);
  }
}

TEST_F(WalTest, SealsByRowsByAgeAndOnDemand) {
  options_.seal_rows = 3;
  auto wal = open();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(append(*wal, std::to_string(i)).ok());
  EXPECT_EQ(recorder_.wait_sealed(1).number, 1U);
  EXPECT_TRUE(append(*wal, "x").ok());
  wal->seal();
  ASSERT_EQ(recorder_.sealed.size(), 2U);  // seal() returns after the observer was told
  wal->seal();                             // nothing is open: nothing to seal
  EXPECT_EQ(recorder_.sealed.size(), 2U);
  wal.reset();
  options_.seal_age_ns = options_.seal_busy_age_ns = 1'000'000;
  wal = open();
  EXPECT_TRUE(append(*wal, "y").ok());
  EXPECT_EQ(recorder_.wait_sealed(3).number, 3U);
  const uint64_t before = wal->bytes();
  const uint64_t size = fs::file_size(wal->path(recorder_.sealed[0]));
  wal->remove(recorder_.sealed[0]);
  EXPECT_EQ(wal->bytes(), before - size);
  EXPECT_EQ(wal->segments(), 2U);
  EXPECT_EQ(files().size(), 2U);
}

TEST_F(WalTest, RefusesAboveItsLimit) {
  options_.max_total_bytes = 300;
  auto wal = open();
  Status status;
  int taken = 0;
  while ((status = append(*wal, "some body")).ok()) ++taken;
  EXPECT_EQ(status.error().code, ErrorCode::kExhausted);
  EXPECT_GT(taken, 1);
  wal->seal();
  wal->remove(recorder_.wait_sealed(1));
  EXPECT_TRUE(append(*wal, "some body").ok());
}

// The limit on file sizes stands for a full disk: the write comes back short, then with an error.
TEST_F(WalTest, AFullDiskFailsTheGroupAndNothingElse) {
  std::signal(SIGXFSZ, SIG_IGN);
  const std::string large = noise(4000);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  {
    auto wal = open();
    EXPECT_TRUE(append(*wal, "before").ok());
    rlimit tight = before;
    tight.rlim_cur = 2000;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const Status full = append(*wal, large);
    const Status still_full = append(*wal, large);
    const Status small = append(*wal, "small");
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, ErrorCode::kExhausted);
    EXPECT_NE(full.error().message.find("free space"), std::string::npos);
    EXPECT_FALSE(still_full.ok());
    EXPECT_TRUE(small.ok());
    EXPECT_EQ(g_log_lines.size(), 1U);  // not one line per request
    EXPECT_TRUE(append(*wal, large).ok());
    EXPECT_EQ(wal->bytes(), fs::file_size(files().at(0)));
  }
  open();
  EXPECT_EQ(replayed_, (std::vector<std::string>{"before", "small", large}));
  EXPECT_EQ(found_.at(0).cut_bytes + found_.at(0).damaged_bytes, 0U);
}

TEST_F(WalTest, TheDestructorCommitsWhatIsQueued) {
  std::atomic<int> done{0};
  {
    auto wal = open();
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(wal->append(entry(std::to_string(i),
                                    [&](const Status& status) { done += status.ok() ? 1 : 0; }))
                      .ok());
    }
  }
  EXPECT_EQ(done, 100);
  open();
  EXPECT_EQ(replayed_.size(), 100U);
}

TEST_F(WalTest, AFolderThatCannotBeMadeIsAnError) {
  write_file(folder_ + "/file", "");
  options_.folder = folder_ + "/file/wal";
  auto wal = Wal::open(options_, recorder_, found_, {});
  ASSERT_FALSE(wal.ok());
  EXPECT_NE(wal.error().message.find("/file/wal"), std::string::npos);
}

}  // namespace
}  // namespace nuages::store
