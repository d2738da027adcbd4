#include "server/logins.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::server {
namespace {

constexpr std::string_view kComponent = "logins";
constexpr std::string_view kCookie = "nuages_session";
constexpr uint64_t kSessionSeconds = uint64_t{7} * 24 * 3600;
constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr unsigned kFreeTries = 5;
constexpr unsigned kLongestWaitSeconds = 60;
constexpr size_t kLongestName = 64, kLongestPassword = 1024;
constexpr uint32_t kPasses = 2, kKiB = 19 * 1024, kLanes = 1;
constexpr size_t kSaltBytes = 16, kHashBytes = 32, kEncodedBytes = 128, kSecretBytes = 32;
enum Outcome : uint8_t { kGood, kDenied, kWait };

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-' || c == '@' || c == '+';
         });
}

void random_bytes(unsigned char* bytes, size_t size) {
  if (RAND_bytes(bytes, static_cast<int>(size)) != 1) std::abort();  // no randomness: no secret
}

Result<std::string> hash_password(const std::string& password) {
  unsigned char salt[kSaltBytes];
  random_bytes(salt, sizeof salt);
  char encoded[kEncodedBytes];
  const int code = argon2id_hash_encoded(kPasses, kKiB, kLanes, password.data(), password.size(),
                                         salt, sizeof salt, kHashBytes, encoded, sizeof encoded);
  if (code == ARGON2_OK) return std::string(encoded);
  return Error{ErrorCode::kUnavailable,
               std::string("the password cannot be hashed: ") + argon2_error_message(code)};
}

bool is_password(const std::string& hash, const std::string& password) {
  return argon2id_verify(hash.c_str(), password.data(), password.size()) == ARGON2_OK;
}

// The secret that sessions are signed with; made at the first start.
Result<std::string> session_secret(const std::string& file) {
  std::string secret;
  if (std::getline(std::ifstream(file), secret) && secret.size() == 2 * kSecretBytes) return secret;
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    return Error{ErrorCode::kInvalid,
                 file + " is not a session secret; delete it, and everybody logs in again"};
  }
  unsigned char bytes[kSecretBytes];
  random_bytes(bytes, sizeof bytes);
  secret = hex(bytes, sizeof bytes);
  if (Status status = write_secret_file(file, secret + "\n"); !status.ok()) return status.error();
  return secret;
}

// The value of our cookie in "a=1; nuages_session=…; b=2".
std::string_view session_of(std::string_view cookies) {
  while (!cookies.empty()) {
    std::string_view one = cookies.substr(0, cookies.find(';'));
    cookies.remove_prefix(std::min(cookies.size(), one.size() + 1));
    while (one.starts_with(' ')) one.remove_prefix(1);
    if (one.size() > kCookie.size() && one.starts_with(kCookie) && one[kCookie.size()] == '=') {
      return one.substr(kCookie.size() + 1);
    }
  }
  return {};
}

}  // namespace

std::string_view name_of(Role role) { return role == Role::kAdmin ? "admin" : "viewer"; }

Result<Role> parse_role(std::string_view word) {
  if (word == "viewer") return Role::kViewer;
  if (word == "admin") return Role::kAdmin;
  return Error{ErrorCode::kInvalid, "the role '" + std::string(word) + "' is not viewer or admin"};
}

Result<std::string> Logins::read_environment() {
  return secret_from_environment("NUAGES_ADMIN_PASSWORD", kShortestPassword,
                                 "choose a longer password");
}

Result<User> Logins::make_user(const std::string& name, Role role, const std::string& password) {
  if (!is_name(name)) {
    return Error{ErrorCode::kInvalid, "the name '" + name + "' must be 1 to " +
                                          std::to_string(kLongestName) +
                                          " letters, digits and . _ - @ +"};
  }
  if (password.size() < kShortestPassword || password.size() > kLongestPassword) {
    return Error{ErrorCode::kInvalid, "a password has " + std::to_string(kShortestPassword) +
                                          " to " + std::to_string(kLongestPassword) +
                                          " characters, this one " +
                                          std::to_string(password.size())};
  }
  Result<std::string> hash = hash_password(password);
  if (!hash.ok()) return hash.error();
  return User{name, role, std::move(hash).value()};
}

