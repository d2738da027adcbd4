// Writing of record entries (trace/record.h), shared by Span, record_leaf and the scope table.
//
// All functions write into room that the caller has made: sizes first, then bytes. Limits are
// applied by LimitedAttributes, which also cuts long values. No allocation, except for cutting
// strings inside arrays.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "trace/attribute.h"
#include "trace/limits.h"
#include "trace/record.h"

namespace nuages::trace {

// A span larger than this loses what does not fit (counted as dropped).
inline constexpr size_t kMaxRecordBytes = 64U << 20;

inline size_t payload_size(const ValueView& value) noexcept {
  switch (value.type) {
    case wire::ValueType::kEmpty:
      return 0;
    case wire::ValueType::kBool:
      return 1;
    case wire::ValueType::kInt:
    case wire::ValueType::kDouble:
      return 8;
    default:
      return value.text.size();
  }
}

inline char* put_bytes(char* at, std::string_view bytes) noexcept {
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  return at + bytes.size();
}

template <typename T>
char* put_value(char* at, const T& value) noexcept {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

// An EntryHeader as two stores: byte stores that a wider load reads back at once stall it.
inline char* put_entry(char* at, size_t size, EntryType type, wire::ValueType value_type,
                       size_t text_size) noexcept {
  static_assert(std::endian::native == std::endian::little);
  static_assert(offsetof(EntryHeader, type) == 4 && offsetof(EntryHeader, value_type) == 5 &&
                offsetof(EntryHeader, text_size) == 8);
  at = put_value(at, static_cast<uint64_t>(static_cast<uint32_t>(size)) |
                         static_cast<uint64_t>(type) << 32 |
                         static_cast<uint64_t>(value_type) << 40);
  return put_value(at, static_cast<uint32_t>(text_size));
}

inline size_t attribute_size(std::string_view key, const ValueView& value) noexcept {
  return sizeof(EntryHeader) + key.size() + payload_size(value);
}

// Writes attribute_size() bytes and returns the end.
inline char* write_attribute(char* at, std::string_view key, const ValueView& value) noexcept {
  at = put_bytes(
      put_entry(at, attribute_size(key, value), EntryType::kAttribute, value.type, key.size()),
      key);
  switch (value.type) {
    case wire::ValueType::kEmpty:
      return at;
    case wire::ValueType::kBool:
      return put_value(at, static_cast<char>(value.boolean));
    case wire::ValueType::kInt:
      return put_value(at, value.integer);
    case wire::ValueType::kDouble:
      return put_value(at, value.number);
    default:
      return put_bytes(at, value.text);
  }
}

// The value with its strings cut to `max_length` code points; `scratch` holds a changed array.
ValueView cut_value(const ValueView& value, uint32_t max_length, std::string& scratch) noexcept;

// A list of attributes under a count and a length limit: what event, link and leaf write.
class LimitedAttributes {
 public:
  // `dropped`: how many the caller has refused already.
  LimitedAttributes(std::span<const AttributeView> attributes, uint32_t max_count,
                    const SpanLimits& limits, uint32_t dropped = 0) noexcept;

  size_t size() const noexcept;  // bytes
  char* write(char* at) const noexcept;
  uint32_t count() const noexcept { return static_cast<uint32_t>(kept_.size()); }
  uint32_t dropped() const noexcept { return dropped_; }

 private:
  std::span<const AttributeView> kept_;
  uint32_t max_length_;
  uint32_t dropped_;
};

inline size_t event_size(std::string_view name, const LimitedAttributes& attributes) noexcept {
  return sizeof(EntryHeader) + sizeof(EventPart) + name.size() + attributes.size();
}
char* write_event(char* at, size_t size, std::string_view name, uint64_t time_ns,
                  const LimitedAttributes& attributes) noexcept;

}  // namespace nuages::trace
