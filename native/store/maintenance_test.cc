// Erasure, check, backup and restore on a real store with its log.
#include <gtest/gtest.h>
#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "store/backup.h"
#include "store/chdb_store.h"
#include "store/check.h"
#include "store/erasure.h"
#include "store/ingest.h"
#include "store/test_store.h"
#include "store/wal_format.h"
#include "wire/otlp_reader_testing.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;
using wire::testing::key_value;
using wire::testing::Message;
using wire::testing::request;
using wire::testing::span;
using wire::testing::string_value;

constexpr uint64_t kLong = uint64_t{60} * 1'000'000'000;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The engine's compressed files are frames: 16 bytes of checksum, a method, the sizes of the frame
// and of its content. Codecs before the compression only touch numbers.
std::string decompressed(const std::string& file) {
  constexpr size_t kChecksum = 16, kHeader = 9;
  std::string out;
  for (size_t at = 0; at + kChecksum + kHeader <= file.size();) {
    const char* frame = file.data() + at + kChecksum;
    uint32_t size = 0;
    uint32_t raw = 0;
    std::memcpy(&size, frame + 1, 4);
    std::memcpy(&raw, frame + 5, 4);
    if (size < kHeader || at + kChecksum + size > file.size() || raw > (64U << 20)) break;
    auto method = static_cast<unsigned char>(frame[0]);
    const char* data = frame + kHeader;
    size_t data_size = size - kHeader;
    if (method == 0x91) {  // several codecs: their count, their bytes, then a frame of the last
      const auto codecs = static_cast<unsigned char>(data[0]);
      data += 1 + codecs;
      data_size -= 1 + codecs;
      method = static_cast<unsigned char>(data[0]);
      uint32_t inner = 0;
      std::memcpy(&inner, data + 1, 4);
      std::memcpy(&raw, data + 5, 4);
      data += kHeader;
      data_size = inner - kHeader;
    }
    std::string content(raw, '\0');
    if (method == 0x90) {
      ZSTD_decompress(content.data(), raw, data, data_size);
    } else if (method == 0x82) {
      LZ4_decompress_safe(data, content.data(), static_cast<int>(data_size), static_cast<int>(raw));
    } else {
      content.assign(data, data_size);
    }
    out += content;
    at += kChecksum + size;
  }
  return out;
}

// Files below the folder that hold the text, raw or in whatever they compress.
std::string files_with(const std::string& folder, const std::string& text) {
  std::string found;
  for (const auto& file : fs::recursive_directory_iterator(folder)) {
    if (!file.is_regular_file()) continue;
    const std::string raw = read_file(file.path());
    bool holds = raw.find(text) != std::string::npos;
    if (file.path().string().find("/wal/") != std::string::npos) {
      (void)scan_segment(file.path().string(), [&](const WalRecord& record) {
        const auto body = record_body(record);
        holds |= body.ok() && body->find(text) != std::string::npos;
      });
    } else {
      holds |= decompressed(raw).find(text) != std::string::npos;
    }
    if (holds) found.append(fs::relative(file.path(), folder).string()).append("\n");
  }
  return found;
}

class MaintenanceTest : public testing::EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    std::string name = (fs::temp_directory_path() / "nuages_maintain_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    options_.wal.folder = folder_ + "/wal";
    options_.wal.seal_age_ns = options_.wal.seal_busy_age_ns = 60 * kLong;
  }
  void TearDown() override {
    ingest_.reset();
    store_.reset();
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }
  // False where another test of the process holds the engine: ctest runs each alone.
  bool open(const std::string& store_folder = "store") {
    auto store =
        ChdbStore::open({.library = NUAGES_CHDB_LIBRARY, .folder = folder_ + "/" + store_folder});
    if (!store.ok()) return false;
    store_ = std::move(store).value();
    ingest_ = std::move(Ingest::open(options_)).value();
    ingest_->set_store(*store_);
    return true;
  }
  void accept(const std::string& body) {
    Result<Accepted> result = ingest_->accept_and_wait(std::string(body));
    ASSERT_TRUE(result.ok()) << result.error().message;
  }
  std::string count(const std::string& sql) {
    std::string out;
    EXPECT_TRUE(store_
                    ->stream("SELECT toString(" + sql + ") AS n", {},
                             [&](std::string_view rows) {
                               out += rows;
                               return true;
                             })
                    .ok());
    return out.substr(0, out.find('\n'));
  }

  std::string folder_;
  IngestOptions options_;
  std::unique_ptr<ChdbStore> store_;
  std::unique_ptr<Ingest> ingest_;
};