Result<std::vector<User>> Logins::read_file(const std::string& file) {
  std::vector<User> users;
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) return users;
  const Status read = read_secret_file(file, "users", [&](std::istringstream& words) -> Status {
    User user;
    std::string role;
    words >> user.name >> role >> user.hash;
    const auto parsed = parse_role(role);
    if (!words || !parsed.ok() || !is_name(user.name) || !user.hash.starts_with("$argon2id$")) {
      return Error{ErrorCode::kInvalid, "not a line of `nuages-server users`"};
    }
    user.role = *parsed;
    users.push_back(std::move(user));
    return {};
  });
  if (!read.ok()) return read.error();
  return users;
}

Status Logins::write_file(const std::string& file, const std::vector<User>& users) {
  std::string text = "# name, role, argon2id hash of the password\n";
  for (const User& user : users) {
    text.append(user.name).append(" ").append(name_of(user.role)).append(" ");
    text.append(user.hash).append("\n");
  }
  return write_secret_file(file, text);
}

Result<std::unique_ptr<Logins>> Logins::open(Options options, Keys* keys) {
  Result<std::string> secret = session_secret(options.folder + "/session-secret");
  if (!secret.ok()) return secret.error();
  std::optional<User> admin;
  if (!options.admin_password.empty()) {
    Result<User> made = make_user("admin", Role::kAdmin, options.admin_password);
    if (!made.ok()) return made.error();
    admin = std::move(made).value();
    options.admin_password.clear();
  }
  std::unique_ptr<Logins> logins(new Logins(std::move(options), keys, std::move(secret).value()));
  logins->from_environment_ = std::move(admin);
  if (Status status = logins->load(); !status.ok()) return status.error();
  return logins;
}

Status Logins::load() {
  const bool before = file_.seen();
  const auto there = file_.mark();
  if (!there.ok()) return there.error();
  if (!*there && before) {
    return Error{ErrorCode::kUnavailable, "the file of users '" + file_.path() +
                                              "' is gone; they stay valid until a restart"};
  }
  auto read = read_file(file_.path());
  if (!read.ok()) return read.error();
  users_.clear();
  if (from_environment_) users_[from_environment_->name] = *from_environment_;
  for (User& user : *read) {  // a password set by a command goes before the environment's
    const std::string name = user.name;
    users_[name] = std::move(user);
  }
  return {};
}

void Logins::refresh() {
  if (!file_.changed()) return;
  if (Status status = load(); !status.ok()) {
    log(LogLevel::kError, kComponent, status.error().message);
  } else {
    log(LogLevel::kInfo, kComponent,
        "users read again: there are " + std::to_string(users_.size()));
  }
}

bool Logins::any() {
  const std::lock_guard lock(mutex_);
  refresh();
  return !users_.empty();
}

std::string Logins::mac(std::string_view session, std::string_view hash) const {
  const std::string text = std::string(session) + "\n" + std::string(hash);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return hex(digest, size);
}

std::string Logins::cookie(std::string_view id, std::string_view hash) const {
  std::string session(id);
  session += ":" + std::to_string(wall_now() / kNsPerSecond + kSessionSeconds);
  return std::string(kCookie) + "=" + session + ":" + mac(session, hash) +
         "; Path=/; HttpOnly; SameSite=Strict; Max-Age=" + std::to_string(kSessionSeconds) +
         (options_.secure ? "; Secure" : "");
}

std::string Logins::log_out() const {
  return std::string(kCookie) + "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0" +
         (options_.secure ? "; Secure" : "");
}

std::optional<Logins::Subject> Logins::subject(std::string_view id) {
  if (id.starts_with("u=")) {
    const std::lock_guard lock(mutex_);
    refresh();
    const auto found = users_.find(id.substr(2));
    if (found == users_.end()) return std::nullopt;
    return Subject{{found->first, found->second.role}, found->second.hash};
  }
  if (!id.starts_with("k=") || keys_ == nullptr) return std::nullopt;
  const auto key = keys_->find_id(id.substr(2));
  constexpr auto kAdmin = static_cast<uint8_t>(Scope::kAdmin);
  constexpr auto kRead = static_cast<uint8_t>(Scope::kRead);
  if (!key || (key->scopes & (kAdmin | kRead)) == 0) return std::nullopt;
  return Subject{{"key " + key->id, (key->scopes & kAdmin) != 0 ? Role::kAdmin : Role::kViewer},
                 key->hash};
}

