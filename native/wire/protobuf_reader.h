// A bounded, single-pass reader over one protobuf message.
//
// `next()` moves to the next field; then exactly one of the value functions, or skip(), consumes
// its value. The reader never looks past the end of the view it was given and never allocates.
// Errors are sticky: after the first one `next()` returns false and `ok()` says so, so a loop needs
// one check behind it. Groups (wire types 3 and 4) are refused: no message of ours has them and
// they are the only part of the format that needs recursion to skip.
// Threading: one thread per reader. Lifetime: views point into the input. Cost: 1 to 3 ns a field.
// Source: protobuf.dev/programming-guides/encoding.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace nuages::wire {

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kLength = 2,
  kGroupStart = 3,
  kGroupEnd = 4,
  kFixed32 = 5
};

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message)
      : at_(message.data()), end_(message.data() + message.size()) {}

  // False at the end of the message and after an error.
  bool next() {
    if (at_ == end_ || failed_) return false;
    const uint64_t tag = varint();
    const uint64_t number = tag >> 3;
    type_ = static_cast<WireType>(tag & 7);
    field_ = static_cast<uint32_t>(number);
    if (number == 0 || number > kMaxField || !known(type_)) return fail();
    return !failed_;
  }

  uint32_t field() const { return field_; }
  WireType type() const { return type_; }
  // Whether the current field has this number and type. A known number with another type is an
  // unknown field, as in every protobuf library.
  bool is(uint32_t field, WireType type) const { return field_ == field && type_ == type; }

  uint64_t varint() {
    if (at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) return static_cast<uint8_t>(*at_++);
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail();
    return 0;
  }

  uint64_t fixed64() { return fixed<uint64_t>(); }
  uint32_t fixed32() { return fixed<uint32_t>(); }
  double fixed_double() { return std::bit_cast<double>(fixed<uint64_t>()); }

  std::string_view bytes() {
    const uint64_t size = varint();
    if (failed_ || size > static_cast<uint64_t>(end_ - at_)) {
      fail();
      return {};
    }
    const std::string_view view(at_, size);
    at_ += size;
    return view;
  }

  void skip() {
    switch (type_) {
      case WireType::kVarint:
        varint();
        return;
      case WireType::kFixed64:
        fixed64();
        return;
      case WireType::kLength:
        bytes();
        return;
      case WireType::kFixed32:
        fixed32();
        return;
      case WireType::kGroupStart:
      case WireType::kGroupEnd:
        break;
    }
    fail();
  }

  bool ok() const { return !failed_; }
  // Where the reader stands; after an error, where it stopped.
  const char* position() const { return at_; }

 private:
  static constexpr uint64_t kMaxField = (1U << 29) - 1;

  static bool known(WireType type) {
    return type == WireType::kVarint || type == WireType::kFixed64 || type == WireType::kLength ||
           type == WireType::kFixed32;
  }

  bool fail() {
    failed_ = true;
    return false;
  }

  template <typename T>
  T fixed() {
    static_assert(std::endian::native == std::endian::little);
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) {
      fail();
      return 0;
    }
    T value;
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  const char* at_;
  const char* end_;
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
  bool failed_ = false;
};

// Whether text is well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool valid_utf8(std::string_view text);

}  // namespace nuages::wire
