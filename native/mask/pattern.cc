#include "mask/pattern.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace nuages::mask {
namespace {

constexpr int kMaxDepth = 50;  // nested groups
constexpr uint32_t kMaxRepeat = 1000;

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

}  // namespace

// Recursive descent that emits instructions. A repeated part is parsed again for each copy, which
// needs no tree; the limits on text and program bound that.
class PatternCompiler {
 public:
  explicit PatternCompiler(std::string_view text) : text_(text) {}

  Result<Pattern> run() {
    if (text_.size() > Pattern::kMaxText) {
      return Error{ErrorCode::kInvalid, "the pattern is longer than 1000 bytes"};
    }
    read_flags();
    alternatives(0);
    if (error_.empty() && at_ < text_.size()) fail("an unmatched )");
    if (!error_.empty()) return Error{ErrorCode::kInvalid, error_};
    emit({Pattern::Op::kMatch});
    if (!error_.empty()) return Error{ErrorCode::kInvalid, error_};
    find_first();
    return std::move(pattern_);
  }

 private:
  using Op = Pattern::Op;
  using Bytes = Pattern::Bytes;
  using Instruction = Pattern::Instruction;

  void fail(const std::string& what) {
    if (error_.empty()) error_ = what + " at position " + std::to_string(at_);
    at_ = text_.size();
  }
  bool failed() const { return !error_.empty(); }
  bool more() const { return at_ < text_.size() && !failed(); }
  char peek() const { return text_[at_]; }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  uint32_t here() const { return static_cast<uint32_t>(pattern_.program_.size()); }
  uint32_t emit(Instruction instruction) {
    if (pattern_.program_.size() >= Pattern::kMaxProgram) {
      fail("a pattern that repeats too much");
      return 0;
    }
    pattern_.program_.push_back(instruction);
    return here() - 1;
  }
  void emit_bytes(const Bytes& bytes) {
    auto& known = pattern_.classes_;
    const auto found = std::find(known.begin(), known.end(), bytes);
    const auto index = static_cast<uint32_t>(found - known.begin());
    if (found == known.end()) known.push_back(bytes);
    emit({Op::kByte, {}, index, 0});
  }
  void emit_range(int low, int high) {
    Bytes bytes;
    for (int c = low; c <= high; ++c) bytes.set(static_cast<size_t>(c));
    emit_bytes(bytes);
  }

  void read_flags() {
    while (more() && text_.substr(at_, 2) == "(?") {
      const size_t end = text_.find(')', at_);
      const std::string_view flags =
          end == std::string_view::npos ? "" : text_.substr(at_ + 2, end - at_ - 2);
      if (flags.empty() || flags.find_first_not_of("is") != std::string_view::npos) return;
      ignore_case_ = ignore_case_ || flags.find('i') != std::string_view::npos;
      dot_all_ = dot_all_ || flags.find('s') != std::string_view::npos;
      at_ = end + 1;
    }
  }

  // a|b|c: split to the first, jump over the rest.
  void alternatives(int depth) {
    if (depth > kMaxDepth) return fail("groups nested too deeply");
    std::vector<uint32_t> jumps;
    for (;;) {
      const uint32_t split = emit({Op::kSplit, {}, here() + 1, 0});
      sequence(depth);
      if (!more() || peek() != '|') {
        // The last alternative: its split has nowhere else to go.
        if (!failed()) pattern_.program_[split] = {Op::kJump, {}, split + 1, 0};
        break;
      }
      ++at_;
      jumps.push_back(emit({Op::kJump}));
      if (!failed()) pattern_.program_[split].y = here();
    }
    if (failed()) return;
    for (const uint32_t jump : jumps) pattern_.program_[jump].x = here();
  }

  void sequence(int depth) {
    while (more() && peek() != '|' && peek() != ')') repeated(depth);
  }

