#include "mask/redact.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <regex>

#include "base/golden.h"

namespace nuages::mask {
namespace {

// Debug and sanitizer builds take twenty times as long.
#ifdef __OPTIMIZE__
constexpr size_t kShorter = 0;
constexpr int kRounds = 20'000;
#else
constexpr size_t kShorter = 2;
constexpr int kRounds = 2'000;
#endif

std::string masked(const Rules& rules, std::string_view in) {
  std::string out = "stale";
  if (redact(rules, in, out)) return out;
  EXPECT_EQ(out, "stale") << "no match must leave the output alone";
  return std::string(in);
}

// The requirement's own words: three patterns, one after the other.
class Oracle {
 public:
  explicit Oracle(const Rules& rules) : rules_(rules) {}
  std::string operator()(const std::string& in) const {
    std::string text = in;
    if (rules_.email) {
      text = std::regex_replace(text, email_, "***@***.**");
      text = std::regex_replace(text, encoded_, "***@***.**");
    }
    if (rules_.phone) {
      text = std::regex_replace(text, rules_.bare_phone ? phone_ : separated_, "***-***-****");
    }
    if (rules_.ssn) text = std::regex_replace(text, ssn_, "***-**-****");
    return text;
  }

 private:
  Rules rules_;
  std::regex email_{R"([a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,})", std::regex::optimize};
  // '%' is also a local character: lazy, or the run would join two addresses.
  std::regex encoded_{R"([a-zA-Z0-9._%+-]+?%40[a-zA-Z0-9.-]+\.[a-zA-Z]{2,})", std::regex::optimize};
  std::regex phone_{R"(\b\d{3}[-.]?\d{3}[-.]?\d{4}\b)", std::regex::optimize};
  std::regex separated_{R"(\b\d{3}(-\d{3}[-.]?|\.\d{3}[-.]|\d{3}-)\d{4}\b)", std::regex::optimize};
  std::regex ssn_{R"(\b\d{3}-\d{2}-\d{4}\b)", std::regex::optimize};
};

// Every string of `length` pieces.
template <typename F>
void each_string(const std::vector<std::string>& pieces, size_t length, F f) {
  std::vector<size_t> index(length, 0);
  for (;;) {
    std::string text;
    for (size_t i : index) text += pieces[i];
    f(text);
    size_t place = 0;
    while (place < length && ++index[place] == pieces.size()) index[place++] = 0;
    if (place == length) return;
  }
}

TEST(Redact, MatchesTheGoldenFiles) {
  testing::run_golden_suite("mask", [](const std::string& input) {
    return "default: " + masked(Rules::defaults(), input) +
           "\nguide:   " + masked(Rules::guide(), input);
  });
}

TEST(Redact, EqualsThePatternsOnEverySmallEmailString) {
  const Oracle oracle(Rules::guide());
  for (size_t length = 1; length <= 7 - kShorter; ++length) {
    each_string({"a", ".", "@", "-", "1", " "}, length, [&](const std::string& text) {
      ASSERT_EQ(masked(Rules::guide(), text), oracle(text)) << "in: " << text;
    });
  }
}

TEST(Redact, EqualsThePatternsOnEverySmallNumberString) {
  const Oracle guide(Rules::guide());
  const Oracle defaults(Rules::defaults());
  const std::vector<std::string> pieces = {"1",       "12", "123", "1234", "123456",
                                           "1234567", "-",  ".",   "x",    " "};
  for (size_t length = 1; length <= 5 - kShorter; ++length) {
    each_string(pieces, length, [&](const std::string& text) {
      ASSERT_EQ(masked(Rules::guide(), text), guide(text)) << "in: " << text;
      if (length >= 5) return;  // the second oracle on the longest would double the time
      ASSERT_EQ(masked(Rules::defaults(), text), defaults(text)) << "in: " << text;
    });
  }
}

TEST(Redact, EqualsThePatternsOnRandomMixtures) {
  const std::vector<std::string> pieces = {
      "123", "45", "6789", "555", "12", "1", "-",  "-",      ".",  "@",   "a", "bc", "x.co",
      "_",   " ",  "%",    "+",   "é",  "…", "\n", "a@b.cd", "0x", "%40", ",", "*",  "1234567890"};
  std::mt19937 random(20240607);
  const std::vector<Rules> all = {Rules::guide(),
                                  Rules::defaults(),
                                  {.email = true},
                                  {.phone = true},
                                  {.phone = true, .bare_phone = true},
                                  {.ssn = true},
                                  {.email = true, .ssn = true}};
  for (const Rules& rules : all) {
    const Oracle oracle(rules);
    for (int round = 0; round < kRounds; ++round) {
      std::string text;
      for (size_t n = random() % 14; n > 0; --n) text += pieces[random() % pieces.size()];
      ASSERT_EQ(masked(rules, text), oracle(text)) << "in: " << text;
    }
  }
}

// Short texts are decided by looking at whole blocks: nothing may hide at their edges.
TEST(Redact, FindsWhatStandsAnywhereInTextsOfEveryLength) {
  for (const auto& [secret, mask] : {std::pair{"a@b.cd", "***@***.**"},
                                     {"a%40b.cd", "***@***.**"},
                                     {"123-45-6789", "***-**-****"},
                                     {"555-123-4567", "***-***-****"}}) {
    for (size_t before = 0; before < 70; ++before) {
      for (size_t after = 0; after < 70; ++after) {
        const std::string head(before, ' ');
        const std::string tail(after, ' ');
        ASSERT_EQ(masked(Rules::defaults(), head + secret + tail), head + mask + tail);
      }
    }
  }
}

TEST(Redact, MaskingTwiceChangesNothingMore) {
  const std::string once = masked(Rules::guide(), "a@b.cd 555-123-4567 123-45-6789 5551234567");
  EXPECT_EQ(once, "***@***.** ***-***-**** ***-**-**** ***-***-****");
  EXPECT_EQ(masked(Rules::guide(), once), once);
}

TEST(Redact, LeavesIdsAlone) {
  std::mt19937_64 random(7);
  char text[128];
  for (int round = 0; round < kRounds; ++round) {
    // Decimal digits only: the worst ids for a number rule.
    const auto digits = [&](int width) {
      std::string out;
      while (width-- > 0) out += static_cast<char>('0' + random() % 10);
      return out;
    };
    snprintf(text, sizeof text, "00-%s-%s-01 %s-%s-%s-%s-%s", digits(32).c_str(),
             digits(16).c_str(), digits(8).c_str(), digits(4).c_str(), digits(4).c_str(),
             digits(4).c_str(), digits(12).c_str());
    ASSERT_EQ(masked(Rules::guide(), text), text);
  }
}

TEST(Redact, IsLinearOnHostileInput) {
  // Each of these makes a backtracking matcher quadratic. A million bytes must finish at all.
  const size_t size = 1'000'000;
  for (const char* piece : {"@", "a", ".", "a@", "@a.", "a.a", "1", "1-", "123-", "a%40", "%40",
                            "a%40.", "a@a.", "123.456"}) {
    std::string text;
    while (text.size() < size) text += piece;
    EXPECT_EQ(masked(Rules::guide(), text), text);
  }
  std::string addresses;
  while (addresses.size() < size) addresses += "a@b.cc1";
  EXPECT_NE(masked(Rules::guide(), addresses), addresses);
}

TEST(Rules, KnowTheirProfiles) {
  EXPECT_EQ(rules_from_profile("default"), Rules::defaults());
  EXPECT_EQ(rules_from_profile("gdpr"), Rules::personal());
  EXPECT_EQ(rules_from_profile("hipaa"), Rules::personal());
  EXPECT_EQ(rules_from_profile("guide"), Rules::guide());
  EXPECT_EQ(rules_from_profile("off"), Rules::none());
  EXPECT_FALSE(rules_from_profile("of"));
  EXPECT_FALSE(Rules::none().any());
  EXPECT_EQ(masked(Rules::none(), "a@b.cd 555-123-4567"), "a@b.cd 555-123-4567");
}

}  // namespace
}  // namespace nuages::mask
