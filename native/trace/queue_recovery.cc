#include "trace/queue_recovery.h"

#include <algorithm>
#include <bit>

#include "trace/queue_layout.h"
#include "trace/record.h"
#include "trace/record_check.h"

namespace nuages::trace {

using slots::align;
using slots::kPage;

size_t QueueImage::prefix_bytes(const void* header, size_t bytes) noexcept {
  const auto& h = *static_cast<const RecordQueue::Header*>(header);
  return h.ring_offset <= bytes ? h.ring_offset : 0;
}

size_t QueueImage::head_offset() noexcept { return offsetof(RecordQueue::Header, head); }
size_t QueueImage::tail_offset() noexcept { return offsetof(RecordQueue::Header, tail); }

std::optional<QueueImage> QueueImage::open(void* memory, size_t bytes) noexcept {
  if (bytes < sizeof(RecordQueue::Header)) return std::nullopt;
  const auto& h = *static_cast<const RecordQueue::Header*>(memory);
  const uint64_t most = bytes;
  if (!std::has_single_bit(h.ring_bytes) || h.ring_bytes < kPage || h.ring_bytes > most) {
    return std::nullopt;
  }
  if (h.description_offset != sizeof h || h.description_bytes > most ||
      h.description_used > h.description_bytes || h.scope_count > RecordQueue::kMaxScopes) {
    return std::nullopt;
  }
  if (h.ring_offset != align(sizeof h + h.description_bytes, kPage) ||
      h.ring_offset > most - h.ring_bytes) {
    return std::nullopt;
  }
  if (h.head < h.tail || h.head - h.tail > h.ring_bytes || h.head > UINT64_MAX - h.ring_bytes ||
      (h.head | h.tail) % 8 != 0) {
    return std::nullopt;
  }
  const RecordQueue queue = RecordQueue::attach(memory);
  const auto sound = [&](uint64_t place) {
    return (place >> 32) + (place & slots::kSizeMask) <= h.description_used &&
           valid_description(queue.description(place));
  };
  if (!sound(h.resource)) return std::nullopt;
  for (uint32_t i = 0; i < h.scope_count; ++i) {
    if (!sound(h.scopes[i])) return std::nullopt;
  }
  return QueueImage(queue);
}

std::array<QueueImage::Part, 2> QueueImage::live() const noexcept {
  const RecordQueue::Header& h = *queue_.header_;
  const uint64_t begin = h.tail & (h.ring_bytes - 1);
  const uint64_t used = h.head - h.tail;
  const uint64_t first = std::min(used, h.ring_bytes - begin);
  return {Part{h.ring_offset + begin, first}, Part{h.ring_offset, used - first}};
}

std::vector<QueueImage::Found> QueueImage::scan() {
  const RecordQueue::Header& h = *queue_.header_;
  const uint32_t scopes = std::max(queue_.scope_count(), 1U);  // 0 is the empty one
  std::vector<Found> found;
  const uint64_t end = h.head;
  uint64_t budget = 2 * h.ring_bytes;  // of bytes to sum; what is sound needs the half at most
  bool searching = false;
  for (uint64_t position = h.tail; position < end;) {
    char* at = queue_.slot(position);
    const uint64_t word = slots::word(at).load(std::memory_order_relaxed);
    const uint64_t size = word & slots::kSizeMask;
    const uint64_t to_end = h.ring_bytes - (position & (h.ring_bytes - 1));
    const uint64_t room = std::min(to_end, end - position);
    if ((word & slots::kTypeMask) == slots::kPadding && size == to_end && size <= room) {
      searching = false;
      position += size;
      continue;
    }
    if ((word & slots::kTypeMask) == slots::kRecord && size >= sizeof(RecordHeader) &&
        slots::bytes_for(size) <= room) {
      if (size > budget) break;
      budget -= size;
      const std::string_view record(at + slots::kHeader, size);
      if (word == slots::record_word(record) && valid_record(record, scopes)) {
        searching = false;
        position += slots::bytes_for(size);
        found.push_back({record, position});
        continue;
      }
    }
    if (!searching) ++gaps_;
    searching = true;
    position += 8;
  }
  return found;
}

}  // namespace nuages::trace
