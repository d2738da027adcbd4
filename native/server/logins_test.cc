#include "server/logins.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace nuages::server {
namespace {

namespace fs = std::filesystem;

class LoginsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "nuages_logins_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  void add(const std::string& name, Role role, const std::string& password) {
    auto user = Logins::make_user(name, role, password);
    ASSERT_TRUE(user.ok()) << user.error().message;
    users_.push_back(std::move(user).value());
    ASSERT_TRUE(Logins::write_file(folder_ + "/users", users_).ok());
  }
  std::unique_ptr<Logins> open(const std::string& admin_password = {}, Keys* keys = nullptr,
                               bool secure = false) {
    auto logins = Logins::open({folder_, admin_password, secure}, keys);
    EXPECT_TRUE(logins.ok()) << logins.error().message;
    return std::move(logins).value();
  }

  std::string folder_;
  std::vector<User> users_;
};

// What a browser sends back of a Set-Cookie header.
std::string sent(const std::string& set_cookie) {
  return "theme=dark; " + set_cookie.substr(0, set_cookie.find(';')) + "; other=1";
}

TEST_F(LoginsTest, ThereIsNobodyByDefault) {
  auto logins = open();
  EXPECT_FALSE(logins->any());
  EXPECT_FALSE(logins->log_in("admin", "admin").ok());
  EXPECT_FALSE(logins->log_in("admin", "").ok());
  EXPECT_FALSE(logins->log_in("", "").ok());
}

TEST_F(LoginsTest, ASessionHoldsOverARestartAndKnowsTheRole) {
  add("anna", Role::kViewer, "correct horse");
  add("bo@example.com", Role::kAdmin, "battery staple");
  auto logins = open();
  ASSERT_TRUE(logins->any());
  auto cookie = logins->log_in("anna", "correct horse");
  ASSERT_TRUE(cookie.ok()) << cookie.error().message;
  EXPECT_NE(cookie->find("; HttpOnly; SameSite=Strict; Max-Age=604800"), std::string::npos);
  EXPECT_EQ(cookie->find("Secure"), std::string::npos);
  logins = open({}, nullptr, true);
  auto found = logins->find(sent(*cookie));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->user, "anna");
  EXPECT_EQ(found->role, Role::kViewer);
  auto admin = logins->log_in("bo@example.com", "battery staple");
  ASSERT_TRUE(admin.ok());
  EXPECT_TRUE(admin->ends_with("; Secure"));
  EXPECT_EQ(logins->find(sent(*admin))->role, Role::kAdmin);
  struct stat mode{};
  for (const char* file : {"/users", "/session-secret"}) {
    ASSERT_EQ(::stat((folder_ + file).c_str(), &mode), 0);
    EXPECT_EQ(mode.st_mode & 0777U, 0600U) << file;
  }
}

TEST_F(LoginsTest, AChangedCookieIsNoSession) {
  add("anna", Role::kViewer, "correct horse");
  add("admin", Role::kAdmin, "battery staple");
  auto logins = open();
  const std::string good = sent(*logins->log_in("anna", "correct horse"));
  ASSERT_TRUE(logins->find(good));
  for (size_t i = good.find("u="); i < good.find("; other"); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == '1' ? '2' : '1';
    EXPECT_FALSE(logins->find(bad)) << bad;
  }
  std::string other = good;
  other.replace(other.find("u=anna"), 6, "u=admin");
  EXPECT_FALSE(logins->find(other));
  for (const char* text : {"", "nuages_session", "nuages_session=", "nuages_session=:::", "=;=;",
                           "nuages_session=u=anna:9999999999:", "xnuages_session=u=anna:1:2"}) {
    EXPECT_FALSE(logins->find(text)) << text;
  }
  // Another server's secret.
  fs::remove(folder_ + "/session-secret");
  EXPECT_FALSE(open()->find(good));
}

TEST_F(LoginsTest, ANewPasswordAndARemovedUserEndTheSession) {
  add("anna", Role::kViewer, "correct horse");
  add("bo", Role::kViewer, "battery staple");
  auto logins = open();
  const std::string anna = sent(*logins->log_in("anna", "correct horse"));
  const std::string bo = sent(*logins->log_in("bo", "battery staple"));
  users_.pop_back();
  users_[0] = *Logins::make_user("anna", Role::kViewer, "another horse");
  ASSERT_TRUE(Logins::write_file(folder_ + "/users", users_).ok());
  logins = open();
  EXPECT_FALSE(logins->find(anna));
  EXPECT_FALSE(logins->find(bo));
  EXPECT_FALSE(logins->log_in("anna", "correct horse").ok());
  EXPECT_TRUE(logins->log_in("anna", "another horse").ok());
}

