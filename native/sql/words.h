// Case-insensitive handling of SQL words. ASCII only: SQL keywords are.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace nuages::sql {

constexpr char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
constexpr char to_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c ^ 0x20) : c; }

// `lower` is in lower case already.
constexpr bool word_is(std::string_view word, std::string_view lower) {
  return word.size() == lower.size() && std::equal(word.begin(), word.end(), lower.begin(),
                                                   [](char a, char b) { return to_lower(a) == b; });
}

using Words = std::span<const std::string_view>;

constexpr bool word_in(std::string_view word, Words lower) {
  return std::any_of(lower.begin(), lower.end(),
                     [&](std::string_view candidate) { return word_is(word, candidate); });
}

constexpr bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return to_lower(x) == to_lower(y);
         });
}

inline void append_upper(std::string& out, std::string_view word) {
  for (char c : word) out += to_upper(c);
}

inline void append_lower(std::string& out, std::string_view word) {
  for (char c : word) out += to_lower(c);
}

}  // namespace nuages::sql
