// The bytes of a RecordQueue: what queue.cc writes and queue_recovery.cc reads in a dead process'
// memory. Inside trace only.
//
// A slot is an 8-byte word and the record behind it, rounded up to 8 bytes. The word is zero until
// the record is complete; then it holds the record's size, the slot's type and a sum of the record,
// so that a reader who does not trust the memory can tell a record from anything else.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "trace/queue.h"

namespace nuages::trace {

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
  std::atomic<uint64_t> pushed;  // records ever, those being written included
  std::atomic<uint64_t> dropped;
  alignas(64) uint32_t serialised;
  std::atomic<uint32_t> waiting;  // WaitFor; also the futex
  alignas(64) std::atomic<uint64_t> tail;
  std::atomic<uint64_t> taken;
  std::atomic<uint64_t> taken_records;  // ever
};

namespace slots {

inline constexpr size_t kPage = 4096;
inline constexpr size_t kHeader = 8;
inline constexpr uint64_t kSizeMask = 0xFFFF'FFFFULL;
inline constexpr uint64_t kTypeMask = 3ULL << 32;
inline constexpr uint64_t kRecord = 1ULL << 32;
inline constexpr uint64_t kPadding = 2ULL << 32;  // the size is the padding's, header included
inline constexpr int kSumShift = 34;

constexpr size_t align(size_t size, size_t unit) { return (size + unit - 1) & ~(unit - 1); }
constexpr size_t bytes_for(size_t record) { return align(kHeader + record, 8); }

inline std::atomic_ref<uint64_t> word(char* slot) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(slot));
}

inline uint64_t load_word(const char* at) noexcept {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// The slot's word for a record: 30 bits of a sum. Not a checksum against forgery: it finds what a
// wild write or a lost page leaves behind. Four independent lanes in two vectors; what is left at
// the end never goes through memory, where a load of what two stores wrote would wait for them.
// With kCopy the record is copied to `to` on the way.
template <bool kCopy>
inline uint64_t word_of(std::string_view record, [[maybe_unused]] char* to) noexcept {
  using Pair [[gnu::vector_size(16)]] = uint64_t;
  constexpr uint64_t kOdd = 0x9E37'79B9'7F4A'7C15ULL;
  Pair low = {}, high = {};
  const char* at = record.data();
  size_t left = record.size();
  for (; left >= 32; left -= 32, at += 32) {
    Pair first, second;
    std::memcpy(&first, at, 16);
    std::memcpy(&second, at + 16, 16);
    if constexpr (kCopy) {
      std::memcpy(to, &first, 16);
      std::memcpy(to + 16, &second, 16);
      to += 32;
    }
    low += first;
    high += second;
  }
  const size_t odd = left % 8;
  uint64_t last = 0;  // the odd bytes at the end as a number
  if (odd != 0) {
    if (record.size() >= 8) {
      last = load_word(at + left - 8) >> (64 - odd * 8);
    } else {
      std::memcpy(&last, at, odd);
    }
  }
  uint64_t rest[3] = {};
  uint64_t words[4] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (left >= (i + 1) * 8) rest[i] = load_word(at + i * 8);
  }
  for (size_t i = 0; i < 4; ++i) words[i] = left / 8 == i ? last : (i < 3 ? rest[i] : 0);
  if constexpr (kCopy) {
    for (size_t i = 0; i < 3; ++i) {
      if (left >= (i + 1) * 8) std::memcpy(to + i * 8, &rest[i], 8);
    }
    // The slot is rounded up to 8 bytes, and zero there.
    if (odd != 0) std::memcpy(to + left / 8 * 8, &last, 8);
  }
  const uint64_t lanes[4] = {low[0] + words[0], low[1] + words[1], high[0] + words[2],
                             high[1] + words[3]};
  uint64_t hash = record.size();
  for (const uint64_t lane : lanes) {
    hash = (hash ^ lane) * kOdd;
    hash ^= hash >> 32;
  }
  return hash >> kSumShift << kSumShift | kRecord | record.size();
}

inline uint64_t record_word(std::string_view record) noexcept {
  return word_of<false>(record, nullptr);
}
inline uint64_t copy_record(char* to, std::string_view record) noexcept {
  return word_of<true>(record, to);
}

}  // namespace slots
}  // namespace nuages::trace
