#include "export/orphan_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "export/orphan.h"
#include "export/outage_buffer.h"
#include "trace/queue_recovery.h"

namespace nuages::exporter {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kUnreadableAge = 60 * kSecond;  // whoever makes a file needs milliseconds
constexpr uint64_t kLeastStale = 10 * kSecond;
constexpr uint64_t kMostStale = 3600 * kSecond;
constexpr size_t kMostEntries = 4096;  // of a directory, in one scan

uint64_t age_since(uint64_t made) {
  const uint64_t now = wall_now();
  return now > made ? now - made : 0;
}

uint64_t changed_at(const struct stat& info) {
  return static_cast<uint64_t>(info.st_ctim.tv_sec) * kSecond +
         static_cast<uint64_t>(info.st_ctim.tv_nsec);
}

}  // namespace

OrphanFile::OrphanFile(int directory, const std::string& name)
    : file_(openat(directory, name.c_str(),
                   O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {
  if (file_ >= 0) state_ = judge();
}

OrphanFile::~OrphanFile() {
  if (file_ >= 0) close(file_);
}

int OrphanFile::release() noexcept { return std::exchange(file_, -1); }

bool OrphanFile::read_at(size_t offset, void* to, size_t size) const {
  return pread(file_, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

OrphanFile::State OrphanFile::judge() {
  struct stat info = {};
  rlimit limit{};
  if (fstat(file_, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid() ||
      (info.st_mode & 07777) != 0600 || info.st_nlink != 1) {
    return State::kIgnored;
  }
  // Marking progress in it would raise SIGXFSZ.
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
      (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < static_cast<uint64_t>(info.st_size))) {
    return State::kIgnored;
  }
  file_bytes_ = static_cast<uint64_t>(info.st_size);
  bytes_ = static_cast<uint64_t>(info.st_blocks) * 512;
  age_ = age_since(changed_at(info));
  char bytes[sizeof(FileHeader)];
  if (!read_at(0, bytes, sizeof bytes)) return State::kUnreadable;
  std::memcpy(static_cast<void*>(&header_), bytes, sizeof bytes);
  if (std::memcmp(header_.magic, kFileMagic, sizeof kFileMagic) != 0) return State::kUnreadable;
  const bool same_version = header_.version == kFileVersion;
  if (same_version && (header_.sum != header_sum(header_) || file_bytes_ > kMostFileBytes ||
                       header_.payload_bytes != file_bytes_ - kFileHeaderBytes)) {
    return State::kUnreadable;
  }
  if (same_version) age_ = age_since(header_.created);
  switch (life_of(header_.owner, this_process())) {
    case Life::kAlive:
      return State::kAlive;
    case Life::kUnknown:
      if (steady_now() < stale_at()) return State::kSilent;
      break;
    case Life::kDead:
      break;
  }
  return same_version && header_.layout == file_layout() ? State::kDead : State::kForeign;
}

uint64_t OrphanFile::stale_at() const noexcept {
  const uint64_t beat = header_.heartbeat.load(std::memory_order_relaxed);
  // The clock of another time namespace says nothing.
  if (header_.owner.time_namespace != this_process().time_namespace) return UINT64_MAX;
  if (beat > steady_now()) return UINT64_MAX;
  return beat + std::clamp(header_.stale_after, kLeastStale, kMostStale);
}

bool OrphanFile::matches(uint64_t audience) const noexcept {
  return header_.audience.load(std::memory_order_relaxed) == audience;
}

bool OrphanFile::empty() const {
  const bool queue = header_.kind == FileKind::kQueue;
  const size_t head_at = queue ? trace::QueueImage::head_offset() : OutageBuffer::head_offset();
  const size_t tail_at = queue ? trace::QueueImage::tail_offset() : OutageBuffer::tail_offset();
  uint64_t head = 0;
  uint64_t tail = 0;
  return read_at(kFileHeaderBytes + head_at, &head, sizeof head) &&
         read_at(kFileHeaderBytes + tail_at, &tail, sizeof tail) && head == tail;
}

bool OrphanFile::lock() {
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) return false;
  const State before = state_;
  state_ = judge();  // st_nlink is 0 when the last adopter has removed it
  return state_ == before;
}

namespace {

struct Seen {
  OrphanPlace place;
  uint64_t bytes = 0;
  uint64_t age = 0;
  bool mine = false;
};

class Scan {
 public:
  Scan(uint64_t audience, const OrphanLimits& limits) : audience_(audience), limits_(limits) {}

  void look(const std::string& base) {
    auto opened = open_queue_directory(base, false);
    if (!opened.ok()) return;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(*opened), &closedir);
    if (!directory) {
      close(*opened);
      return;
    }
    size_t entries = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own
    while (const dirent* entry = readdir(directory.get())) {
      if (entry->d_name[0] == '.') continue;
      if (++entries > kMostEntries) break;
      look_at(base, *opened, entry->d_name);
    }
  }

  OrphanScan finish() {
    std::sort(seen_.begin(), seen_.end(),
              [](const Seen& a, const Seen& b) { return a.age < b.age; });
    uint64_t bytes = 0;
    size_t files = 0;
    for (const Seen& each : seen_) {  // the newest stay
      bytes += each.bytes;
      ++files;
      if (each.age > limits_.age || files > limits_.files || bytes > limits_.bytes) {
        if (remove(each.place)) ++result_.removed_unsent;
      } else if (each.mine) {
        result_.mine.push_back(each.place);
      }
    }
    std::reverse(result_.mine.begin(), result_.mine.end());
    return std::move(result_);
  }

 private:
  static bool remove(const OrphanPlace& place) {
    auto directory = open_queue_directory(place.base, false);
    if (!directory.ok()) return false;
    OrphanFile file(*directory, place.name);
    const bool removed = file.state() != OrphanFile::State::kIgnored && file.lock() &&
                         unlinkat(*directory, place.name.c_str(), 0) == 0;
    close(*directory);
    return removed;
  }

  void look_at(const std::string& base, int directory, const std::string& name) {
    using State = OrphanFile::State;
    OrphanFile file(directory, name);
    switch (file.state()) {
      case State::kIgnored:
      case State::kAlive:
        return;
      case State::kSilent:
        if (file.age() > limits_.age) break;
        if (!file.empty() && file.matches(audience_) && file.stale_at() != UINT64_MAX) {
          const uint64_t known = result_.recheck == 0 ? UINT64_MAX : result_.recheck;
          result_.recheck = std::min(known, file.stale_at());
        }
        return;
      case State::kUnreadable:
        if (file.age() > kUnreadableAge && file.lock()) unlinkat(directory, name.c_str(), 0);
        return;
      case State::kForeign:
        break;
      case State::kDead:
        if (file.empty()) {
          if (file.lock()) unlinkat(directory, name.c_str(), 0);
          return;
        }
        break;
    }
    const bool mine = file.state() == State::kDead && file.matches(audience_);
    seen_.push_back({{base, name}, file.bytes(), file.age(), mine});
  }

  const uint64_t audience_;
  const OrphanLimits limits_;
  std::vector<Seen> seen_;
  OrphanScan result_;
};

}  // namespace

OrphanScan scan_orphans(const std::vector<std::string>& bases, uint64_t audience,
                        const OrphanLimits& limits) {
  Scan scan(audience, limits);
  for (const std::string& base : bases) scan.look(base);
  return scan.finish();
}

}  // namespace nuages::exporter
