// Secrets of the server: small files in the data folder that only its user may read, and values of
// the environment.
//
// Writing replaces a file as a whole (fsync, rename). WatchedFile tells a running server that a
// command has replaced one. Not thread-safe: the owner locks.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <sstream>
#include <string>

#include "base/result.h"

namespace nuages::server {

// Mode 0600. Errors name the file.
Status write_secret_file(const std::string& path, const std::string& text);

// Calls `take` with each line that is neither empty nor a comment (#), until it gives an Error,
// which then says where the line stands. `what` names the file to people.
Status read_secret_file(const std::string& path, const char* what,
                        const std::function<Status(std::istringstream&)>& take);

// Lower-case hexadecimal digits.
std::string hex(const unsigned char* bytes, size_t size);

// The value of the variable `name`, else the first line of the file that `name`_FILE names; empty
// when neither is set. `advice` says how to get a longer one. Call before other threads run.
Result<std::string> secret_from_environment(const char* name, size_t shortest,
                                            const std::string& advice);

class WatchedFile {
 public:
  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  // Whether it has ever been there.
  bool seen() const { return seen_; }
  // Remembers the file as it is now; false when there is none.
  Result<bool> mark();
  // Whether it is another than at mark(), or gone. Looks at most once a second.
  bool changed();

 private:
  using Version = std::array<int64_t, 4>;  // inode, size, time of change

  const std::string path_;
  Version version_{};
  bool seen_ = false;
  uint64_t looked_ns_ = 0;
};

}  // namespace nuages::server
