#include "export/owner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

#include "trace/id_generator.h"

namespace nuages::exporter {
namespace {

// Fields of /proc/PID/stat, counted from the one behind the name.
constexpr int kState = 0;
constexpr int kThreads = 17;
constexpr int kStart = 19;

struct Stat {
  char state = 0;
  uint64_t threads = 0;
  uint64_t start = 0;
};

// False with errno ENOENT or ESRCH: there is no such process.
bool read_stat(uint64_t pid, Stat& stat) noexcept {
  char path[48] = "/proc/";
  const auto digits = std::to_chars(path + 6, path + 32, pid);
  std::string_view("/stat").copy(digits.ptr, 5);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char buffer[1024];
  const ssize_t size = read(file, buffer, sizeof buffer);
  const int error = size == 0 ? ESRCH : errno;
  close(file);
  errno = error;
  if (size <= 0) return false;
  std::string_view text(buffer, static_cast<size_t>(size));
  const size_t name_end = text.rfind(')');  // the name may hold anything, spaces and ')' too
  if (name_end == std::string_view::npos || name_end + 2 >= text.size()) {
    errno = EINVAL;
    return false;
  }
  text.remove_prefix(name_end + 2);
  for (int field = 0; !text.empty() && field <= kStart; ++field) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (field == kState) stat.state = word.front();
    if (field == kThreads) std::from_chars(word.data(), word.data() + word.size(), stat.threads);
    if (field == kStart) std::from_chars(word.data(), word.data() + word.size(), stat.start);
    text.remove_prefix(std::min(word.size() + 1, text.size()));
  }
  errno = EINVAL;
  return stat.start != 0;
}

uint64_t namespace_inode(const char* path) noexcept {
  struct stat info = {};
  return stat(path, &info) == 0 ? info.st_ino : 0;
}

uint64_t image_id() noexcept {
  static std::atomic<uint64_t> image{0};
  uint64_t known = image.load(std::memory_order_relaxed);
  if (known != 0) return known;
  const uint64_t fresh = trace::new_span_id();
  return image.compare_exchange_strong(known, fresh) ? fresh : known;
}

}  // namespace

Owner this_process() noexcept {
  Owner owner;
  owner.pid = static_cast<uint64_t>(getpid());
  owner.pid_namespace = namespace_inode("/proc/self/ns/pid");
  owner.time_namespace = namespace_inode("/proc/self/ns/time");
  owner.image = image_id();
  Stat stat;
  if (read_stat(owner.pid, stat)) owner.start = stat.start;
  return owner;
}

Life life_of(const Owner& owner, const Owner& self) noexcept {
  if (owner.start == 0 || self.start == 0 || owner.pid_namespace != self.pid_namespace ||
      owner.pid == 0 || owner.pid > INT32_MAX) {
    return Life::kUnknown;
  }
  if (owner.pid == self.pid) {
    return owner.start == self.start && owner.image == self.image ? Life::kAlive : Life::kDead;
  }
  Stat stat;
  if (!read_stat(owner.pid, stat)) {
    if (errno != ENOENT && errno != ESRCH) return Life::kUnknown;
    // With hidepid= a process that we may not see looks absent.
    return kill(static_cast<pid_t>(owner.pid), 0) != 0 && errno == ESRCH ? Life::kDead
                                                                         : Life::kUnknown;
  }
  if (stat.start != owner.start) return Life::kDead;
  // A zombie waits for its parent only, unless it is the first thread of others that go on.
  const bool gone = stat.state == 'Z' || stat.state == 'X' || stat.state == 'x';
  return gone && stat.threads <= 1 ? Life::kDead : Life::kAlive;
}

}  // namespace nuages::exporter
