#include "export/queue_memory.h"

#include <sys/mman.h>

#include <new>

#include "base/clock.h"

namespace nuages::exporter {
namespace {

// For a child without memory: its queue is always full.
alignas(4096) char g_no_room[5 * kFileHeaderBytes];

}  // namespace

QueueMemory::QueueMemory(const trace::QueueOptions& options)
    : options_(options), bytes_(kFileHeaderBytes + trace::RecordQueue::required_bytes(options)) {
  if (!map()) throw std::bad_alloc();
}

QueueMemory::~QueueMemory() {
  if (base_ != g_no_room) munmap(base_, bytes_);
}

bool QueueMemory::map() noexcept {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  base_ = static_cast<char*>(memory);
  new (base_) FileHeader{};
  trace::RecordQueue::create(base_ + kFileHeaderBytes, options_);
  return true;
}

trace::RecordQueue QueueMemory::queue() const noexcept {
  return trace::RecordQueue::attach(base_ + kFileHeaderBytes);
}

Status QueueMemory::back_with_file(const std::vector<std::string>& directories,
                                   const FileOptions& options, std::string_view resource) {
  auto made = TmpfsFile::create(directories, options, bytes_ - kFileHeaderBytes);
  if (!made.ok()) return made.error();
  trace::RecordQueue::create(made->payload(), options_).set_resource(resource);
  made->announce();
  if (!made->move_to(base_)) {
    made->remove();
    return Error{ErrorCode::kInternal, "mremap of " + made->path() + " failed"};
  }
  from_file_ = true;
  file_ = std::move(*made);
  return {};
}

void QueueMemory::renew() noexcept {
  if (!from_file_ && base_ != g_no_room) munmap(base_, bytes_);
  from_file_ = false;  // and that mapping is not here
  file_.forget();
  if (map()) return;
  base_ = g_no_room;
  trace::QueueOptions none;
  none.max_records = 0;
  none.ring_bytes = none.description_bytes = 0;
  trace::RecordQueue::create(base_ + kFileHeaderBytes, none);
}

void QueueMemory::beat() noexcept { header().heartbeat.store(steady_now()); }

}  // namespace nuages::exporter
