// RecordQueue: a lock-free, bounded ring of records in memory that the caller provides.
//
// Many producers, one consumer. Bounded in records and in bytes; push() never waits: a full queue
// drops the new record and counts it. The layout has no pointers (QueueHeader, descriptions, ring),
// so the memory may be shared with another process, which then attach()es. The header also holds
// what records leave out: the resource and the scopes they refer to by id.
//
// A producer reserves by moving `head`, copies, and commits by storing the slot's first word; the
// consumer stops at the first uncommitted slot, reads records in place, and zeroes what it gives
// back, so that a slot nobody has written reads as uncommitted. Records are contiguous: what does
// not fit before the end of the ring starts at its beginning, behind a padding slot.
//
// The consumer gives records back in two steps: take() when it starts to send them, release() when
// they have arrived. What is taken counts against the bytes but no longer against the records of
// the queue; a process that is killed in between leaves it in the ring, where a neighbour that has
// the memory finds it (trace/queue_recovery.h).
//
// The consumer sleeps on a futex and says what it waits for: anything, or a batch. Producers make a
// system call only when they fulfil that, so an idle process is woken never and a busy one once per
// batch. A producer that dies between reserve and commit stalls the queue; threads of one process
// do not die alone.
// Producers that one lock of the caller keeps apart (QueueOptions::serialised: the GIL) store where
// others need locked instructions, in the same order: what a killed process leaves reads the same.
// Cost: a copy and a vectorised sum of the record and one exchange per push, and two uncontended
// atomic updates more unless the producers are serialised. Any thread may push.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nuages::trace {

struct QueueOptions {
  uint32_t max_records = 2048;
  size_t ring_bytes = 4U << 20;          // rounded up to a power of two, at least 4 KiB
  size_t description_bytes = 64U << 10;  // resource and scopes
  uint32_t batch_records = 512;          // wakes a consumer that waits for a batch
  bool serialised = false;  // all push() come under one lock of the caller, and from one process
};

class RecordQueue {
 public:
  static constexpr uint32_t kMaxScopes = 1024;

  enum class Push : uint8_t { kPushed, kFull };
  enum class WaitFor : uint32_t { kNothing, kAny, kBatch, kWake };  // kWake: only wake()

  RecordQueue() noexcept = default;
  static size_t required_bytes(const QueueOptions& options) noexcept;
  static size_t header_bytes() noexcept;  // identifies the layout
  // `memory` is page- or at least 64-byte-aligned, zeroed, and outlives the queue.
  static RecordQueue create(void* memory, const QueueOptions& options) noexcept;
  static RecordQueue attach(void* memory) noexcept;

  // --- producers ---
  Push push(std::string_view record) noexcept;

  // --- the consumer ---
  // Up to `max` committed records behind those taken, oldest first, at most `max_bytes` in all (one
  // at least). The views live until release().
  void peek(std::vector<std::string_view>& out, size_t max, size_t max_bytes) const noexcept;
  void take(size_t records) noexcept;
  void release() noexcept;  // everything taken
  void pop(size_t records) noexcept {
    take(records);
    release();
  }
  // Sleeps until a producer fulfils `wait`, wake() is called or the time is over. arm() says what
  // to wait for; between arm() and sleep() the caller looks once more at everything it waits for.
  void arm(WaitFor wait) noexcept;
  void sleep(uint64_t timeout_ns) noexcept;  // UINT64_MAX: for ever
  void disarm() noexcept;

  // --- anyone ---
  void wake() noexcept;
  uint32_t pending() const noexcept;  // records not taken yet, being written included
  bool readable() const noexcept;     // the oldest record not taken is committed
  bool batch_ready() const noexcept;  // batch_records, or half of the bytes, are waiting
  uint64_t head() const noexcept;     // position behind the newest reservation
  uint64_t taken() const noexcept;    // position behind what was taken
  uint64_t tail() const noexcept;     // position of the oldest record not released
  uint64_t pushed() const noexcept;   // records ever
  uint64_t dropped() const noexcept;
  size_t max_record_bytes() const noexcept;

  // --- descriptions (one writer at a time) ---
  bool set_resource(std::string_view description) noexcept;  // false: no room
  std::string_view resource() const noexcept;
  uint32_t scope_count() const noexcept;
  // Scopes are added in the order of their ids. No room: the scope reads as empty.
  void add_scope(std::string_view description) noexcept;
  std::string_view scope(uint32_t id) const noexcept;

 private:
  friend class QueueImage;  // trace/queue_recovery.h
  struct Header;
  explicit RecordQueue(Header* header) noexcept : header_(header) {}
  char* slot(uint64_t position) const noexcept;
  bool store_description(std::string_view description, uint64_t& place) noexcept;
  std::string_view description(uint64_t place) const noexcept;
  bool reserve(uint64_t need, uint64_t& head, uint64_t& padding) noexcept;
  bool reserve_serialised(uint64_t need, uint64_t& head, uint64_t& padding) noexcept;
  void notify() noexcept;

  Header* header_ = nullptr;
};

}  // namespace nuages::trace
