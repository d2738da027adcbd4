#include "mask/redact.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace nuages::mask {
namespace {

constexpr std::string_view kEmailMask = "***@***.**";
constexpr std::string_view kPhoneMask = "***-***-****";
constexpr std::string_view kSsnMask = "***-**-****";
constexpr std::string_view kEncodedAt = "%40";  // '@' as URLs carry it
constexpr size_t kFewestDigits = 9;             // an SSN

enum : uint8_t { kDigit = 1, kAlpha = 2, kWord = 4, kLocal = 8, kDomain = 16 };

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = kDigit | kWord | kLocal | kDomain;
  for (int c = 'a'; c <= 'z'; ++c) {
    table[c] = kAlpha | kWord | kLocal | kDomain;
    table[c - 'a' + 'A'] = table[c];
  }
  table['_'] = kWord | kLocal;
  table['.'] = kLocal | kDomain;
  table['-'] = kLocal | kDomain;
  table['%'] = kLocal;
  table['+'] = kLocal;
  return table;
}
constexpr std::array<uint8_t, 256> kClasses = make_classes();

bool is(char c, uint8_t classes) { return (kClasses[static_cast<uint8_t>(c)] & classes) != 0; }

// Sixteen bytes at a time so that the compiler makes vector code of the inner loop.
bool enough_digits(std::string_view text) {
  constexpr size_t kBlock = 16;
  size_t count = 0;
  size_t i = 0;
  for (; i + kBlock <= text.size() && count < kFewestDigits; i += kBlock) {
    uint8_t block = 0;
    for (size_t j = 0; j < kBlock; ++j) {
      block += static_cast<uint8_t>(static_cast<uint8_t>(text[i + j] - '0') < 10);
    }
    count += block;
  }
  for (; i < text.size() && count < kFewestDigits; ++i) count += is(text[i], kDigit) ? 1 : 0;
  return count >= kFewestDigits;
}

using Block = uint8_t __attribute__((vector_size(16)));
using Halves = uint64_t __attribute__((vector_size(16)));

// True when a short text can hold nothing that a rule matches: the usual case, decided without a
// branch per byte. Bytes seen twice only make the answer more cautious.
bool surely_clean(std::string_view text) {
  constexpr size_t kFewestBytes = 6;  // a@b.cd
  constexpr size_t kMostBytes = 64;
  if (text.size() < kFewestBytes) return true;
  if (text.size() > kMostBytes) return false;
  Block signs{};
  Block numbers{};
  const auto look = [&](const Block& block) {
    const Block digits = block - uint8_t{'0'};
    signs |= reinterpret_cast<Block>(block == uint8_t{'@'}) |
             reinterpret_cast<Block>(block == uint8_t{'%'});
    numbers -= reinterpret_cast<Block>(digits < uint8_t{10});  // true is 255
  };
  Block block{};
  const char* data = text.data();
  if (text.size() >= sizeof block) {
    for (size_t i = 0; i + sizeof block <= text.size(); i += sizeof block) {
      std::memcpy(&block, data + i, sizeof block);
      look(block);
    }
    std::memcpy(&block, data + text.size() - sizeof block, sizeof block);
  } else {
    uint64_t ends[2] = {};
    if (text.size() >= sizeof ends[0]) {
      std::memcpy(&ends[0], data, 8);
      std::memcpy(&ends[1], data + text.size() - 8, 8);
    } else {
      std::memcpy(&ends[0], data, 4);
      std::memcpy(&ends[1], data + text.size() - 4, 4);
    }
    std::memcpy(&block, ends, sizeof block);
  }
  look(block);
  const auto sign_halves = reinterpret_cast<Halves>(signs);
  const auto number_halves = reinterpret_cast<Halves>(numbers);
  // At most five in each byte, so their sum fits the highest one.
  const uint64_t count = (number_halves[0] + number_halves[1]) * 0x0101'0101'0101'0101ULL >> 56;
  return (sign_halves[0] | sign_halves[1]) == 0 && count < kFewestDigits;
}

class Redactor {
 public:
  Redactor(const Rules& rules, std::string_view in, std::string& out)
      : rules_(rules), in_(in), out_(out) {}

  bool run() {
    numbers_ = (rules_.phone || rules_.ssn) && enough_digits(in_);
    // Between two masked addresses numbers see a '*' on either side, never a letter: that is why
    // masking the gaps one by one equals masking addresses first and numbers after.
    size_t gap = 0;
    for (size_t at = rules_.email ? in_.find('@') : std::string_view::npos;
         at != std::string_view::npos;) {
      const size_t begin = local_begin(at, gap);
      const size_t end = begin < at ? domain_end(at + 1, in_.size()) : 0;
      if (end != 0) {
        mask_gap(gap, begin);
        replace(begin, end, kEmailMask);
        gap = end;
      }
      at = in_.find('@', end != 0 ? end : at + 1);
    }
    mask_gap(gap, in_.size());
    if (changed_) out_.append(in_.substr(copied_));
    return changed_;
  }

