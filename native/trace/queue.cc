#include "trace/queue.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>
#include <ctime>
#include <new>

namespace nuages::trace {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSlotHeader = 8;
constexpr uint64_t kRecordSlot = 1ULL << 32;   // with the record's size in the low half
constexpr uint64_t kPaddingSlot = 2ULL << 32;  // with the padding's size
constexpr uint64_t kSizeMask = 0xFFFF'FFFFULL;

constexpr size_t align(size_t size, size_t unit) { return (size + unit - 1) & ~(unit - 1); }
constexpr size_t slot_bytes(size_t record) { return align(kSlotHeader + record, 8); }

std::atomic_ref<uint64_t> slot_word(char* slot) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(slot));
}

// Not FUTEX_PRIVATE: the memory may be shared.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, const timespec* timeout) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected, timeout, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

struct RecordQueue::Header {
  uint64_t ring_offset;
  uint64_t ring_bytes;
  uint64_t description_offset;
  uint64_t description_bytes;
  uint32_t max_records;
  uint32_t batch_records;

  uint64_t description_used;
  std::atomic<uint64_t> resource;  // offset << 32 | size
  std::atomic<uint32_t> scope_count;
  uint64_t scopes[kMaxScopes];

  alignas(64) std::atomic<uint64_t> head;
  std::atomic<uint64_t> pushed;
  std::atomic<uint64_t> dropped;
  alignas(64) std::atomic<uint32_t> pending;
  std::atomic<uint32_t> waiting;  // WaitFor; also the futex
  alignas(64) std::atomic<uint64_t> tail;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);

size_t RecordQueue::required_bytes(const QueueOptions& options) noexcept {
  return align(sizeof(Header) + options.description_bytes, kPage) +
         std::bit_ceil(std::max(options.ring_bytes, kPage));
}

RecordQueue RecordQueue::create(void* memory, const QueueOptions& options) noexcept {
  auto* header = new (memory) Header{};
  header->description_offset = sizeof(Header);
  header->description_bytes = options.description_bytes;
  header->ring_offset = align(sizeof(Header) + options.description_bytes, kPage);
  header->ring_bytes = std::bit_ceil(std::max(options.ring_bytes, kPage));
  header->max_records = options.max_records;
  header->batch_records = std::max(options.batch_records, 1U);
  return RecordQueue(header);
}

RecordQueue RecordQueue::attach(void* memory) noexcept {
  return RecordQueue(static_cast<Header*>(memory));
}

char* RecordQueue::slot(uint64_t position) const noexcept {
  return reinterpret_cast<char*>(header_) + header_->ring_offset +
         (position & (header_->ring_bytes - 1));
}

size_t RecordQueue::max_record_bytes() const noexcept {
  return header_->ring_bytes / 2 - kSlotHeader;
}

RecordQueue::Push RecordQueue::push(std::string_view record) noexcept {
  Header& h = *header_;
  const auto full = [&h] {
    h.dropped.fetch_add(1, std::memory_order_relaxed);
    return Push::kFull;
  };
  if (record.size() > max_record_bytes()) return full();
  uint32_t pending = h.pending.load(std::memory_order_relaxed);
  do {
    if (pending >= h.max_records) return full();
  } while (!h.pending.compare_exchange_weak(pending, pending + 1, std::memory_order_seq_cst,
                                            std::memory_order_relaxed));

  const uint64_t need = slot_bytes(record.size());
  uint64_t head = h.head.load(std::memory_order_relaxed);
  uint64_t padding = 0;
  for (;;) {
    const uint64_t tail = h.tail.load(std::memory_order_acquire);
    const uint64_t used = head - tail;
    if (used > h.ring_bytes) {  // `head` is older than `tail`
      head = h.head.load(std::memory_order_relaxed);
      continue;
    }
    const uint64_t to_end = h.ring_bytes - (head & (h.ring_bytes - 1));
    padding = need <= to_end ? 0 : to_end;
    if (used + padding + need > h.ring_bytes) {
      h.pending.fetch_sub(1, std::memory_order_relaxed);
      return full();
    }
    if (h.head.compare_exchange_weak(head, head + padding + need, std::memory_order_acq_rel,
                                     std::memory_order_relaxed)) {
      break;
    }
  }
  if (padding != 0) slot_word(slot(head)).store(kPaddingSlot | padding, std::memory_order_release);
  char* at = slot(head + padding);
  std::memcpy(at + kSlotHeader, record.data(), record.size());
  h.pushed.fetch_add(1, std::memory_order_relaxed);
  // Commit. Sequentially consistent together with `waiting`: either the consumer sees this record
  // before it sleeps or the producer sees that it is about to.
  slot_word(at).exchange(kRecordSlot | record.size(), std::memory_order_seq_cst);
  notify();
  return Push::kPushed;
}

void RecordQueue::notify() noexcept {
  const auto waiting = static_cast<WaitFor>(header_->waiting.load(std::memory_order_seq_cst));
  if (waiting == WaitFor::kNothing) return;
  if (waiting == WaitFor::kAny || batch_ready()) wake();
}

void RecordQueue::wake() noexcept {
  if (header_->waiting.exchange(0, std::memory_order_seq_cst) != 0) futex_wake(header_->waiting);
}

