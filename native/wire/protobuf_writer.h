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
    room(20);
    put_varint(field << 3);
    put_varint(value);
  }
  void boolean(uint32_t field, bool value) { varint(field, value ? 1 : 0); }
  void fixed64(uint32_t field, uint64_t value) {
    room(18);
    put_varint(field << 3 | 1);
    put_little_endian(value, 8);
  }
  void number(uint32_t field, double value) { fixed64(field, std::bit_cast<uint64_t>(value)); }
  void fixed32(uint32_t field, uint32_t value) {
    room(14);
    put_varint(field << 3 | 5);
    put_little_endian(value, 4);
  }
  void string(uint32_t field, std::string_view text) {
    length(field, text.size());
    raw(text);
  }
  // The tag and length of a field whose body of exactly `size` bytes the caller writes next.
  void length(uint32_t field, size_t size) {
    room(20);
    put_varint(static_cast<uint64_t>(field) << 3 | 2);
    put_varint(size);
  }
  void raw(std::string_view bytes) {
    if (bytes.empty()) return;
    room(bytes.size());
    std::memcpy(data_ + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
  }

  Message begin(uint32_t field) { return begin(field, 2); }
  Message begin_large(uint32_t field) { return begin(field, 4); }
  void end(Message message);

 private:
  Message begin(uint32_t field, uint8_t width) {
    room(20);
    put_varint(static_cast<uint64_t>(field) << 3 | 2);
    size_ += width;
    return {size_, width};
  }
  void room(size_t bytes) {
    if (capacity_ - size_ < bytes) grow(bytes);
  }
  void grow(size_t bytes);
  void put_varint(uint64_t value) {
    while (value >= 0x80) {
      data_[size_++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    data_[size_++] = static_cast<char>(value);
  }
  void put_little_endian(uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) data_[size_++] = static_cast<char>(value >> (8 * i));
  }

  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace nuages::wire
