// OrphanFile: one file of a queue directory, judged without reading its payload. Inside export
// only.
//
// What is not a regular file of this user with mode 0600, one name and a sane size is never
// touched. One thread. Cost: an open, an fstat, one page read, and for a file of ours a look into
// /proc.
#pragma once

#include <cstdint>
#include <string>

#include "export/owner.h"
#include "export/tmpfs_file.h"

namespace nuages::exporter {

class OrphanFile {
 public:
  enum class State : uint8_t {
    kIgnored,  // not ours to judge
    kAlive,
    kSilent,      // its owner cannot be asked; alive until stale_at()
    kUnreadable,  // no header, or a damaged one
    kForeign,     // of another version, its owner is dead
    kDead,
  };

  OrphanFile(int directory, const std::string& name);
  ~OrphanFile();
  OrphanFile(const OrphanFile&) = delete;
  OrphanFile& operator=(const OrphanFile&) = delete;

  State state() const noexcept { return state_; }
  const FileHeader& header() const noexcept { return header_; }
  bool matches(uint64_t audience) const noexcept;
  uint64_t bytes() const noexcept { return bytes_; }  // allocated
  uint64_t age() const noexcept { return age_; }      // nanoseconds since it was made
  uint64_t stale_at() const noexcept;                 // steady_now()
  bool empty() const;                                 // a dead file without any span

  // Exclusive, without waiting. False also when the file is gone or no longer what it was.
  bool lock();
  int release() noexcept;  // the descriptor, with the lock

 private:
  State judge();
  bool read_at(size_t offset, void* to, size_t size) const;

  int file_ = -1;
  State state_ = State::kIgnored;
  FileHeader header_{};
  uint64_t file_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t age_ = 0;
};

}  // namespace nuages::exporter