std::optional<Login> Logins::find(std::string_view cookies) {
  const std::string_view value = session_of(cookies);
  const size_t last = value.rfind(':');
  if (last == std::string_view::npos) return std::nullopt;
  const std::string_view session = value.substr(0, last);
  const std::string_view id = session.substr(0, session.rfind(':'));
  const std::string_view until = session.substr(std::min(session.size(), id.size() + 1));
  uint64_t seconds = 0;
  const auto parsed = std::from_chars(until.data(), until.data() + until.size(), seconds);
  if (parsed.ec != std::errc() || seconds <= wall_now() / kNsPerSecond) return std::nullopt;
  const auto found = subject(id);
  if (!found) return std::nullopt;
  const std::string wanted = mac(session, found->hash);
  const std::string_view given = value.substr(last + 1);
  if (given.size() != wanted.size() ||
      CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) != 0) {
    return std::nullopt;
  }
  return found->login;
}

Result<std::string> Logins::log_in_with_key(const std::string& key) {
  const auto entry = keys_ == nullptr ? std::nullopt : keys_->find(key);
  const auto found = entry ? subject("k=" + entry->id) : std::nullopt;
  if (!found) {
    ++counts_[kDenied];
    return Error{ErrorCode::kDenied,
                 entry ? "the key " + entry->id + " is not for reading: it has the scope " +
                             Keys::scope_words(entry->scopes)
                       : "there is no such key; a password needs the name of its user"};
  }
  ++counts_[kGood];
  return cookie("k=" + entry->id, found->hash);
}

Result<std::string> Logins::log_in(const std::string& name, const std::string& password) {
  if (name.empty()) return log_in_with_key(password);
  std::optional<User> user;
  {
    const std::lock_guard lock(mutex_);
    refresh();
    const auto found = users_.find(name);
    if (found != users_.end()) user = found->second;
    const Failures& failures = failures_[user ? name : ""];
    const uint64_t now = steady_now();
    if (failures.wait_until_ns > now) {
      ++counts_[kWait];
      return Error{ErrorCode::kExhausted,
                   "too many wrong passwords; try again in " +
                       std::to_string((failures.wait_until_ns - now) / kNsPerSecond + 1) + " s"};
    }
  }
  if (!hashing_.try_acquire()) {
    ++counts_[kWait];
    return Error{ErrorCode::kExhausted, "others are logging in; try again in 1 s"};
  }
  // Somebody's hash, so that an unknown name takes as long.
  static const std::string kNobody = [] {
    const Result<std::string> hash = hash_password("nobody has this password");
    return hash.ok() ? *hash : std::string();
  }();
  const bool right = is_password(user ? user->hash : kNobody, password) && user.has_value();
  hashing_.release();
  const std::lock_guard lock(mutex_);
  if (right) {
    failures_.erase(name);
    ++counts_[kGood];
    log(LogLevel::kInfo, kComponent, name + " logged in");
    return cookie("u=" + name, user->hash);
  }
  Failures& failures = failures_[user ? name : ""];
  if (++failures.count >= kFreeTries) {
    const unsigned doublings = std::min(failures.count - kFreeTries, 6U);
    failures.wait_until_ns =
        steady_now() + std::min(1U << doublings, kLongestWaitSeconds) * kNsPerSecond;
  }
  ++counts_[kDenied];
  log(LogLevel::kWarning, kComponent,
      user ? "a wrong password for " + name : std::string("a login with an unknown name"));
  return Error{ErrorCode::kDenied, "the name or the password is wrong"};
}

std::string Logins::metrics_text() const {
  constexpr const char* kName = "nuages_logins_total";
  constexpr const char* kResults[] = {"good", "denied", "told_to_wait"};
  static_assert(std::size(kResults) == std::tuple_size_v<decltype(counts_)>);
  std::string out = std::string("# HELP ") + kName + " Logins of people, by result.\n# TYPE " +
                    kName + " counter\n";
  const std::atomic<uint64_t>* count = counts_.data();
  for (const char* result : kResults) {
    out.append(kName).append("{result=\"").append(result).append("\"} ");
    out.append(std::to_string(*count++)).append("\n");
  }
  return out;
}

}  // namespace nuages::server
