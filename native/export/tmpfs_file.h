// TmpfsFile: memory in a file that outlives the process, but never a disk and never the machine.
//
// The file lies in DIRECTORY/nuages-UID, which must be on tmpfs, be a directory of mode 0700 and
// belong to the user; the file has mode 0600. Its blocks are allocated before it is mapped, so a
// full filesystem is an error here and not a SIGBUS later. It is refused when it would leave the
// filesystem less than half free: /dev/shm belongs to the application. The descriptor is closed at
// once (daemons close what they find), and fork() does not hand the mapping on.
//
// The first page is FileHeader: who owns the memory, whom its content may be sent to, and how it is
// masked. The magic is written last; a file without it is nobody's.
// One thread at a time. Cost of create(): about 1 ms for 4 MiB.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "export/owner.h"

namespace nuages::exporter {

enum class FileKind : uint32_t { kQueue = 1, kOutage = 2 };

// A reader of another version understands the part down to `heartbeat` and leaves the rest alone.
struct FileHeader {
  char magic[8];
  uint32_t version;
  FileKind kind;
  Owner owner;
  uint64_t stale_after;             // nanoseconds without heartbeat after which it is dead
  std::atomic<uint64_t> heartbeat;  // steady_now()

  uint64_t layout;  // changes with every structure inside the payload
  uint64_t payload_bytes;
  uint64_t created;  // wall_now()
  uint32_t mask;     // bits of MaskProfile
  uint32_t reserved;
  uint64_t sum;  // of everything above but magic and heartbeat

  std::atomic<uint64_t> audience;  // user, service, endpoint and headers: who may send it where
  std::atomic<uint64_t> claimed;   // by an adopter that could only guess: this position and below
  std::atomic<uint32_t> attempts;  // adopters that did not come to an end
};

inline constexpr size_t kFileHeaderBytes = 4096;
inline constexpr char kFileMagic[8] = {'n', 'u', 'a', 'g', 'e', 's', 0x1a, 'q'};
inline constexpr uint32_t kFileVersion = 1;
inline constexpr uint64_t kMostFileBytes = 256U << 20;  // larger queues stay in anonymous memory

uint64_t file_layout() noexcept;
uint64_t header_sum(const FileHeader& header) noexcept;
uint64_t hash_bytes(std::string_view bytes, uint64_t seed) noexcept;

struct FileOptions {
  FileKind kind = FileKind::kQueue;
  uint32_t mask = 0;
  uint64_t audience = 0;
  uint64_t stale_after = 0;
};

// BASE/nuages-UID, opened after the checks above.
Result<int> open_queue_directory(const std::string& base, bool create);

// Where queue files may lie: /dev/shm and $XDG_RUNTIME_DIR. Reads the environment.
std::vector<std::string> tmpfs_directories();

class TmpfsFile {
 public:
  // In the first directory that will have it; the error names each and its reason. The payload is
  // zero; call announce() when it is ready for others.
  static Result<TmpfsFile> create(const std::vector<std::string>& directories,
                                  const FileOptions& options, size_t payload_bytes);

  TmpfsFile() noexcept = default;
  TmpfsFile(const TmpfsFile&) = delete;
  TmpfsFile& operator=(const TmpfsFile&) = delete;
  TmpfsFile(TmpfsFile&& other) noexcept;
  TmpfsFile& operator=(TmpfsFile&& other) noexcept;
  ~TmpfsFile() { unmap(); }  // the file stays

  bool exists() const noexcept { return !name_.empty(); }
  bool mapped() const noexcept { return memory_ != nullptr; }
  char* payload() const noexcept { return memory_ + kFileHeaderBytes; }
  FileHeader& header() const noexcept { return *reinterpret_cast<FileHeader*>(memory_); }
  std::string path() const { return directory_ + '/' + name_; }
  void announce() noexcept;

  // Moves the mapping over that of the same size at `target`, whose owner then owns this one.
  bool move_to(void* target) noexcept;
  void remove() noexcept;  // the file; the mapping stays
  void unmap() noexcept;
  // In a forked child: the file is the parent's and its mapping is not here. No system call.
  void forget() noexcept;

 private:
  static Result<TmpfsFile> create_in(const std::string& base, const FileOptions& options,
                                     size_t bytes);

  std::string directory_;
  std::string name_;
  uint64_t inode_ = 0;
  char* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace nuages::exporter
