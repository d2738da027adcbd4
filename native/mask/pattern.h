// Pattern: a regular expression of the user's, searched in time linear in the text.
//
//   auto pattern = mask::Pattern::compile(R"(ACME-\d{6}\b)");
//   if (pattern.ok()) pattern->replace_all("order ACME-123456", "***", out);  // out == "order ***"
//
// A rule of the application's runs over every string that leaves the process, so no text may make
// it slow: the pattern becomes a small program whose threads all run at once (Thompson, Pike), one
// pass per text, no backtracking. What that cannot do (backreferences, look-around, possessive and
// conditional groups) is refused at compile time with a message.
//
// Syntax as in Python: literals, . [] [^] \d \w \s \b (and capitals), ^ $ \A \Z, ( ) (?: ) (?P<n>
// ),
// |, * + ? {m,n} greedy and lazy, (?i) and (?s) in front. \d \w \s \b and (?i) know ASCII alone; a
// dot or a negated class takes a whole UTF-8 character, so valid UTF-8 stays valid. The leftmost
// match counts, alternatives in their order, as in Python; empty matches are not matches.
//
// Immutable after compile(), any thread. Cost: about 10 ns a byte and live thread; text without any
// first byte of a match is skipped at memchr-like speed.
// Source: Russ Cox, "Regular Expression Matching: the Virtual Machine Approach".
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace nuages::mask {

class Pattern {
 public:
  static constexpr size_t kMaxText = 1000;       // bytes of the pattern
  static constexpr size_t kMaxProgram = 10'000;  // instructions; a{1000} makes a thousand

  static Result<Pattern> compile(std::string_view text);

  struct Match {
    size_t begin = 0;
    size_t end = 0;  // == begin: there is none
    bool found() const { return end > begin; }
  };
  // The first match that begins at `from` or later.
  Match search(std::string_view text, size_t from = 0) const;

  // Writes `text` with every match replaced to `out` and returns true; false, and `out` untouched,
  // without a match. `text` must not point into `out`.
  bool replace_all(std::string_view text, std::string_view with, std::string& out) const;

 private:
  friend class PatternCompiler;
  using Bytes = std::bitset<256>;
  enum class Op : uint8_t { kByte, kSplit, kJump, kAssert, kMatch };
  enum class Assertion : uint8_t { kBegin, kEnd, kWord, kNotWord };
  struct Instruction {
    Op op = Op::kMatch;
    Assertion assertion = Assertion::kBegin;
    uint32_t x = 0;  // kSplit, kJump: where to; kSplit prefers x to y. kByte: index into classes_
    uint32_t y = 0;
  };
  struct Machine;

  std::vector<Instruction> program_;
  std::vector<Bytes> classes_;
  Bytes first_;  // bytes that a match can begin with
};

}  // namespace nuages::mask
