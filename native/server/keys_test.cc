#include "server/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace nuages::server {
namespace {

namespace fs = std::filesystem;

class KeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "nuages_keys_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    file_ = folder_ + "/keys";
  }
  void TearDown() override { fs::remove_all(folder_); }

  KeyEntry add(const std::string& id, Scope scope, const std::string& key, uint64_t rate = 0) {
    KeyEntry entry{id, static_cast<uint8_t>(scope), Keys::hash(key), rate, "the name of " + id};
    entries_.push_back(entry);
    EXPECT_TRUE(Keys::write_file(file_, entries_).ok());
    return entry;
  }

  std::string folder_, file_;
  std::vector<KeyEntry> entries_;
};

TEST_F(KeysTest, WithoutKeysEverythingIsOpenAndWithOneNothingIs) {
  auto open = Keys::open(file_, {});
  ASSERT_TRUE(open.ok());
  EXPECT_FALSE((*open)->required());
  EXPECT_EQ((*(*open)->check(Scope::kIngest, "", ""))->id(), "none");
  const std::string ingest = Keys::make_key();
  const std::string admin = Keys::make_key();
  EXPECT_NE(ingest, admin);
  EXPECT_EQ(ingest.size(), 46U);
  add("one", Scope::kIngest, ingest);
  add("two", Scope::kAdmin, admin);
  auto keys = Keys::open(file_, {});
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  EXPECT_TRUE((*keys)->required());
  EXPECT_FALSE((*keys)->check(Scope::kIngest, "", "").ok());
  EXPECT_FALSE((*keys)->check(Scope::kIngest, "Bearer " + ingest + "x", "").ok());
  EXPECT_EQ((*(*keys)->check(Scope::kIngest, "Bearer " + ingest, ""))->id(), "one");
  EXPECT_EQ((*(*keys)->check(Scope::kIngest, "bearer " + ingest, ""))->id(), "one");
  EXPECT_EQ((*(*keys)->check(Scope::kIngest, "", ingest))->id(), "one");
  const auto denied = (*keys)->check(Scope::kRead, "Bearer " + ingest, "");
  ASSERT_FALSE(denied.ok());
  EXPECT_NE(denied.error().message.find("scope ingest"), std::string::npos);
  EXPECT_TRUE((*keys)->check(Scope::kRead, "Bearer " + admin, "").ok()) << "admin may read";
  EXPECT_FALSE((*keys)->check(Scope::kIngest, "Bearer " + admin, "").ok());
  struct stat found{};
  ASSERT_EQ(::stat(file_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  std::ifstream content(file_);
  const std::string text((std::istreambuf_iterator<char>(content)), {});
  EXPECT_EQ(text.find(ingest), std::string::npos) << "hashes only";
}

TEST_F(KeysTest, BrowsersSendTheKeyAsAPassword) {
  add("one", Scope::kRead, "password1234");
  auto keys = Keys::open(file_, {});
  EXPECT_TRUE((*keys)->check(Scope::kRead, "Basic YW55OnBhc3N3b3JkMTIzNA==", "").ok());
  EXPECT_FALSE((*keys)->check(Scope::kRead, "Basic !!!", "").ok());
}

TEST_F(KeysTest, AChangedFileIsReadAgainAndAMissingOneChangesNothing) {
  add("one", Scope::kIngest, "first-key-0123456789");
  auto keys = Keys::open(file_, {});
  ASSERT_TRUE((*keys)->check(Scope::kIngest, "Bearer first-key-0123456789", "").ok());
  entries_.clear();
  add("two", Scope::kIngest, "second-key-0123456789");
  const auto valid = [&](const char* key) {
    return (*keys)->check(Scope::kIngest, std::string("Bearer ") + key, "").ok();
  };
  // The file is looked at once a second, so this takes at most that.
  for (int i = 0; i < 600 && !valid("second-key-0123456789"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(valid("second-key-0123456789"));
  EXPECT_FALSE(valid("first-key-0123456789"));
  fs::remove(file_);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_TRUE(valid("second-key-0123456789"));
  EXPECT_TRUE((*keys)->required());
  EXPECT_FALSE(valid(""));
}

TEST_F(KeysTest, KeysOfTheEnvironment) {
  auto keys = Keys::open(file_, {"ingest-key-012345", "admin-key-0123456"});
  ASSERT_TRUE(keys.ok());
  EXPECT_TRUE((*keys)->required());
  EXPECT_TRUE((*keys)->check(Scope::kIngest, "Bearer ingest-key-012345", "").ok());
  EXPECT_TRUE((*keys)->check(Scope::kAdmin, "Bearer admin-key-0123456", "").ok());
  EXPECT_FALSE((*keys)->check(Scope::kAdmin, "Bearer ingest-key-012345", "").ok());
}

TEST_F(KeysTest, ADamagedFileIsAnErrorThatNamesTheLine) {
  std::ofstream(file_) << "# good\none ingest abc 0\n";
  const auto keys = Keys::open(file_, {});
  ASSERT_FALSE(keys.ok());
  EXPECT_NE(keys.error().message.find("keys:2"), std::string::npos) << keys.error().message;
  EXPECT_FALSE(Keys::parse_scopes("ingest,write").ok());
  EXPECT_FALSE(Keys::parse_scopes("").ok());
  EXPECT_EQ(Keys::scope_words(*Keys::parse_scopes("admin,ingest")), "ingest,admin");
}

TEST(KeyUse, ARateLetsABurstThroughAndRefillsWithTime) {
  constexpr uint64_t kSecond = 1'000'000'000;
  KeyUse use("one", 100);
  store::Accepted accepted;
  accepted.spans = 500;
  EXPECT_TRUE(use.may_send(10 * kSecond));
  use.count(accepted);  // 200 were there
  EXPECT_FALSE(use.may_send(11 * kSecond));
  EXPECT_FALSE(use.may_send(12 * kSecond));
  EXPECT_TRUE(use.may_send(14 * kSecond));
  use.count(Error{ErrorCode::kExhausted, "full"});
  const std::string text = metrics_text({std::make_shared<KeyUse>("none", 0)});
  EXPECT_NE(text.find("nuages_key_received_spans_total{key=\"none\"} 0"), std::string::npos);
  EXPECT_EQ(use.refused[static_cast<size_t>(Refusal::kExhausted)], 1U);
}

}  // namespace
}  // namespace nuages::server