 private:
  size_t local_begin(size_t at, size_t floor) const {
    while (at > floor && is(in_[at - 1], kLocal)) --at;
    return at;
  }

  // Where the longest [a-zA-Z0-9.-]+\.[a-zA-Z]{2,} from `first` ends; 0 when there is none.
  // A domain holds neither '@' nor '%', so the runs looked at by different calls do not overlap.
  size_t domain_end(size_t first, size_t limit) const {
    size_t end = first;
    while (end < limit && is(in_[end], kDomain)) ++end;
    for (size_t dot = end; dot-- > first + 1;) {
      if (in_[dot] != '.' || dot + 2 >= end || !is(in_[dot + 1], kAlpha) ||
          !is(in_[dot + 2], kAlpha)) {
        continue;
      }
      size_t stop = dot + 3;
      while (stop < end && is(in_[stop], kAlpha)) ++stop;
      return stop;
    }
    return 0;
  }

  // What lies between addresses: first addresses of query strings, then numbers.
  void mask_gap(size_t begin, size_t end) {
    if (rules_.email) {
      const std::string_view head = in_.substr(0, end);
      for (size_t at = head.find(kEncodedAt, begin); at != std::string_view::npos;) {
        // The domain first: the local part may reach back over other %40, the domain cannot.
        const size_t after = at + kEncodedAt.size();
        const size_t stop = at > begin && is(in_[at - 1], kLocal) ? domain_end(after, end) : 0;
        if (stop != 0) {
          const size_t from = local_begin(at, begin);
          mask_numbers(begin, from);
          replace(from, stop, kEmailMask);
          begin = stop;
        }
        at = head.find(kEncodedAt, stop != 0 ? stop : after);
      }
    }
    mask_numbers(begin, end);
  }

  void mask_numbers(size_t begin, size_t end) {
    if (!numbers_) return;
    for (size_t i = begin; i < end;) {
      if (!is(in_[i], kWord)) {
        ++i;
        continue;
      }
      // A match starts where a word starts. Phone and SSN cannot overlap, so their order is free.
      size_t stop = 0;
      if (is(in_[i], kDigit)) {
        if (rules_.phone) stop = phone_end(i, end);
        std::string_view with = kPhoneMask;
        if (stop == 0 && rules_.ssn) {
          stop = ssn_end(i, end);
          with = kSsnMask;
        }
        if (stop != 0) replace(i, stop, with);
      }
      if (stop != 0) {
        i = stop;
      } else {
        while (i < end && is(in_[i], kWord)) ++i;
      }
    }
  }

  bool digits(size_t& i, size_t count, size_t end) const {
    if (end - i < count) return false;
    for (size_t stop = i + count; i < stop; ++i) {
      if (!is(in_[i], kDigit)) return false;
    }
    return true;
  }

  bool word_ends(size_t i, size_t end) const { return i == end || !is(in_[i], kWord); }

  size_t phone_end(size_t i, size_t end) const {
    int separators = 0;
    int hyphens = 0;
    const auto separator = [&] {
      if (i < end && (in_[i] == '-' || in_[i] == '.')) {
        ++separators;
        hyphens += in_[i] == '-' ? 1 : 0;
        ++i;
      }
    };
    if (!digits(i, 3, end)) return 0;
    separator();
    if (!digits(i, 3, end)) return 0;
    separator();
    if (!digits(i, 4, end) || !word_ends(i, end)) return 0;
    return rules_.bare_phone || hyphens > 0 || separators == 2 ? i : 0;
  }

  size_t ssn_end(size_t i, size_t end) const {
    const auto hyphen = [&] {
      const bool here = i < end && in_[i] == '-';
      i += here ? 1 : 0;
      return here;
    };
    return digits(i, 3, end) && hyphen() && digits(i, 2, end) && hyphen() && digits(i, 4, end) &&
                   word_ends(i, end)
               ? i
               : 0;
  }

  void replace(size_t begin, size_t end, std::string_view with) {
    if (!changed_) {
      out_.clear();
      out_.reserve(in_.size() + with.size());
      changed_ = true;
    }
    out_.append(in_.substr(copied_, begin - copied_)).append(with);
    copied_ = end;
  }

  const Rules& rules_;
  const std::string_view in_;
  std::string& out_;
  size_t copied_ = 0;
  bool numbers_ = false;
  bool changed_ = false;
};

}  // namespace

std::optional<Rules> rules_from_profile(std::string_view name) {
  if (name == "off") return Rules::none();
  if (name == "default") return Rules::defaults();
  if (name == "guide" || name == "gdpr" || name == "hipaa") return Rules::guide();
  return std::nullopt;
}

bool redact(const Rules& rules, std::string_view in, std::string& out) {
  return !surely_clean(in) && Redactor(rules, in, out).run();
}

}  // namespace nuages::mask
