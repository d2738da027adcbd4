#include "wire/protobuf_writer.h"

#include <algorithm>

namespace nuages::wire {

void ProtobufWriter::grow(size_t bytes) {
  const size_t wanted = std::max({capacity_ * 2, size_ + bytes, size_t{256}});
  void* moved = std::realloc(data_, wanted);
  if (moved == nullptr) std::abort();
  data_ = static_cast<char*>(moved);
  capacity_ = wanted;
}

void ProtobufWriter::end(Message message) {
  const size_t body = size_ - message.start;
  size_t width = varint_size(body);
  if (width > message.width) room(width - message.width);
  // Only a wide reservation is padded: small messages stay minimal, large ones are not moved.
  if (width < message.width && message.width == 4) width = 4;
  if (width != message.width) {
    std::memmove(data_ + message.start - message.width + width, data_ + message.start, body);
    size_ = size_ - message.width + width;
  }
  char* at = data_ + message.start - message.width;
  uint64_t rest = body;
  for (size_t i = 0; i + 1 < width; ++i, rest >>= 7) *at++ = static_cast<char>(rest | 0x80);
  *at = static_cast<char>(rest & 0x7F);
}

}  // namespace nuages::wire
