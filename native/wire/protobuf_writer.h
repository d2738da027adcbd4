// Append-only protobuf encoder over one reused buffer, with back-patched lengths.
//
//   ProtobufWriter w;
//   auto span = w.begin(2);            // a nested message
//   w.string(5, "name");
//   w.end(span);                       // writes its length
//   use(w.view()); w.clear();          // keeps the memory
//
// A nested message reserves two bytes for its length and moves its body only when the length needs
// another width; begin_large() reserves four and pads (a longer varint of the same value), which
// every protobuf reader accepts. Small messages whose size is known are written with length().
// Threading: one thread. Views live until the next write. Out of memory ends the process, as
// everywhere in this code base. Cost: a few ns per field.
// Source: protobuf.dev/programming-guides/encoding.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace nuages::wire {

class ProtobufWriter {
 public:
  struct Message {
    size_t start;  // where the body begins
    uint8_t width;
  };

  ProtobufWriter() = default;
  ~ProtobufWriter() { std::free(data_); }
  ProtobufWriter(const ProtobufWriter&) = delete;
  ProtobufWriter& operator=(const ProtobufWriter&) = delete;

  std::string_view view() const { return {data_, size_}; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void clear() { size_ = 0; }
  // Gives memory back after an unusually large message.
  void shrink(size_t bytes) {
    if (capacity_ <= bytes || size_ > bytes) return;
    if (void* moved = std::realloc(data_, bytes)) {
      data_ = static_cast<char*>(moved);
      capacity_ = bytes;
    }
  }

  static constexpr size_t varint_size(uint64_t value) {
    return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7;
  }
  static constexpr size_t tag_size(uint32_t field) {
    return varint_size(static_cast<uint64_t>(field) << 3);
  }
  // Of a length-delimited field with a body of `size` bytes.
  static constexpr size_t field_size(uint32_t field, size_t size) {
    return tag_size(field) + varint_size(size) + size;
  }

  void varint(uint32_t field, uint64_t value) {
    advance(put_varint(put_varint(room_for(20), uint64_t{field} << 3), value));
  }
  void boolean(uint32_t field, bool value) { varint(field, value ? 1 : 0); }
  void fixed64(uint32_t field, uint64_t value) {
    advance(put_fixed(put_varint(room_for(18), uint64_t{field} << 3 | 1), value));
  }
  void number(uint32_t field, double value) { fixed64(field, std::bit_cast<uint64_t>(value)); }
  void fixed32(uint32_t field, uint32_t value) {
    advance(put_fixed(put_varint(room_for(14), uint64_t{field} << 3 | 5), value));
  }
  void string(uint32_t field, std::string_view text) {
    advance(put_text(put_length(room_for(20 + text.size()), field, text.size()), text));
  }
  // The tag and length of a field whose body of exactly `size` bytes the caller writes next.
  void length(uint32_t field, size_t size) { advance(put_length(room_for(20), field, size)); }
  void raw(std::string_view bytes) { advance(put_text(room_for(bytes.size()), bytes)); }

  // For messages of known shape: one check for room, then the put functions, each of which returns
  // where the next one writes.
  char* room_for(size_t bytes) {
    room(bytes);
    return data_ + size_;
  }
  void advance(const char* end) { size_ = static_cast<size_t>(end - data_); }

  static char* put_varint(char* at, uint64_t value) {
    while (value >= 0x80) {
      *at++ = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    *at = static_cast<char>(value);
    return at + 1;
  }
  static char* put_length(char* at, uint32_t field, size_t size) {
    return put_varint(put_varint(at, uint64_t{field} << 3 | 2), size);
  }
  template <typename T>
  static char* put_fixed(char* at, T value) {
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(at, &value, sizeof value);
    } else {
      for (size_t i = 0; i < sizeof value; ++i) at[i] = static_cast<char>(value >> (8 * i));
    }
    return at + sizeof value;
  }
  // Short texts by two overlapping moves: a call of memcpy costs more than the copy.
  static char* put_text(char* at, std::string_view text) {
    const size_t size = text.size();
    const char* from = text.data();
    if (size > 32) {
      std::memcpy(at, from, size);
    } else if (size >= 16) {
      move_ends<16>(at, from, size);
    } else if (size >= 8) {
      move_ends<8>(at, from, size);
    } else if (size >= 4) {
      move_ends<4>(at, from, size);
    } else {
      for (size_t i = 0; i < size; ++i) at[i] = from[i];
    }
    return at + size;
  }

  Message begin(uint32_t field) { return begin(field, 2); }
  Message begin_large(uint32_t field) { return begin(field, 4); }
  void end(Message message);

 private:
  Message begin(uint32_t field, uint8_t width) {
    advance(put_varint(room_for(20), uint64_t{field} << 3 | 2) + width);
    return {size_, width};
  }
  void room(size_t bytes) {
    if (capacity_ - size_ < bytes) grow(bytes);
  }
  void grow(size_t bytes);
  template <size_t kBytes>
  static void move_ends(char* to, const char* from, size_t size) {
    struct Part {
      char bytes[kBytes];
    } first, last;
    std::memcpy(&first, from, kBytes);
    std::memcpy(&last, from + size - kBytes, kBytes);
    std::memcpy(to, &first, kBytes);
    std::memcpy(to + size - kBytes, &last, kBytes);
  }

  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace nuages::wire
