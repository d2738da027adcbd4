#include "export/tmpfs_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/clock.h"
#include "trace/id_generator.h"
#include "trace/queue.h"
#include "trace/record.h"

namespace nuages::exporter {
namespace {

static_assert(sizeof(FileHeader) <= kFileHeaderBytes);

class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return value_; }
  int release() noexcept { return std::exchange(value_, -1); }

 private:
  int value_;
};

Error failed(const std::string& what, int error) {
  char buffer[128];
  const char* reason = strerror_r(error, buffer, sizeof buffer);
  return {ErrorCode::kUnavailable, what + ": " + reason};
}

bool on_tmpfs(int file) {
  struct statfs info = {};
  return fstatfs(file, &info) == 0 && info.f_type == TMPFS_MAGIC;
}

bool has_room(int directory, uint64_t bytes) {
  struct statfs info = {};
  if (fstatfs(directory, &info) != 0) return false;
  if (info.f_blocks == 0) return true;  // without a limit
  const auto unit = static_cast<uint64_t>(info.f_bsize);
  return info.f_bavail * unit >= bytes + info.f_blocks * unit / 2;
}

// Above this limit the kernel would send SIGXFSZ.
bool allowed(uint64_t bytes) {
  rlimit limit{};
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
         (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes);
}

std::string hex(uint64_t value) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

}  // namespace

uint64_t hash_bytes(std::string_view bytes, uint64_t seed) noexcept {
  uint64_t hash = seed ^ 0xcbf2'9ce4'8422'2325ULL;
  for (const char each : bytes) {
    hash = (hash ^ static_cast<unsigned char>(each)) * 0x100'0000'01b3ULL;
  }
  return hash ^ hash >> 29;
}

uint64_t file_layout() noexcept {
  const uint64_t parts[] = {sizeof(FileHeader),          trace::RecordQueue::header_bytes(),
                            sizeof(trace::RecordHeader), sizeof(trace::EntryHeader),
                            sizeof(trace::EventPart),    sizeof(trace::LinkPart),
                            trace::kRecordFormat};
  return hash_bytes({reinterpret_cast<const char*>(parts), sizeof parts}, kFileVersion);
}

uint64_t header_sum(const FileHeader& header) noexcept {
  FileHeader copy{};
  copy.version = header.version;
  copy.kind = header.kind;
  copy.owner = header.owner;
  copy.stale_after = header.stale_after;
  copy.layout = header.layout;
  copy.payload_bytes = header.payload_bytes;
  copy.created = header.created;
  copy.mask = header.mask;
  return hash_bytes({reinterpret_cast<const char*>(&copy), offsetof(FileHeader, sum)}, 1);
}

std::vector<std::string> tmpfs_directories() {
  std::vector<std::string> directories{"/dev/shm"};
  // NOLINTNEXTLINE(concurrency-mt-unsafe): called under the GIL, as Python's own setenv()
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') directories.emplace_back(runtime);
  return directories;
}

