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

#include "trace/queue_layout.h"

namespace nuages::trace {
namespace {

// Not FUTEX_PRIVATE: the memory may be shared.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, const timespec* timeout) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected, timeout, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

using slots::align;

static_assert(std::atomic<uint64_t>::is_always_lock_free);

size_t RecordQueue::required_bytes(const QueueOptions& options) noexcept {
  return align(sizeof(Header) + options.description_bytes, slots::kPage) +
         std::bit_ceil(std::max(options.ring_bytes, slots::kPage));
}

size_t RecordQueue::header_bytes() noexcept { return sizeof(Header); }

RecordQueue RecordQueue::create(void* memory, const QueueOptions& options) noexcept {
  auto* header = new (memory) Header{};
  header->description_offset = sizeof(Header);
  header->description_bytes = options.description_bytes;
  header->ring_offset = align(sizeof(Header) + options.description_bytes, slots::kPage);
  header->ring_bytes = std::bit_ceil(std::max(options.ring_bytes, slots::kPage));
  header->max_records = options.max_records;
  header->batch_records = std::max(options.batch_records, 1U);
  header->serialised = options.serialised ? 1 : 0;
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
  return header_->ring_bytes / 2 - slots::kHeader;
}

// Where a slot of `need` bytes goes: its place is behind `padding` bytes at `head`. False: full.
bool RecordQueue::reserve(uint64_t need, uint64_t& head, uint64_t& padding) noexcept {
  Header& h = *header_;
  uint64_t pushed = h.pushed.load(std::memory_order_relaxed);
  do {
    // Negative when `pushed` is older; then the exchange fails.
    const uint64_t taken = h.taken_records.load(std::memory_order_acquire);
    if (static_cast<int64_t>(pushed - taken) >= int64_t{h.max_records}) return false;
  } while (!h.pushed.compare_exchange_weak(pushed, pushed + 1, std::memory_order_seq_cst,
                                           std::memory_order_relaxed));
  head = h.head.load(std::memory_order_relaxed);
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
      h.pushed.fetch_sub(1, std::memory_order_relaxed);
      return false;
    }
    if (h.head.compare_exchange_weak(head, head + padding + need, std::memory_order_acq_rel,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
}

// The same where nobody else changes `pushed` and `head`. The consumer, and who reads the memory of
// a killed process, find both changed before the slot's word is: that one is stored with release.
bool RecordQueue::reserve_serialised(uint64_t need, uint64_t& head, uint64_t& padding) noexcept {
  Header& h = *header_;
  const uint64_t pushed = h.pushed.load(std::memory_order_relaxed);
  if (pushed - h.taken_records.load(std::memory_order_acquire) >= h.max_records) return false;
  head = h.head.load(std::memory_order_relaxed);
  const uint64_t to_end = h.ring_bytes - (head & (h.ring_bytes - 1));
  padding = need <= to_end ? 0 : to_end;
  const uint64_t used = head - h.tail.load(std::memory_order_acquire);
  if (used + padding + need > h.ring_bytes) return false;
  h.pushed.store(pushed + 1, std::memory_order_relaxed);
  h.head.store(head + padding + need, std::memory_order_release);
  return true;
}

RecordQueue::Push RecordQueue::push(std::string_view record) noexcept {
  Header& h = *header_;
  const bool serialised = h.serialised != 0;
  const uint64_t need = slots::bytes_for(record.size());
  uint64_t head = 0, padding = 0;
  if (record.size() > max_record_bytes() ||
      !(serialised ? reserve_serialised(need, head, padding) : reserve(need, head, padding))) {
    h.dropped.fetch_add(1, std::memory_order_relaxed);
    return Push::kFull;
  }
  if (padding != 0)
    slots::word(slot(head)).store(slots::kPadding | padding, std::memory_order_release);
  char* at = slot(head + padding);
  const uint64_t word = slots::copy_record(at + slots::kHeader, record);
  // Commit. Sequentially consistent together with `waiting`: either the consumer sees this record
  // before it sleeps or the producer sees that it is about to.
  slots::word(at).exchange(word, std::memory_order_seq_cst);
  notify();
  return Push::kPushed;
}

void RecordQueue::notify() noexcept {
  const auto waiting = static_cast<WaitFor>(header_->waiting.load(std::memory_order_seq_cst));
  if (waiting == WaitFor::kAny || (waiting == WaitFor::kBatch && batch_ready())) wake();
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
  const uint64_t taken = header_->taken_records.load(std::memory_order_acquire);
  return static_cast<uint32_t>(header_->pushed.load(std::memory_order_seq_cst) - taken);
}

bool RecordQueue::readable() const noexcept {
  const uint64_t position = taken();
  return position != head() && slots::word(slot(position)).load(std::memory_order_seq_cst) != 0;
}

bool RecordQueue::batch_ready() const noexcept {
  return pending() >= header_->batch_records || head() - taken() > header_->ring_bytes / 2;
}

uint64_t RecordQueue::head() const noexcept {
  return header_->head.load(std::memory_order_acquire);
}
uint64_t RecordQueue::tail() const noexcept {
  return header_->tail.load(std::memory_order_acquire);
}
uint64_t RecordQueue::taken() const noexcept {
  return header_->taken.load(std::memory_order_acquire);
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
  uint64_t position = taken();
  const uint64_t limit = head();
  size_t bytes = 0;
  while (out.size() < max && position < limit) {
    char* at = slot(position);
    const uint64_t word = slots::word(at).load(std::memory_order_acquire);
    if (word == 0) return;
    const size_t size = word & slots::kSizeMask;
    if ((word & slots::kTypeMask) == slots::kPadding) {
      position += size;
      continue;
    }
    bytes += size;
    if (bytes > max_bytes && !out.empty()) return;
    out.emplace_back(at + slots::kHeader, size);
    position += slots::bytes_for(size);
  }
}

void RecordQueue::take(size_t records) noexcept {
  uint64_t position = taken();
  for (size_t done = 0; done < records;) {
    const uint64_t word = slots::word(slot(position)).load(std::memory_order_acquire);
    const size_t size = word & slots::kSizeMask;
    const bool padding = (word & slots::kTypeMask) == slots::kPadding;
    position += padding ? size : slots::bytes_for(size);
    done += padding ? 0 : 1;
  }
  header_->taken.store(position, std::memory_order_release);
  const uint64_t before = header_->taken_records.load(std::memory_order_relaxed);
  header_->taken_records.store(before + records, std::memory_order_release);
}

void RecordQueue::release() noexcept {
  const uint64_t end = taken();
  uint64_t position = tail();
  while (position < end) {
    char* at = slot(position);
    const uint64_t word = slots::word(at).load(std::memory_order_acquire);
    const size_t size = word & slots::kSizeMask;
    if ((word & slots::kTypeMask) == slots::kPadding) {
      slots::word(at).store(0, std::memory_order_relaxed);  // the rest was never written
      position += size;
      continue;
    }
    std::memset(at, 0, slots::bytes_for(size));
    position += slots::bytes_for(size);
  }
  header_->tail.store(position, std::memory_order_release);
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
          place & slots::kSizeMask};
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

}  // namespace nuages::trace
