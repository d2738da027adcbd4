// OutageBuffer: encoded, masked and packed batches that wait for a receiver which is away.
//
// A ring of batches, oldest first, in memory that the caller provides; bounded by that memory.
// Nothing in it needs rules or descriptions to be sent, and the layout has no pointers, so another
// process of the same user may attach() to the memory of a dead one and send what it finds. push()
// writes the batch before it moves the head: a process killed in the middle leaves whole batches.
// Threading: one thread at a time. Cost: one copy of the packed batch (some 30 bytes a span).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace nuages::exporter {

class OutageBuffer {
 public:
  struct Batch {
    std::string_view packed;  // until pop()
    uint32_t spans = 0;
    uint32_t size = 0;  // of the request, unpacked
  };

  OutageBuffer() noexcept = default;  // without memory: always empty, never any room
  static size_t required_bytes(size_t capacity) noexcept;
  // `memory` is 8-byte-aligned, zeroed and outlives the buffer.
  static OutageBuffer create(void* memory, size_t capacity) noexcept;
  // Memory that another process wrote: nothing when it is not such a buffer of at most `bytes`.
  static std::optional<OutageBuffer> attach(void* memory, size_t bytes) noexcept;

  // Where in the memory head and tail are stored, as uint64_t; it is empty when they are equal.
  static size_t head_offset() noexcept;
  static size_t tail_offset() noexcept;

  bool has_memory() const noexcept { return header_ != nullptr; }
  bool push(const Batch& batch) noexcept;  // false: no room
  // The oldest. Nothing when empty, or when what is there is no batch (then all is forgotten).
  std::optional<Batch> front() noexcept;
  void pop() noexcept;
  bool empty() const noexcept;
  uint64_t spans() const noexcept;
  uint64_t bytes() const noexcept;
  void reset() noexcept;

 private:
  struct Header;
  struct Entry;
  explicit OutageBuffer(Header* header) noexcept : header_(header) {}
  char* at(uint64_t position) const noexcept;
  void skip_padding() noexcept;

  Header* header_ = nullptr;
};

}  // namespace nuages::exporter