Result<int> open_queue_directory(const std::string& base, bool create) {
  const std::string path = base + "/nuages-" + std::to_string(geteuid());
  const Descriptor parent(open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() < 0) return failed(base, errno);
  if (!on_tmpfs(parent.get())) return Error{ErrorCode::kInvalid, base + " is not on tmpfs"};
  const char* const name = path.c_str() + base.size() + 1;
  if (create && mkdirat(parent.get(), name, 0700) != 0 && errno != EEXIST) {
    return failed(path, errno);
  }
  Descriptor directory(openat(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory.get() < 0) return failed(path, errno);
  struct stat info = {};
  if (fstat(directory.get(), &info) != 0) return failed(path, errno);
  if (info.st_uid != geteuid()) {
    return Error{ErrorCode::kDenied, path + " belongs to another user"};
  }
  if ((info.st_mode & 07777) != 0700 && fchmod(directory.get(), 0700) != 0) {
    return failed(path, errno);
  }
  if (!on_tmpfs(directory.get())) return Error{ErrorCode::kInvalid, path + " is not on tmpfs"};
  return directory.release();
}

Result<TmpfsFile> TmpfsFile::create(const std::vector<std::string>& directories,
                                    const FileOptions& options, size_t payload_bytes) {
  const size_t bytes = kFileHeaderBytes + payload_bytes;
  if (bytes > kMostFileBytes) {
    return Error{ErrorCode::kExhausted,
                 "queues above " + std::to_string(kMostFileBytes) + " bytes are not kept in files"};
  }
  if (!allowed(bytes)) {
    return Error{ErrorCode::kExhausted,
                 "RLIMIT_FSIZE is below " + std::to_string(bytes) + " bytes"};
  }
  Error error{ErrorCode::kUnavailable, {}};
  for (const std::string& base : directories) {
    auto made = create_in(base, options, bytes);
    if (made.ok()) return made;
    if (!error.message.empty()) error.message += "; ";
    error.message += made.error().message;
  }
  return error;
}

Result<TmpfsFile> TmpfsFile::create_in(const std::string& base, const FileOptions& options,
                                       size_t bytes) {
  auto opened = open_queue_directory(base, true);
  if (!opened.ok()) return opened.error();
  const Descriptor directory(*opened);
  if (!has_room(directory.get(), bytes)) {
    return Error{ErrorCode::kExhausted, base + " would be more than half full"};
  }
  TmpfsFile made;
  made.directory_ = base + "/nuages-" + std::to_string(geteuid());
  made.name_ = std::string(options.kind == FileKind::kQueue ? "queue-" : "outage-") +
               std::to_string(getpid()) + '-' + hex(trace::new_span_id());
  made.bytes_ = bytes;
  const Descriptor file(openat(directory.get(), made.name_.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed(made.path(), errno);
  struct stat info = {};
  const auto size = static_cast<off_t>(bytes);
  if (fchmod(file.get(), 0600) != 0 || ftruncate(file.get(), size) != 0 ||
      fallocate(file.get(), 0, 0, size) != 0 || fstat(file.get(), &info) != 0) {
    const Error error = failed(made.path(), errno);
    unlinkat(directory.get(), made.name_.c_str(), 0);
    return error;
  }
  made.inode_ = info.st_ino;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory != MAP_FAILED) made.memory_ = static_cast<char*>(memory);
  if (memory == MAP_FAILED || madvise(memory, bytes, MADV_DONTFORK) != 0) {
    const Error error = failed(made.path(), errno);
    made.remove();
    return error;
  }
  auto* header = new (memory) FileHeader{};
  header->version = kFileVersion;
  header->kind = options.kind;
  header->owner = this_process();
  header->stale_after = options.stale_after;
  header->heartbeat = steady_now();
  header->layout = file_layout();
  header->payload_bytes = bytes - kFileHeaderBytes;
  header->created = wall_now();
  header->mask = options.mask;
  header->sum = header_sum(*header);
  header->audience = options.audience;
  return made;
}

TmpfsFile::TmpfsFile(TmpfsFile&& other) noexcept { *this = std::move(other); }

TmpfsFile& TmpfsFile::operator=(TmpfsFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  directory_ = std::exchange(other.directory_, {});
  name_ = std::exchange(other.name_, {});
  inode_ = std::exchange(other.inode_, 0);
  memory_ = std::exchange(other.memory_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void TmpfsFile::announce() noexcept {
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(header().magic, kFileMagic, sizeof kFileMagic);
}

bool TmpfsFile::move_to(void* target) noexcept {
  if (mremap(memory_, bytes_, bytes_, MREMAP_MAYMOVE | MREMAP_FIXED, target) == MAP_FAILED) {
    return false;
  }
  madvise(target, bytes_, MADV_DONTFORK);
  memory_ = nullptr;
  return true;
}

void TmpfsFile::remove() noexcept {
  if (name_.empty()) return;
  const int directory = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info = {};
  if (directory >= 0 && fstatat(directory, name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
      info.st_ino == inode_) {
    unlinkat(directory, name_.c_str(), 0);
  }
  if (directory >= 0) close(directory);
  name_.clear();
}

void TmpfsFile::unmap() noexcept {
  if (memory_ != nullptr) munmap(memory_, bytes_);
  memory_ = nullptr;
}

void TmpfsFile::forget() noexcept {
  name_.clear();
  memory_ = nullptr;
}

}  // namespace nuages::exporter
