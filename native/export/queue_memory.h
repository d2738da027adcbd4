// QueueMemory: where a pipeline's queue lives: anonymous memory first, a file on tmpfs as soon as
// the process has a span to lose.
//
// The file (export/tmpfs_file.h) takes the place of the anonymous memory at the same address, so
// that nobody who holds a RecordQueue notices; it must happen before the first push(). A process
// that never records (a pre-forking master, say) has no file. fork() hands the file's mapping to no
// child: a child starts with renew() and gets its own file with its own first span.
// One thread at a time. Cost: back_with_file() some 1 ms, once per process; renew() a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "export/tmpfs_file.h"
#include "trace/queue.h"

namespace nuages::exporter {

class QueueMemory {
 public:
  explicit QueueMemory(const trace::QueueOptions& options);  // throws std::bad_alloc
  ~QueueMemory();                                            // the file stays
  QueueMemory(const QueueMemory&) = delete;
  QueueMemory& operator=(const QueueMemory&) = delete;

  trace::RecordQueue queue() const noexcept;

  // The new memory knows the resource; scopes are added again by the caller.
  Status back_with_file(const std::vector<std::string>& directories, const FileOptions& options,
                        std::string_view resource);
  // In a forked child: empty anonymous memory, somewhere. When there is none, a queue without room.
  void renew() noexcept;

  bool has_file() const noexcept { return file_.exists(); }
  std::string path() const { return file_.path(); }
  void remove_file() noexcept { file_.remove(); }

  void set_audience(uint64_t audience) noexcept { header().audience = audience; }
  uint64_t audience() const noexcept { return header().audience; }
  void beat() noexcept;  // cheap: the owner lives
  // Positions below belong to a process that took this one for dead. Mostly 0.
  uint64_t claimed() const noexcept { return header().claimed.load(std::memory_order_acquire); }

 private:
  FileHeader& header() const noexcept { return *reinterpret_cast<FileHeader*>(base_); }
  bool map() noexcept;

  const trace::QueueOptions options_;
  const size_t bytes_;
  char* base_ = nullptr;
  bool from_file_ = false;  // what is mapped at base_
  TmpfsFile file_;
};

}  // namespace nuages::exporter