Message user_span(uint64_t trace, uint64_t id, const std::string& user, const char* name = "work") {
  return span(trace, id, name)
      .message(9, key_value("user.name", string_value(user)))
      .message(9, key_value("http.route", string_value("/of/" + user + "/")))
      .message(9, key_value("db.system", string_value("postgresql")))
      .message(9, key_value("db.name", string_value("db-" + user)))
      .message(9, key_value("db.statement", string_value("SELECT x FROM t_" + user)));
}

TEST_F(MaintenanceTest, ErasedSpansAreInNoFileAndTheOthersStay) {
  if (!open()) GTEST_SKIP() << "run by ctest";
  for (uint64_t i = 1; i <= 40; ++i) {
    const std::string user = i % 4 == 0 ? "zoe-zebra-0815" : "user" + std::to_string(i);
    accept(request({user_span(i, 10 * i, user), user_span(i, 10 * i + 1, "other")}));
    if (i % 8 == 0) {
      ASSERT_TRUE(ingest_->insert_all(kLong));
    }
  }
  // One that is in the log only, and two in quarantine.
  accept(request({user_span(50, 500, "zoe-zebra-0815")}));
  const std::string quarantine = folder_ + "/wal/quarantine";
  fs::create_directories(quarantine);
  const SegmentId id{77, 5};
  std::string segment = encode_segment_header(id);
  for (const char* user : {"zoe-zebra-0815", "somebody"}) {
    const std::string body = request({user_span(60, 600, user)});
    const WalRecord record = make_record(body, hash_body(body), 1, 1);
    segment += encode_record_header(record, id) + record.payload;
  }
  std::ofstream(quarantine + "/" + id.file_name(), std::ios::binary) << segment;
  std::ofstream(quarantine + "/notes.txt") << "zoe-zebra-0815";
  EXPECT_NE(files_with(folder_ + "/store", "zoe-zebra-0815"), "") << "else the scan sees nothing";
  EXPECT_NE(files_with(folder_ + "/wal", "zoe-zebra-0815"), "");

  const auto report =
      erase_everywhere(*store_, *ingest_, {{}, "user.name", "zoe-zebra-0815"}, kLong);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->spans, 11U);
  EXPECT_EQ(report->quarantined_requests, 1U);
  EXPECT_EQ(report->quarantined_files, 1U);
  EXPECT_EQ(files_with(folder_, "zoe-zebra-0815"), "");
  EXPECT_NE(files_with(folder_, "somebody"), "") << "the other request in quarantine stays";
  EXPECT_EQ(count("(SELECT count() FROM nuages.spans)"), R"({"n":"70"})");
  const auto checked = store_->check(false);
  ASSERT_TRUE(checked.ok()) << checked.error().message;
  EXPECT_TRUE(checked->good()) << checked->text();
  // And what comes afterwards is stored as ever, its resource and statements included.
  accept(request({user_span(70, 700, "late")}));
  ASSERT_TRUE(ingest_->insert_all(kLong));
  EXPECT_TRUE(store_->check(false)->good()) << store_->check(false)->text();
}

TEST_F(MaintenanceTest, OneTraceIsErasedWithItsIndexAndItsLinks) {
  if (!open()) GTEST_SKIP() << "run by ctest";
  for (uint64_t i = 1; i <= 5; ++i) {
    accept(request({user_span(0xabcdef00 + i, i, "user")
                        .message(13, Message()
                                         .bytes(1, wire::testing::id_bytes(16, 0x77))
                                         .bytes(2, wire::testing::id_bytes(8, 0x78)))}));
  }
  EraseRequest what;
  what.trace = TraceId{0, 0xabcdef03};
  const auto report = erase_everywhere(*store_, *ingest_, what, kLong);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->spans, 1U);
  EXPECT_EQ(files_with(folder_, wire::testing::id_bytes(16, 0xabcdef03)), "");
  EXPECT_EQ(count("(SELECT count() FROM nuages.trace_links) + (SELECT count() FROM"
                  " nuages.trace_ix)"),
            R"({"n":"8"})");
  EXPECT_TRUE(store_->check(false)->good()) << store_->check(false)->text();
  EXPECT_EQ(erase_everywhere(*store_, *ingest_, what, kLong)->spans, 0U) << "nothing is left";
}

