#include "base/ids.h"

#include <bit>
#include <cassert>
#include <cstring>

namespace nuages {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

uint64_t read_big_endian(const char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return value;
}

void write_big_endian(uint64_t value, char* out) {
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap64(value);
  std::memcpy(out, &value, sizeof value);
}

void append_hex(uint64_t value, std::string& out) {
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kDigits[(value >> shift) & 0xF]);
}

std::optional<uint64_t> read_hex16(std::string_view text) {
  uint64_t value = 0;
  for (char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else {
      return std::nullopt;
    }
    value = (value << 4) | digit;
  }
  return value;
}

}  // namespace

TraceId trace_id_from_bytes(std::string_view bytes16) {
  assert(bytes16.size() == 16);
  return {read_big_endian(bytes16.data()), read_big_endian(bytes16.data() + 8)};
}

SpanId span_id_from_bytes(std::string_view bytes8) {
  assert(bytes8.size() == 8);
  return read_big_endian(bytes8.data());
}

void trace_id_to_bytes(TraceId id, char* out16) {
  write_big_endian(id.high, out16);
  write_big_endian(id.low, out16 + 8);
}

void span_id_to_bytes(SpanId id, char* out8) { write_big_endian(id, out8); }

std::string to_hex(TraceId id) {
  std::string out;
  out.reserve(32);
  append_hex(id.high, out);
  append_hex(id.low, out);
  return out;
}

std::string to_hex(SpanId id) {
  std::string out;
  out.reserve(16);
  append_hex(id, out);
  return out;
}

std::optional<TraceId> trace_id_from_hex(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  auto high = read_hex16(text.substr(0, 16));
  auto low = read_hex16(text.substr(16));
  if (!high || !low || (*high | *low) == 0) return std::nullopt;
  return TraceId{*high, *low};
}

std::optional<SpanId> span_id_from_hex(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  auto value = read_hex16(text);
  if (value == 0) return std::nullopt;
  return value;
}

}  // namespace nuages
