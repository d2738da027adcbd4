#include "store/repeat_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "repeats-";

struct Entry {
  uint64_t receive_ns;
  uint64_t high;
  uint64_t low;
  uint64_t check;

  uint64_t expected() const {
    return (receive_ns ^ high * 0x9E3779B97F4A7C15ULL) + (low ^ 0x5bd1e995);
  }
};
static_assert(sizeof(Entry) == 32);

std::string file_of(uint64_t epoch) { return kPrefix + std::to_string(epoch); }

// The files of the folder and their epochs.
std::vector<std::pair<fs::path, uint64_t>> files_in(const std::string& folder) {
  std::vector<std::pair<fs::path, uint64_t>> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    out.emplace_back(it->path(), std::strtoull(name.c_str() + std::strlen(kPrefix), nullptr, 10));
  }
  return out;
}

}  // namespace

void RepeatLog::delete_old(uint64_t now_ns) const {
  for (const auto& [path, epoch] : files_in(folder_)) {
    std::error_code ignored;
    if (epoch + 1 < now_ns / kWindowNs) fs::remove(path, ignored);
  }
}

void RepeatLog::load(uint64_t now_ns, const std::function<void(const SeenRequest&)>& visit) {
  const std::lock_guard lock(mutex_);
  delete_old(now_ns);
  for (const auto& [path, epoch] : files_in(folder_)) {
    std::ifstream file(path, std::ios::binary);
    Entry entry{};
    while (file.read(reinterpret_cast<char*>(&entry), sizeof entry)) {
      if (entry.check != entry.expected() || entry.receive_ns + kWindowNs < now_ns) continue;
      visit({std::min(entry.receive_ns, now_ns), {entry.high, entry.low}});
    }
  }
}

Status RepeatLog::append(const std::vector<SeenRequest>& seen, uint64_t now_ns) {
  if (seen.empty()) return {};
  const std::lock_guard lock(mutex_);
  const uint64_t epoch = now_ns / kWindowNs;
  if (epoch != last_epoch_) delete_old(now_ns);
  last_epoch_ = epoch;
  std::vector<Entry> entries;
  entries.reserve(seen.size());
  for (const auto& [receive_ns, hash] : seen) {
    Entry entry{receive_ns, hash.high, hash.low, 0};
    entry.check = entry.expected();
    entries.push_back(entry);
  }
  const std::string path = folder_ + "/" + file_of(epoch);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  int code = fd < 0 ? errno : 0;
  if (code == 0) {
    // Whole entries only, also behind a write that was cut off.
    const off_t end = ::lseek(fd, 0, SEEK_END) / static_cast<off_t>(sizeof(Entry));
    const size_t bytes = entries.size() * sizeof(Entry);
    const ssize_t size =
        ::pwrite(fd, entries.data(), bytes, end * static_cast<off_t>(sizeof(Entry)));
    if (size < 0) code = errno;
    if (size >= 0 && static_cast<size_t>(size) != bytes) code = ENOSPC;
  }
  if (fd >= 0) ::close(fd);
  if (code == 0) return {};
  return Error{ErrorCode::kUnavailable,
               "cannot write " + path + ": " + std::generic_category().message(code) +
                   "; requests repeated after a restart may be stored twice"};
}

}  // namespace nuages::store