TEST_F(MaintenanceTest, AnErasureThatWasCutOffIsFinishedByTheNextStart) {
  if (!open()) GTEST_SKIP() << "run by ctest";
  accept(request({user_span(1, 1, "gone"), user_span(2, 2, "kept")}));
  ASSERT_TRUE(ingest_->insert_all(kLong));
  // What a crash after the first step leaves.
  for (const char* sql :
       {"CREATE TABLE nuages.erasing (trace_id FixedString(16), span_id UInt64, day UInt32,"
        " resource UInt64, fingerprint UInt64) ENGINE = MergeTree ORDER BY (trace_id, span_id)",
        "INSERT INTO nuages.erasing SELECT trace_id, span_id, toYYYYMMDD(received), resource,"
        " fingerprint FROM nuages.spans WHERE span_id = 1"}) {
    ASSERT_TRUE(store_->query(sql, {}).ok());
  }
  ingest_.reset();
  store_.reset();
  ASSERT_TRUE(open());
  EXPECT_EQ(count("(SELECT groupArray(span_id) FROM nuages.spans)"), R"({"n":"[2]"})");
  EXPECT_EQ(files_with(folder_, "db-gone"), "");
  EXPECT_TRUE(store_->check(false)->good()) << store_->check(false)->text();
}

TEST_F(MaintenanceTest, TheCheckNamesWhatDiffersAndRepairsIt) {
  if (!open()) GTEST_SKIP() << "run by ctest";
  accept(request({user_span(1, 1, "a"), user_span(2, 2, "b")}));
  ASSERT_TRUE(ingest_->insert_all(kLong));
  ASSERT_TRUE(store_->query("TRUNCATE TABLE nuages.red", {}).ok());
  ASSERT_TRUE(
      store_->query("INSERT INTO nuages.entry SELECT * FROM nuages.entry LIMIT 1", {}).ok());
  const auto bad = store_->check(false);
  ASSERT_TRUE(bad.ok());
  EXPECT_FALSE(bad->good());
  const std::string text = bad->text();
  EXPECT_NE(text.find("BAD  red 2"), std::string::npos) << text;
  EXPECT_NE(text.find("BAD  entry 2"), std::string::npos) << text;
  EXPECT_NE(text.find("ok   services 2"), std::string::npos) << text;
  EXPECT_TRUE(store_->check(true)->good());
  const auto again = store_->check(false);
  EXPECT_TRUE(again->good()) << again->text();
  CheckReport log;
  check_log(folder_ + "/wal", log);
  EXPECT_TRUE(log.good()) << log.text();
}

TEST_F(MaintenanceTest, ABackupOfARunningStoreIsRestoredWhole) {
  if (!open()) GTEST_SKIP() << "run by ctest";
  for (uint64_t i = 1; i <= 20; ++i) {
    accept(request({user_span(i, i, "user" + std::to_string(i))}));
    if (i % 5 == 0) {
      ASSERT_TRUE(ingest_->insert_all(kLong));
    }
  }
  accept(request({user_span(21, 21, "in the log only")}));
  const auto made = make_backup(*store_, *ingest_, folder_, folder_ + "/backup", kLong);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->rows.at("spans"), 21U);
  EXPECT_EQ(list_backups(folder_), std::vector<std::string>{folder_ + "/backup"});
  EXPECT_FALSE(make_backup(*store_, *ingest_, folder_, folder_ + "/backup", kLong).ok());
  accept(request({user_span(22, 22, "after it")}));
  ASSERT_TRUE(ingest_->insert_all(kLong));
  EXPECT_EQ(count("(SELECT count() FROM nuages.spans)"), R"({"n":"22"})");
  ingest_.reset();
  store_.reset();
  ASSERT_TRUE(open("restored"));
  const auto restored = restore_backup(*store_, folder_ + "/backup");
  ASSERT_TRUE(restored.ok()) << restored.error().message;
  EXPECT_EQ(count("(SELECT count() FROM nuages.spans)"), R"({"n":"21"})");
  EXPECT_TRUE(store_->check(false)->good()) << store_->check(false)->text();
  EXPECT_FALSE(read_manifest(folder_ + "/wal").ok());
}

}  // namespace
}  // namespace nuages::store
