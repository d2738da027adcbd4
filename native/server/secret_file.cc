#include "server/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <system_error>

#include "base/clock.h"

namespace nuages::server {
namespace {

constexpr uint64_t kLookEveryNs = 1'000'000'000;

void trim_end(std::string& text) {
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string::npos) {
    text.pop_back();
  }
}

}  // namespace

Status write_secret_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int code = fd < 0 ? errno : 0;
  if (code == 0 && ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    code = errno;
  }
  if (code == 0 && ::fsync(fd) != 0) code = errno;
  if (fd >= 0) ::close(fd);
  if (code == 0 && std::rename(fresh.c_str(), path.c_str()) != 0) code = errno;
  if (code == 0) return {};
  return Error{ErrorCode::kUnavailable,
               "cannot write " + path + ": " + std::generic_category().message(code)};
}

Status read_secret_file(const std::string& path, const char* what,
                        const std::function<Status(std::istringstream&)>& take) {
  std::ifstream content(path);
  if (!content) {
    return Error{ErrorCode::kUnavailable,
                 std::string("the file of ") + what + " '" + path + "' cannot be read"};
  }
  size_t number = 0;
  for (std::string line; std::getline(content, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    if (Status taken = take(words); !taken.ok()) {
      return Error{taken.error().code,
                   path + ":" + std::to_string(number) + ": " + taken.error().message};
    }
  }
  return {};
}

std::string hex(const unsigned char* bytes, size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < size; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

Result<std::string> secret_from_environment(const char* name, size_t shortest,
                                            const std::string& advice) {
  const std::string file_name = std::string(name) + "_FILE";
  // NOLINTBEGIN(concurrency-mt-unsafe): read before other threads run
  const char* value = std::getenv(name);
  const char* file = std::getenv(file_name.c_str());
  // NOLINTEND(concurrency-mt-unsafe)
  std::string secret = value == nullptr ? "" : value;
  std::string where = name;
  if (secret.empty() && file != nullptr && *file != '\0') {
    std::ifstream content(file);
    where = file_name + "=" + file;
    if (!std::getline(content, secret)) {
      return Error{ErrorCode::kInvalid, where + ": the file with the secret cannot be read"};
    }
    trim_end(secret);
  }
  if (!secret.empty() && secret.size() < shortest) {
    return Error{ErrorCode::kInvalid, where + ": is shorter than " + std::to_string(shortest) +
                                          " characters; " + advice};
  }
  return secret;
}

Result<bool> WatchedFile::mark() {
  struct stat found{};
  if (::stat(path_.c_str(), &found) == 0) {
    version_ = {static_cast<int64_t>(found.st_ino), found.st_size, found.st_mtim.tv_sec,
                found.st_mtim.tv_nsec};
    seen_ = true;
    return true;
  }
  if (errno == ENOENT) return false;
  return Error{ErrorCode::kUnavailable,
               "'" + path_ + "' cannot be read: " + std::generic_category().message(errno)};
}

bool WatchedFile::changed() {
  const uint64_t now = steady_now();
  if (looked_ns_ != 0 && now - looked_ns_ < kLookEveryNs) return false;
  looked_ns_ = now;
  struct stat found{};
  if (::stat(path_.c_str(), &found) != 0) return seen_;
  const Version version = {static_cast<int64_t>(found.st_ino), found.st_size, found.st_mtim.tv_sec,
                           found.st_mtim.tv_nsec};
  return version != version_;
}

}  // namespace nuages::server
