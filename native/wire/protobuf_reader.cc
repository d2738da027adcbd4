#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

bool continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Length of the well-formed sequence at p, or 0. Ranges: Unicode 15, table 3-7.
size_t sequence_length(const uint8_t* p, size_t left) {
  const uint8_t first = p[0];
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return left >= 2 && continuation(p[1]) ? 2 : 0;
  if (first < 0xF0) {
    if (left < 3 || !continuation(p[1]) || !continuation(p[2])) return 0;
    if (first == 0xE0 && p[1] < 0xA0) return 0;
    if (first == 0xED && p[1] > 0x9F) return 0;
    return 3;
  }
  if (first > 0xF4 || left < 4) return 0;
  if (!continuation(p[1]) || !continuation(p[2]) || !continuation(p[3])) return 0;
  if (first == 0xF0 && p[1] < 0x90) return 0;
  if (first == 0xF4 && p[1] > 0x8F) return 0;
  return 4;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  size_t left = text.size();
  while (left > 0) {
    // Nearly all telemetry is ASCII: eight bytes a step.
    while (left >= 8) {
      uint64_t word;
      std::memcpy(&word, p, 8);
      if ((word & 0x8080808080808080ULL) != 0) break;
      p += 8;
      left -= 8;
    }
    if (left == 0) break;
    const size_t length = sequence_length(p, left);
    if (length == 0) return false;
    p += length;
    left -= length;
  }
  return true;
}

}  // namespace nuages::wire