void RecordQueue::arm(WaitFor wait) noexcept {
  header_->waiting.store(static_cast<uint32_t>(wait), std::memory_order_seq_cst);
}

void RecordQueue::disarm() noexcept { header_->waiting.store(0, std::memory_order_seq_cst); }

void RecordQueue::sleep(uint64_t timeout_ns) noexcept {
  const uint32_t armed = header_->waiting.load(std::memory_order_seq_cst);
  if (armed != 0) {
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000ULL);
    timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000ULL);
    futex_wait(header_->waiting, armed, timeout_ns == UINT64_MAX ? nullptr : &timeout);
  }
  disarm();
}

uint32_t RecordQueue::pending() const noexcept {
  return header_->pending.load(std::memory_order_seq_cst);
}

bool RecordQueue::readable() const noexcept {
  return slot_word(slot(tail())).load(std::memory_order_seq_cst) != 0;
}

bool RecordQueue::batch_ready() const noexcept {
  return pending() >= header_->batch_records || head() - tail() > header_->ring_bytes / 2;
}

uint64_t RecordQueue::head() const noexcept {
  return header_->head.load(std::memory_order_acquire);
}
uint64_t RecordQueue::tail() const noexcept {
  return header_->tail.load(std::memory_order_acquire);
}
uint64_t RecordQueue::pushed() const noexcept {
  return header_->pushed.load(std::memory_order_relaxed);
}
uint64_t RecordQueue::dropped() const noexcept {
  return header_->dropped.load(std::memory_order_relaxed);
}

void RecordQueue::peek(std::vector<std::string_view>& out, size_t max,
                       size_t max_bytes) const noexcept {
  out.clear();
  uint64_t position = tail();
  const uint64_t limit = position + header_->ring_bytes;
  size_t bytes = 0;
  while (out.size() < max && position < limit) {
    char* at = slot(position);
    const uint64_t word = slot_word(at).load(std::memory_order_acquire);
    if (word == 0) return;
    const size_t size = word & kSizeMask;
    if ((word & ~kSizeMask) == kPaddingSlot) {
      position += size;
      continue;
    }
    bytes += size;
    if (bytes > max_bytes && !out.empty()) return;
    out.emplace_back(at + kSlotHeader, size);
    position += slot_bytes(size);
  }
}

void RecordQueue::pop(size_t records) noexcept {
  uint64_t position = tail();
  for (size_t done = 0; done < records;) {
    char* at = slot(position);
    const uint64_t word = slot_word(at).load(std::memory_order_acquire);
    const size_t size = word & kSizeMask;
    if ((word & ~kSizeMask) == kPaddingSlot) {
      slot_word(at).store(0, std::memory_order_relaxed);  // the rest was never written
      position += size;
      continue;
    }
    std::memset(at, 0, slot_bytes(size));
    position += slot_bytes(size);
    ++done;
  }
  header_->tail.store(position, std::memory_order_release);
  header_->pending.fetch_sub(static_cast<uint32_t>(records), std::memory_order_release);
}

bool RecordQueue::store_description(std::string_view description, uint64_t& place) noexcept {
  Header& h = *header_;
  if (description.size() > h.description_bytes - h.description_used) return false;
  std::memcpy(reinterpret_cast<char*>(header_) + h.description_offset + h.description_used,
              description.data(), description.size());
  place = h.description_used << 32 | description.size();
  h.description_used += description.size();
  return true;
}

std::string_view RecordQueue::description(uint64_t place) const noexcept {
  return {reinterpret_cast<const char*>(header_) + header_->description_offset + (place >> 32),
          place & kSizeMask};
}

bool RecordQueue::set_resource(std::string_view text) noexcept {
  if (resource() == text) return true;
  uint64_t place = 0;
  if (!store_description(text, place)) return false;
  header_->resource.store(place, std::memory_order_release);
  return true;
}

std::string_view RecordQueue::resource() const noexcept {
  return description(header_->resource.load(std::memory_order_acquire));
}

uint32_t RecordQueue::scope_count() const noexcept {
  return header_->scope_count.load(std::memory_order_acquire);
}

void RecordQueue::add_scope(std::string_view text) noexcept {
  const uint32_t id = scope_count();
  if (id == kMaxScopes) return;
  uint64_t place = 0;
  store_description(text, place);
  header_->scopes[id] = place;
  header_->scope_count.store(id + 1, std::memory_order_release);
}

std::string_view RecordQueue::scope(uint32_t id) const noexcept {
  return id < scope_count() ? description(header_->scopes[id]) : std::string_view();
}

std::string_view RecordQueue::ring() const noexcept {
  return {reinterpret_cast<const char*>(header_) + header_->ring_offset, header_->ring_bytes};
}

void RecordQueue::reset(bool zero_ring) noexcept {
  if (zero_ring) std::memset(slot(0), 0, header_->ring_bytes);
  header_->head.store(0);
  header_->tail.store(0);
  header_->pending.store(0);
  header_->pushed.store(0);
  header_->dropped.store(0);
  header_->waiting.store(0);
}

}  // namespace nuages::trace
