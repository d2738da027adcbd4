#include "export/outage_buffer.h"

#include <cstddef>
#include <cstring>
#include <new>

namespace nuages::exporter {
namespace {

constexpr uint64_t kMagic = 0x3165676174756f6eULL;  // "noutage1"
constexpr uint32_t kPadding = 0xffffffff;           // as the packed size: go on at the beginning

constexpr uint64_t aligned(uint64_t size) { return (size + 7) & ~uint64_t{7}; }

}  // namespace

struct OutageBuffer::Header {
  uint64_t magic = kMagic;
  uint64_t capacity = 0;  // bytes behind the header, a multiple of 8
  std::atomic<uint64_t> head{0};
  std::atomic<uint64_t> tail{0};
  std::atomic<uint64_t> spans{0};
};

struct OutageBuffer::Entry {
  uint32_t packed = 0;
  uint32_t spans = 0;
  uint32_t size = 0;
  uint32_t unused = 0;
};

size_t OutageBuffer::required_bytes(size_t capacity) noexcept {
  return sizeof(Header) + aligned(capacity);
}

size_t OutageBuffer::head_offset() noexcept { return offsetof(Header, head); }
size_t OutageBuffer::tail_offset() noexcept { return offsetof(Header, tail); }

OutageBuffer OutageBuffer::create(void* memory, size_t capacity) noexcept {
  auto* header = new (memory) Header;
  header->capacity = aligned(capacity);
  return OutageBuffer(header);
}

std::optional<OutageBuffer> OutageBuffer::attach(void* memory, size_t bytes) noexcept {
  auto* header = static_cast<Header*>(memory);
  if (bytes < sizeof(Header) || header->magic != kMagic || header->capacity % 8 != 0 ||
      header->capacity > bytes - sizeof(Header)) {
    return std::nullopt;
  }
  const uint64_t head = header->head.load(std::memory_order_acquire);
  const uint64_t tail = header->tail.load(std::memory_order_acquire);
  if (head % 8 != 0 || tail % 8 != 0 || tail > head || head - tail > header->capacity) {
    return std::nullopt;
  }
  return OutageBuffer(header);
}

char* OutageBuffer::at(uint64_t position) const noexcept {
  return reinterpret_cast<char*>(header_ + 1) + position % header_->capacity;
}

bool OutageBuffer::push(const Batch& batch) noexcept {
  if (!header_ || header_->capacity == 0) return false;
  Header& h = *header_;
  const uint64_t need = sizeof(Entry) + aligned(batch.packed.size());
  uint64_t head = h.head.load(std::memory_order_relaxed);
  const uint64_t used = head - h.tail.load(std::memory_order_relaxed);
  const uint64_t to_end = h.capacity - head % h.capacity;
  const uint64_t padding = need <= to_end ? 0 : to_end;
  if (batch.packed.size() >= kPadding || used + padding + need > h.capacity) return false;
  // A rest too small for an entry is known by its size alone.
  if (padding >= sizeof(Entry)) {
    const Entry pad{kPadding, 0, 0, 0};
    std::memcpy(at(head), &pad, sizeof pad);
  }
  head += padding;
  const Entry entry{static_cast<uint32_t>(batch.packed.size()), batch.spans, batch.size, 0};
  std::memcpy(at(head), &entry, sizeof entry);
  std::memcpy(at(head) + sizeof entry, batch.packed.data(), batch.packed.size());
  h.spans.fetch_add(batch.spans, std::memory_order_relaxed);
  h.head.store(head + need, std::memory_order_release);
  return true;
}

void OutageBuffer::skip_padding() noexcept {
  Header& h = *header_;
  const uint64_t tail = h.tail.load(std::memory_order_relaxed);
  const uint64_t to_end = h.capacity - tail % h.capacity;
  Entry entry;
  if (to_end >= sizeof(Entry)) std::memcpy(&entry, at(tail), sizeof entry);
  if (to_end < sizeof(Entry) || entry.packed == kPadding) {
    h.tail.store(tail + to_end, std::memory_order_release);
  }
}

std::optional<OutageBuffer::Batch> OutageBuffer::front() noexcept {
  if (empty()) return std::nullopt;
  skip_padding();
  Header& h = *header_;
  const uint64_t tail = h.tail.load(std::memory_order_relaxed);
  const uint64_t head = h.head.load(std::memory_order_acquire);
  Entry entry;
  const uint64_t to_end = h.capacity - tail % h.capacity;
  if (tail < head && to_end >= sizeof entry) {
    std::memcpy(&entry, at(tail), sizeof entry);
    const uint64_t size = sizeof entry + aligned(entry.packed);
    if (size <= to_end && size <= head - tail) {
      return Batch{{at(tail) + sizeof entry, entry.packed}, entry.spans, entry.size};
    }
  }
  reset();
  return std::nullopt;
}

void OutageBuffer::pop() noexcept {
  const auto batch = front();
  if (!batch) return;
  Header& h = *header_;
  const uint64_t size = sizeof(Entry) + aligned(batch->packed.size());
  h.spans.fetch_sub(batch->spans, std::memory_order_relaxed);
  h.tail.store(h.tail.load(std::memory_order_relaxed) + size, std::memory_order_release);
}

bool OutageBuffer::empty() const noexcept {
  return !header_ || header_->tail.load(std::memory_order_relaxed) ==
                         header_->head.load(std::memory_order_acquire);
}

uint64_t OutageBuffer::spans() const noexcept {
  return header_ ? header_->spans.load(std::memory_order_relaxed) : 0;
}

uint64_t OutageBuffer::bytes() const noexcept {
  return header_ ? header_->head.load(std::memory_order_relaxed) -
                       header_->tail.load(std::memory_order_relaxed)
                 : 0;
}

void OutageBuffer::reset() noexcept {
  if (!header_) return;
  header_->head.store(0);
  header_->tail.store(0);
  header_->spans.store(0);
}

}  // namespace nuages::exporter