  struct Repeat {
    uint32_t least = 1;
    uint32_t most = 1;  // UINT32_MAX: no bound
    bool lazy = false;
  };

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    const size_t begin = at_;
    while (at_ < text_.size() && peek() >= '0' && peek() <= '9' && value <= kMaxRepeat) {
      value = value * 10 + static_cast<uint32_t>(text_[at_++] - '0');
    }
    return at_ == begin ? std::nullopt : std::optional(value);
  }

  Repeat read_repeat() {
    Repeat repeat;
    if (!more()) return repeat;
    const size_t begin = at_;
    if (take("*")) {
      repeat = {0, UINT32_MAX};
    } else if (take("+")) {
      repeat = {1, UINT32_MAX};
    } else if (take("?")) {
      repeat = {0, 1};
    } else if (take("{")) {
      const bool empty = text_.substr(at_, 1) == "}";
      const auto least = number();
      const bool comma = take(",");
      const auto most = comma ? number() : least;
      if (empty || !take("}")) {  // a brace that stands for itself, as in Python
        at_ = begin;
        return repeat;
      }
      repeat.least = least.value_or(0);
      repeat.most = most ? *most : comma ? UINT32_MAX : repeat.least;
      if (repeat.least > kMaxRepeat || (repeat.most != UINT32_MAX && repeat.most > kMaxRepeat) ||
          repeat.most < repeat.least) {
        fail("a repetition of more than 1000, or whose bounds are the wrong way round,");
      }
    } else {
      return repeat;
    }
    repeat.lazy = take("?");
    if (more() && (peek() == '+' || peek() == '*')) fail("a possessive or doubled repetition");
    return repeat;
  }

  // Where the atom that starts at at_ ends; what it is made of is thrown away.
  void repeated(int depth) {
    const size_t begin = at_;
    const size_t program = pattern_.program_.size();
    atom(depth);
    if (failed()) return;
    const size_t end = at_;
    const bool zero_width = asserted_;
    const Repeat repeat = read_repeat();
    const size_t after = at_;
    if (failed() || (repeat.least == 1 && repeat.most == 1)) return;
    if (zero_width) return fail("nothing to repeat");
    pattern_.program_.resize(program);
    const auto copy = [&] {
      at_ = begin;
      atom(depth);
      if (!failed()) at_ = end;
    };
    const auto choice = [&](uint32_t split, uint32_t inside, uint32_t outside) {
      if (failed()) return;
      pattern_.program_[split].x = repeat.lazy ? outside : inside;
      pattern_.program_[split].y = repeat.lazy ? inside : outside;
    };
    for (uint32_t i = 0; i < repeat.least && !failed(); ++i) copy();
    if (repeat.most == UINT32_MAX) {
      const uint32_t split = emit({Op::kSplit});
      copy();
      emit({Op::kJump, {}, split, 0});
      choice(split, split + 1, here());
    } else {
      std::vector<uint32_t> splits;
      for (uint32_t i = repeat.least; i < repeat.most && !failed(); ++i) {
        splits.push_back(emit({Op::kSplit}));
        copy();
      }
      for (const uint32_t split : splits) choice(split, split + 1, here());
    }
    if (!failed()) at_ = after;
  }

  void group(int depth) {
    if (take("?")) {
      if (take("P<")) {
        const size_t close = text_.find('>', at_);
        if (close == std::string_view::npos) return fail("a group name without end");
        at_ = close + 1;
      } else if (!take(":")) {
        return fail("(?...: look-around, conditions and flags inside a pattern are not supported,");
      }
    }
    alternatives(depth + 1);
    if (!failed() && !take(")")) fail("a ( without its )");
  }

  void atom(int depth) {
    asserted_ = false;
    const char c = text_[at_++];
    switch (c) {
      case '(':
        group(depth);
        asserted_ = false;
        return;
      case '[':
        return char_class();
      case '.': {
        Bytes none;
        if (!dot_all_) none.set('\n');
        return emit_characters(none, true);
      }
      case '^':
        return assertion(Pattern::Assertion::kBegin);
      case '$':
        return assertion(Pattern::Assertion::kEnd);
      case '*':
      case '+':
      case '?':
        --at_;
        return fail("nothing to repeat");
      case '\\':
        return escape();
      default:
        return literal(c);
    }
  }

  // A whole UTF-8 character is one atom, so that a repetition takes all of it.
  void literal(char c) {
    Bytes bytes;
    add_char(bytes, c);
    emit_bytes(bytes);
    if (static_cast<unsigned char>(c) < 0xC0) return;
    while (more() && (static_cast<unsigned char>(peek()) & 0xC0U) == 0x80) {
      Bytes next;
      next.set(static_cast<unsigned char>(text_[at_++]));
      emit_bytes(next);
    }
  }

  void add_char(Bytes& bytes, char c) const {
    bytes.set(static_cast<unsigned char>(c));
    if (!ignore_case_) return;
    if (c >= 'a' && c <= 'z') bytes.set(static_cast<unsigned char>(c - 'a' + 'A'));
    if (c >= 'A' && c <= 'Z') bytes.set(static_cast<unsigned char>(c - 'A' + 'a'));
  }

  void assertion(Pattern::Assertion what) {
    emit({Op::kAssert, what});
    asserted_ = true;
  }

  // The ASCII half of \d \w \s; false for other letters.
  static bool shorthand(char c, Bytes& bytes) {
    switch (c) {
      case 'd':
        for (int i = '0'; i <= '9'; ++i) bytes.set(static_cast<size_t>(i));
        return true;
      case 'w':
        for (int i = 0; i < 128; ++i)
          bytes.set(static_cast<size_t>(i), is_word(static_cast<char>(i)));
        return true;
      case 's':
        for (const char i : std::string_view(" \t\n\r\f\v"))
          bytes.set(static_cast<unsigned char>(i));
        return true;
      default:
        return false;
    }
  }

  std::optional<char> plain_escape(char c) {
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'x': {
        int value = 0;
        for (int i = 0; i < 2; ++i) {
          const char digit = at_ < text_.size() ? text_[at_] : 'g';
          const std::string_view digits = "0123456789abcdef";
          const size_t found = digits.find(static_cast<char>(digit | 0x20));
          if (found == std::string_view::npos) return std::nullopt;
          value = value * 16 + static_cast<int>(found);
          ++at_;
        }
        return value < 128 ? std::optional(static_cast<char>(value)) : std::nullopt;
      }
      default:
        return is_word(c) || static_cast<unsigned char>(c) >= 128 ? std::nullopt : std::optional(c);
    }
  }

  void escape() {
    if (at_ == text_.size()) return fail("a \\ at the end");
    const char c = text_[at_++];
    Bytes bytes;
    if (shorthand(c, bytes)) return emit_characters(bytes, false);
    if (c >= 'A' && c <= 'Z' && shorthand(static_cast<char>(c | 0x20), bytes)) {
      return emit_characters(bytes, true);
    }
    switch (c) {
      case 'b':
        return assertion(Pattern::Assertion::kWord);
      case 'B':
        return assertion(Pattern::Assertion::kNotWord);
      case 'A':
        return assertion(Pattern::Assertion::kBegin);
      case 'Z':
        return assertion(Pattern::Assertion::kEnd);
      default:
        break;
    }
    const auto plain = plain_escape(c);
    if (!plain) return fail(std::string("\\") + c + " is not supported; it stands");
    literal(*plain);
  }

  void char_class() {
    const bool negated = take("^");
    Bytes bytes;
    bool first = true;
    for (; more() && (first || peek() != ']'); first = false) {
      const auto low = class_item(bytes);
      if (failed()) return;
      if (!low || text_.substr(at_, 1) != "-" || text_.substr(at_ + 1, 1) == "]") {
        if (low) add_char(bytes, *low);
        continue;
      }
      ++at_;
      if (!more()) break;
      Bytes unused;
      const auto high = class_item(unused);
      if (failed()) return;
      if (!high || *high < *low) return fail("a bad range in a character class");
      for (int c = static_cast<unsigned char>(*low); c <= *high; ++c)
        add_char(bytes, static_cast<char>(c));
    }
    if (!take("]")) return fail("a [ without its ]");
    emit_characters(bytes, negated);
  }

  // One character, or nothing when it was a shorthand, which is added.
  std::optional<char> class_item(Bytes& bytes) {
    const char c = text_[at_++];
    if (static_cast<unsigned char>(c) >= 128) {
      fail("a character class with characters outside ASCII");
      return std::nullopt;
    }
    if (c != '\\') return c;
    if (at_ == text_.size()) {
      fail("a \\ at the end");
      return std::nullopt;
    }
    const char escaped = text_[at_++];
    if (shorthand(escaped, bytes)) return std::nullopt;
    if (escaped == 'b') return '\b';
    const auto plain = plain_escape(escaped);
    if (!plain)
      fail(std::string("\\") + escaped + " is not supported in a character class; it stands");
    return plain;
  }

  // One character of the ASCII set, or, negated, any other one: then it may be of several bytes.
  void emit_characters(const Bytes& ascii, bool negated) {
    if (!negated) return emit_bytes(ascii);
    Bytes bytes;
    for (size_t c = 0; c < 128; ++c) bytes.set(c, !ascii.test(c));
    // A stray continuation byte counts as a character, so that broken UTF-8 is matched too.
    for (size_t c = 0x80; c < 0xC0; ++c) bytes.set(c);
    std::vector<uint32_t> jumps;
    const auto longer = [&](int low, int high, int tail) {
      const uint32_t split = emit({Op::kSplit});
      emit_range(low, high);
      for (int i = 0; i < tail; ++i) emit_range(0x80, 0xBF);
      jumps.push_back(emit({Op::kJump}));
      if (!failed()) pattern_.program_[split] = {Op::kSplit, {}, split + 1, here()};
    };
    longer(0xC0, 0xDF, 1);
    longer(0xE0, 0xEF, 2);
    longer(0xF0, 0xFF, 3);
    emit_bytes(bytes);
    if (failed()) return;
    for (const uint32_t jump : jumps) pattern_.program_[jump].x = here();
  }

  // The bytes a match may begin with; all of them when it may begin with an assertion's leave or be
  // empty, because then nothing can be skipped safely.
  void find_first() {
    std::vector<bool> seen(pattern_.program_.size());
    std::vector<uint32_t> open{0};
    while (!open.empty()) {
      const uint32_t at = open.back();
      open.pop_back();
      if (seen[at]) continue;
      seen[at] = true;
      const Instruction& each = pattern_.program_[at];
      switch (each.op) {
        case Op::kByte:
          pattern_.first_ |= pattern_.classes_[each.x];
          break;
        case Op::kSplit:
          open.push_back(each.x);
          open.push_back(each.y);
          break;
        case Op::kJump:
          open.push_back(each.x);
          break;
        case Op::kAssert:
          open.push_back(at + 1);  // an assertion takes no byte
          break;
        case Op::kMatch:
          break;  // empty matches do not count
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string error_;
  bool ignore_case_ = false;
  bool dot_all_ = false;
  bool asserted_ = false;  // the last atom takes no byte
  Pattern pattern_;
};

// The threads of one step, in order of preference, at most one per instruction.
struct Pattern::Machine {
  struct Thread {
    uint32_t at;
    size_t begin;
  };
  Machine(const Pattern& of, std::string_view in)
      : pattern(of), text(in), mark(of.program_.size(), 0) {}

  bool holds(Assertion assertion, size_t position) const {
    const bool before = position > 0 && is_word(text[position - 1]);
    const bool after = position < text.size() && is_word(text[position]);
    switch (assertion) {
      case Assertion::kBegin:
        return position == 0;
      case Assertion::kEnd:
        return position == text.size();
      case Assertion::kWord:
        return before != after;
      default:
        return before == after;
    }
  }

  // Follows everything that takes no byte. An own stack: programs are as deep as they are long.
  void add(std::vector<Thread>& list, uint32_t at, size_t begin, size_t position) {
    stack.push_back(at);
    while (!stack.empty()) {
      const uint32_t next = stack.back();
      stack.pop_back();
      if (mark[next] == generation) continue;
      mark[next] = generation;
      const Instruction& each = pattern.program_[next];
      switch (each.op) {
        case Op::kJump:
          stack.push_back(each.x);
          break;
        case Op::kSplit:
          stack.push_back(each.y);
          stack.push_back(each.x);
          break;
        case Op::kAssert:
          if (holds(each.assertion, position)) stack.push_back(next + 1);
          break;
        default:
          list.push_back({next, begin});
      }
    }
  }

  Match search(size_t from) {
    Match best;
    std::vector<Thread> now, next;
    ++generation;
    for (size_t position = from; position <= text.size(); ++position) {
      if (now.empty()) {
        if (best.found()) break;
        while (position < text.size() &&
               !pattern.first_.test(static_cast<unsigned char>(text[position]))) {
          ++position;
        }
        if (position == text.size()) break;
      }
      // A new start comes after all threads that began earlier.
      if (!best.found()) add(now, 0, position, position);
      ++generation;
      for (const Thread& thread : now) {
        const Instruction& each = pattern.program_[thread.at];
        if (each.op == Op::kMatch) {
          if (position == thread.begin) continue;  // empty
          best = {thread.begin, position};
          break;  // those behind are less wanted
        }
        if (position < text.size() &&
            pattern.classes_[each.x].test(static_cast<unsigned char>(text[position]))) {
          add(next, thread.at + 1, thread.begin, position + 1);
        }
      }
      now.swap(next);
      next.clear();
    }
    return best;
  }

  const Pattern& pattern;
  std::string_view text;
  std::vector<uint64_t> mark;
  std::vector<uint32_t> stack;
  uint64_t generation = 0;
};

Result<Pattern> Pattern::compile(std::string_view text) { return PatternCompiler(text).run(); }

Pattern::Match Pattern::search(std::string_view text, size_t from) const {
  return Machine(*this, text).search(from);
}

bool Pattern::replace_all(std::string_view text, std::string_view with, std::string& out) const {
  const auto starts = [this](char c) { return first_.test(static_cast<unsigned char>(c)); };
  if (std::none_of(text.begin(), text.end(), starts)) return false;
  Machine machine(*this, text);
  Match match = machine.search(0);
  if (!match.found()) return false;
  out.clear();
  size_t copied = 0;
  for (; match.found(); match = machine.search(match.end)) {
    out.append(text.substr(copied, match.begin - copied)).append(with);
    copied = match.end;
  }
  out.append(text.substr(copied));
  return true;
}

}  // namespace nuages::mask
