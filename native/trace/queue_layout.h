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
  std::atomic<uint64_t> pushed;
  std::atomic<uint64_t> dropped;
  alignas(64) std::atomic<uint32_t> pending;
  std::atomic<uint32_t> waiting;  // WaitFor; also the futex
  alignas(64) std::atomic<uint64_t> tail;
  std::atomic<uint64_t> taken;
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

// 30 bits. Not a checksum against forgery: it finds what a wild write or a lost page leaves behind.
// Four independent lanes, which compilers turn into vector additions.
inline uint64_t sum(std::string_view record) noexcept {
  constexpr uint64_t kOdd = 0x9E37'79B9'7F4A'7C15ULL;
  uint64_t lanes[4] = {};
  const char* at = record.data();
  size_t left = record.size();
  for (; left >= sizeof lanes; left -= sizeof lanes, at += sizeof lanes) {
    uint64_t words[4];
    std::memcpy(words, at, sizeof words);
    for (int i = 0; i < 4; ++i) lanes[i] += words[i];
  }
  uint64_t rest[4] = {};
  if (left != 0) std::memcpy(rest, at, left);
  uint64_t hash = record.size();
  for (int i = 0; i < 4; ++i) {
    hash = (hash ^ (lanes[i] + rest[i])) * kOdd;
    hash ^= hash >> 32;
  }
  return hash >> kSumShift;
}

inline uint64_t record_word(std::string_view record) noexcept {
  return sum(record) << kSumShift | kRecord | record.size();
}

}  // namespace slots
}  // namespace nuages::trace
