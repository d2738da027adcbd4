// QueueImage: the records that a process left in its queue, read from a copy of its memory.
//
// The copy is private, so what was checked cannot change, but nothing in it is believed: sizes,
// offsets and positions are checked first, a record counts only when its slot's sum and its own
// structure hold, and behind a slot that nobody completed (its producer died, or somebody wrote
// over it) the search goes on at the next 8 bytes. Work is bounded by a small multiple of the
// ring's size whatever the bytes are.
//
//   auto image = QueueImage::open(copy, bytes);       // header and descriptions are in the copy
//   for (auto part : image->live()) fill_in(part);    // the part of the ring that is in use
//   for (const auto& found : image->scan()) ...
//
// Lifetime: views point into the copy. One thread. Cost of a sound queue: one pass over its bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "trace/queue.h"

namespace nuages::trace {

class QueueImage {
 public:
  struct Part {
    size_t offset = 0;  // in the queue's memory
    size_t size = 0;
  };
  struct Found {
    std::string_view record;
    uint64_t end = 0;  // position behind it; as a tail it says that the record is gone
  };

  // Bytes in front of the ring, from a copy of the header; 0: it is no header.
  static size_t prefix_bytes(const void* header, size_t bytes) noexcept;
  // Where head and tail are stored, as uint64_t; the queue is empty when they are equal.
  static size_t head_offset() noexcept;
  static size_t tail_offset() noexcept;

  static std::optional<QueueImage> open(void* memory, size_t bytes) noexcept;

  std::array<Part, 2> live() const noexcept;
  std::vector<Found> scan();
  size_t gaps() const noexcept { return gaps_; }                // places where scan() had to search
  const RecordQueue& queue() const noexcept { return queue_; }  // for resource and scopes

 private:
  explicit QueueImage(RecordQueue queue) noexcept : queue_(queue) {}

  RecordQueue queue_;
  size_t gaps_ = 0;
};

}  // namespace nuages::trace
