// People: who may look at the UI and who may change things, their passwords and their sessions.
//
// The file `<data>/users` holds a line per user: name, role, argon2id hash of the password (RFC
// 9106; 19 MiB, 2 passes, 1 lane: OWASP's smallest). `nuages-server users` writes it; a running
// server sees a change within a second. A first administrator, called admin, may come from
// NUAGES_ADMIN_PASSWORD or NUAGES_ADMIN_PASSWORD_FILE; there is no default password. A key of scope
// read or admin logs in too, without a name.
//
// A session is a cookie: who, until when, and an HMAC-SHA256 of both and the hash of the password
// or key, so that it ends with a new password, a removed user or a revoked key, on every server
// with the same folder, and lives over restarts. Its secret is `<data>/session-secret`. HttpOnly,
// SameSite=Strict, Secure with TLS; seven days. Logging out takes the cookie out of that browser.
//
// Guessing: after five wrong passwords a name waits, twice as long each time, up to a minute; two
// passwords are hashed at a time, the next is told to come again. An unknown name costs what a
// wrong password costs. Thread-safe; log_in() blocks for about 50 ms.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/keys.h"
#include "server/secret_file.h"

namespace nuages::server {

enum class Role : uint8_t { kViewer, kAdmin };
std::string_view name_of(Role role);
Result<Role> parse_role(std::string_view word);

struct User {
  std::string name;
  Role role = Role::kViewer;
  std::string hash;  // as argon2 writes it
};

// Who a session belongs to.
struct Login {
  std::string user;
  Role role = Role::kViewer;
};

class Logins {
 public:
  struct Options {
    std::string folder;          // of the data
    std::string admin_password;  // of the environment
    bool secure = false;         // TLS: the cookie never goes over clear text
  };
  static constexpr size_t kShortestPassword = 10;
  static Result<std::string> read_environment();
  // `keys` may be null and must outlive this.
  static Result<std::unique_ptr<Logins>> open(Options options, Keys* keys);

  // Whether there are users.
  bool any();
  // The value of a Set-Cookie header. kDenied: wrong name or password; kExhausted: too many tries.
  Result<std::string> log_in(const std::string& user, const std::string& password);
  std::string log_out() const;  // likewise
  // Of a request's `cookie` header, when it holds a session that is valid now.
  std::optional<Login> find(std::string_view cookies);
  std::string metrics_text() const;

  // The file. Errors name it; one that does not exist has no users.
  static Result<std::vector<User>> read_file(const std::string& file);
  static Status write_file(const std::string& file, const std::vector<User>& users);
  static Result<User> make_user(const std::string& name, Role role, const std::string& password);

 private:
  struct Failures {
    unsigned count = 0;
    uint64_t wait_until_ns = 0;
  };
  // What a session stands on: a user or a key. `hash` is the credential's.
  struct Subject {
    Login login;
    std::string hash;
  };

  Logins(Options options, Keys* keys, std::string secret)
      : options_(std::move(options)),
        keys_(keys),
        secret_(std::move(secret)),
        file_(options_.folder + "/users") {}
  Status load();
  void refresh();
  std::optional<Subject> subject(std::string_view id);  // "u=anna", "k=1f2e3d4c"
  std::string mac(std::string_view session, std::string_view hash) const;
  std::string cookie(std::string_view id, std::string_view hash) const;
  Result<std::string> log_in_with_key(const std::string& key);

  const Options options_;
  Keys* const keys_;
  const std::string secret_;
  std::mutex mutex_;
  WatchedFile file_;
  std::optional<User> from_environment_;
  std::map<std::string, User, std::less<>> users_;
  std::map<std::string, Failures, std::less<>> failures_;  // unknown names share one
  std::counting_semaphore<> hashing_{2};
  std::array<std::atomic<uint64_t>, 3> counts_{};  // good, denied, told to wait
};

}  // namespace nuages::server
