// Takes personal data out of a text: e-mail addresses, phone numbers, US social security numbers.
//
//   std::string out;
//   if (mask::redact(mask::Rules::defaults(), "mail jane@example.com", out)) use(out);
//   // out == "mail ***@***.**"; false means that nothing was found and `out` was not touched
//
// The patterns, applied in this order as if one after the other (R14.01, R14.02):
//   e-mail  [a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}   -> ***@***.**
//   phone   \b\d{3}[-.]?\d{3}[-.]?\d{4}\b                    -> ***-***-****
//   SSN     \b\d{3}-\d{2}-\d{4}\b                            -> ***-**-****
// The GDPR and HIPAA profiles also take, where none of those matched,
//   card    13 to 19 digits, single spaces or hyphens between, that pass the Luhn check -> ****
//   IPv4    four numbers up to 255 between dots, alone        -> *.*.*.*
// Besides, an address of a query string, with %40 for its '@', is masked like any other.
// \d and \b are those of ASCII: beside a letter outside ASCII a number still counts as a whole word
// and is masked (Python's str patterns would leave it), digits of other scripts are not numbers.
//
// Without `bare_phone` a phone needs a hyphen or two separators: ten digits alone are usually an
// order number or a time, and 123.4567890 is a decimal number. The guide, GDPR and HIPAA profiles
// follow the pattern to the letter. Trace ids, span ids and UUIDs match no rule.
//
// Pure, any thread, linear in the text's length, no regular expression. A text without '@' and
// without nine digits costs one vectorised scan. Works on any bytes; valid UTF-8 stays valid.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nuages::mask {

struct Rules {
  bool email = false;
  bool phone = false;       // with separators
  bool bare_phone = false;  // also 5551234567 and 555.1234567; only with `phone`
  bool ssn = false;
  bool card = false;
  bool address = false;  // IPv4

  static constexpr Rules none() { return {}; }
  static constexpr Rules defaults() { return {true, true, false, true}; }
  static constexpr Rules guide() { return {true, true, true, true}; }
  static constexpr Rules personal() { return {true, true, true, true, true, true}; }

  constexpr bool any() const { return email || phone || ssn || card || address; }
  friend constexpr bool operator==(const Rules&, const Rules&) = default;
};

// A profile by its name: "off", "default", "guide", "gdpr", "hipaa"; anything else is nothing.
std::optional<Rules> rules_from_profile(std::string_view name);

// Writes the masked text to `out` (replacing what it held) and returns true when a rule matched;
// otherwise returns false and leaves `out` alone. `in` must not point into `out`.
bool redact(const Rules& rules, std::string_view in, std::string& out);

}  // namespace nuages::mask