TEST_F(LoginsTest, WhoGuessesWaitsAndNobodyElse) {
  add("anna", Role::kViewer, "correct horse");
  add("bo", Role::kViewer, "battery staple");
  auto logins = open();
  for (int i = 0; i < 5; ++i) {
    const auto refused = logins->log_in("anna", "guess " + std::to_string(i));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kDenied);
    EXPECT_EQ(refused.error().message, "the name or the password is wrong");
  }
  const auto refused = logins->log_in("anna", "correct horse");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(logins->log_in("bo", "battery staple").ok());
  EXPECT_EQ(logins->log_in("carl", "guess").error().message, "the name or the password is wrong");
  EXPECT_NE(logins->metrics_text().find("nuages_logins_total{result=\"denied\"} 6"),
            std::string::npos);
}

TEST_F(LoginsTest, TheEnvironmentNamesAFirstAdministrator) {
  EXPECT_FALSE(Logins::open({folder_, "short", false}, nullptr).ok());
  auto logins = open("of the environment");
  ASSERT_TRUE(logins->any());
  const auto cookie = logins->log_in("admin", "of the environment");
  ASSERT_TRUE(cookie.ok());
  EXPECT_EQ(logins->find(sent(*cookie))->role, Role::kAdmin);
  // A password set by a command goes before it.
  add("admin", Role::kAdmin, "of the command");
  logins = open("of the environment");
  EXPECT_FALSE(logins->log_in("admin", "of the environment").ok());
  EXPECT_TRUE(logins->log_in("admin", "of the command").ok());
}

TEST_F(LoginsTest, AKeyLogsInWithoutAName) {
  const std::string ingest = Keys::make_key(), read = Keys::make_key(), admin = Keys::make_key();
  std::vector<KeyEntry> entries;
  const auto scope = [](Scope one) { return static_cast<uint8_t>(one); };
  entries.push_back({"11111111", scope(Scope::kIngest), Keys::hash(ingest), 0, ""});
  entries.push_back({"22222222", scope(Scope::kRead), Keys::hash(read), 0, ""});
  entries.push_back({"33333333", scope(Scope::kAdmin), Keys::hash(admin), 0, ""});
  ASSERT_TRUE(Keys::write_file(folder_ + "/keys", entries).ok());
  auto keys = Keys::open(folder_ + "/keys", {});
  ASSERT_TRUE(keys.ok());
  auto logins = open({}, keys->get());
  EXPECT_FALSE(logins->any());
  const auto refused = logins->log_in("", ingest);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "the key 11111111 is not for reading: it has the scope ingest");
  EXPECT_FALSE(logins->log_in("", Keys::make_key()).ok());
  const std::string viewer = sent(*logins->log_in("", read));
  EXPECT_EQ(logins->find(viewer)->user, "key 22222222");
  EXPECT_EQ(logins->find(viewer)->role, Role::kViewer);
  EXPECT_EQ(logins->find(sent(*logins->log_in("", admin)))->role, Role::kAdmin);
  entries.erase(entries.begin() + 1);
  ASSERT_TRUE(Keys::write_file(folder_ + "/keys", entries).ok());
  keys = Keys::open(folder_ + "/keys", {});
  EXPECT_FALSE(open({}, keys->get())->find(viewer)) << "the key was revoked";
}

TEST_F(LoginsTest, NamesPasswordsAndFilesThatCannotBe) {
  EXPECT_NE(Logins::make_user("a b", Role::kViewer, "long enough").error().message.find("'a b'"),
            std::string::npos);
  EXPECT_EQ(Logins::make_user("anna", Role::kViewer, "too short").error().message,
            "a password has 10 to 1024 characters, this one 9");
  std::ofstream(folder_ + "/users") << "# comment\nanna viewer $argon2id$x\nbo owner hash\n";
  const auto users = Logins::read_file(folder_ + "/users");
  ASSERT_FALSE(users.ok());
  EXPECT_TRUE(users.error().message.ends_with("/users:3: not a line of `nuages-server users`"));
  EXPECT_FALSE(Logins::open({folder_, "", false}, nullptr).ok());
  fs::remove(folder_ + "/users");
  std::ofstream(folder_ + "/session-secret") << "short\n";
  EXPECT_FALSE(Logins::open({folder_, "", false}, nullptr).ok());
}

}  // namespace
}  // namespace nuages::server
