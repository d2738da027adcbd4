// Span::add_text and add_number: the usual case of set_attribute, in line.
//
// Usual is: a span that needs no lock and no cutting, is open and below its limit, has room in its
// buffer and has certainly not got the key yet. Everything else is answered with false and done by
// set_attribute(). Include it where an attribute costs a few nanoseconds too many.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "trace/record_writer.h"
#include "trace/span.h"

namespace nuages::trace {

// Without a call for the sizes of keys and most values.
[[gnu::always_inline]] inline char* copy_short(char* to, std::string_view from) noexcept {
  const size_t size = from.size();
  const char* at = from.data();
  const auto two = [&]<typename T>(T) {  // which overlap
    T first, last;
    std::memcpy(&first, at, sizeof first);
    std::memcpy(&last, at + size - sizeof last, sizeof last);
    std::memcpy(to, &first, sizeof first);
    std::memcpy(to + size - sizeof last, &last, sizeof last);
  };
  using Pair [[gnu::vector_size(16)]] = uint64_t;
  if (size > 32) {
    std::memcpy(to, at, size);
  } else if (size >= 16) {
    two(Pair{});
  } else if (size >= 8) {
    two(uint64_t{});
  } else if (size >= 4) {
    two(uint32_t{});
  } else if (size != 0) {
    to[0] = at[0];
    to[size / 2] = at[size / 2];
    to[size - 1] = at[size - 1];
  }
  return to + size;
}

template <typename Write>
[[gnu::always_inline]] inline bool Span::add_plain(std::string_view key, wire::ValueType type,
                                                   size_t payload, Write&& write) noexcept {
  const size_t size = sizeof(EntryHeader) + key.size() + payload;
  const uint64_t bit = key_bit(key);
  if (!plain_ || generation_ != process_generation() || ended_.load(std::memory_order_relaxed) ||
      (keys_ & bit) != 0 || attributes_ >= limits_.max_attributes || size > capacity_ - size_)
      [[unlikely]] {
    return false;
  }
  keys_ |= bit;
  char* at = put_entry(buffer_ + size_, size, EntryType::kAttribute, type, key.size());
  write(copy_short(at, key));
  size_ += static_cast<uint32_t>(size);
  ++attributes_;
  return true;
}

inline bool Span::add_text(std::string_view key, std::string_view text) noexcept {
  return add_plain(key, wire::ValueType::kString, text.size(),
                   [text](char* at) { copy_short(at, text); });
}

template <typename T>
inline bool Span::add_number(std::string_view key, wire::ValueType type, T number) noexcept {
  return add_plain(key, type, sizeof number, [number](char* at) { put_value(at, number); });
}

}  // namespace nuages::trace
