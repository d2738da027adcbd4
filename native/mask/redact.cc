#include "mask/redact.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace nuages::mask {
namespace {

constexpr std::string_view kEmailMask = "***@***.**";
constexpr std::string_view kPhoneMask = "***-***-****";
constexpr std::string_view kSsnMask = "***-**-****";
constexpr std::string_view kCardMask = "****";
constexpr std::string_view kAddressMask = "*.*.*.*";
constexpr std::string_view kEncodedAt = "%40";  // '@' as URLs carry it
constexpr size_t kFewestDigits = 9;             // an SSN
constexpr size_t kFewestAddressDigits = 4;      // 1.1.1.1

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
bool enough_digits(std::string_view text, size_t fewest) {
  constexpr size_t kBlock = 16;
  size_t count = 0;
  size_t i = 0;
  for (; i + kBlock <= text.size() && count < fewest; i += kBlock) {
    uint8_t block = 0;
    for (size_t j = 0; j < kBlock; ++j) {
      block += static_cast<uint8_t>(static_cast<uint8_t>(text[i + j] - '0') < 10);
    }
    count += block;
  }
  for (; i < text.size() && count < fewest; ++i) count += is(text[i], kDigit) ? 1 : 0;
  return count >= fewest;
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
    numbers_ = (rules_.phone || rules_.ssn || rules_.card || rules_.address) &&
               enough_digits(in_, rules_.address ? kFewestAddressDigits : kFewestDigits);
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
        if (stop == 0 && rules_.card) {
          stop = card_end(i, end);
          with = kCardMask;
        }
        if (stop == 0 && rules_.address) {
          stop = address_end(i, end);
          with = kAddressMask;
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

  // The longest run of 13 to 19 digits from `i` that ends at a word's end and has a right checksum.
  size_t card_end(size_t i, size_t end) const {
    constexpr size_t kFewest = 13, kMost = 19;
    std::array<uint8_t, kMost> number{};
    std::array<size_t, kMost> ends{};
    size_t count = 0;
    for (; i < end && count < kMost && is(in_[i], kDigit); ++count) {
      number[count] = static_cast<uint8_t>(in_[i] - '0');
      ends[count] = ++i;
      if (i + 1 < end && (in_[i] == ' ' || in_[i] == '-') && is(in_[i + 1], kDigit)) ++i;
    }
    for (; count >= kFewest; --count) {
      if (word_ends(ends[count - 1], end) && luhn(number, count)) return ends[count - 1];
    }
    return 0;
  }

  template <size_t kSize>
  static bool luhn(const std::array<uint8_t, kSize>& number, size_t count) {
    unsigned sum = 0;
    for (size_t i = 0; i < count; ++i) {
      unsigned digit = number[count - 1 - i];
      if (i % 2 == 1) digit = digit > 4 ? digit * 2 - 9 : digit * 2;
      sum += digit;
    }
    return sum != 0 && sum % 10 == 0;
  }

  // Four numbers of 0 to 255; not part of a longer dotted number such as 1.2.3.4.5.
  size_t address_end(size_t i, size_t end) const {
    if (i > 1 && in_[i - 1] == '.' && is(in_[i - 2], kDigit)) return 0;
    for (int part = 0; part < 4; ++part) {
      if (part > 0) {
        if (i >= end || in_[i] != '.') return 0;
        ++i;
      }
      unsigned value = 0;
      const size_t begin = i;
      while (i < end && i - begin < 3 && is(in_[i], kDigit)) {
        value = value * 10 + static_cast<unsigned>(in_[i++] - '0');
      }
      if (i == begin || value > 255) return 0;
    }
    if (!word_ends(i, end)) return 0;
    return i + 1 < end && in_[i] == '.' && is(in_[i + 1], kDigit) ? 0 : i;
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
  if (name == "guide") return Rules::guide();
  if (name == "gdpr" || name == "hipaa") return Rules::personal();
  return std::nullopt;
}

bool redact(const Rules& rules, std::string_view in, std::string& out) {
  return !surely_clean(in) && Redactor(rules, in, out).run();
}

}  // namespace nuages::mask
