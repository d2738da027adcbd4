#include "trace/limits.h"

namespace nuages::trace {

std::string_view truncate_code_points(std::string_view text, uint32_t code_points) noexcept {
  if (text.size() <= code_points) return text;
  uint32_t seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts = (static_cast<uint8_t>(text[i]) & 0xC0) != 0x80;
    if (starts && seen++ == code_points) return text.substr(0, i);
  }
  return text;
}

}  // namespace nuages::trace
