#include "mask/pattern.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>

namespace nuages::mask {
namespace {

std::string replaced(std::string_view pattern, std::string_view text) {
  const auto compiled = Pattern::compile(pattern);
  if (!compiled.ok()) return "error: " + compiled.error().message;
  std::string out;
  return compiled->replace_all(text, "#", out) ? out : std::string(text);
}

TEST(Pattern, ReplacesEveryMatch) {
  EXPECT_EQ(replaced("a", "banana"), "b#n#n#");
  EXPECT_EQ(replaced(R"(ACME-\d{6}\b)", "ACME-123456, ACME-1234567"), "#, ACME-1234567");
  EXPECT_EQ(replaced(R"(\(\d{3}\) \d{3}-\d{4})", "call (555) 123-4567 now"), "call # now");
  EXPECT_EQ(replaced(R"(\+\d{1,3}[ -]?\d{2,4}([ -]?\d{2,4})+)", "+49 30 1234 5678."), "#.");
  EXPECT_EQ(replaced("x*", "axxb"), "a#b") << "empty matches are none";
  EXPECT_EQ(replaced("^ab|cd$", "abcdab cd"), "#cdab #");
}

TEST(Pattern, TakesTheLeftmostAndPreferred) {
  EXPECT_EQ(replaced("a|ab", "ab"), "#b");
  EXPECT_EQ(replaced("ab|a", "ab"), "#");
  EXPECT_EQ(replaced("a+?", "aaa"), "###");
  EXPECT_EQ(replaced("<.*>", "<a><b>"), "#");
  EXPECT_EQ(replaced("<.*?>", "<a><b>"), "##");
  EXPECT_EQ(replaced("(?:ab){2,}", "ababab ab"), "# ab");
  EXPECT_EQ(replaced("(a|b){2}c?", "abcba"), "##");
}

TEST(Pattern, KnowsClassesFlagsAndGroups) {
  EXPECT_EQ(replaced("(?i)mrn[: ]*[0-9a-f]+", "MRN: 12aF!"), "#!");
  EXPECT_EQ(replaced(R"([^\s,;]+@corp)", "to ann@corp, b@corp"), "to #, #");
  EXPECT_EQ(replaced(R"((?P<id>p-\d+))", "p-12 p-x"), "# p-x");
  EXPECT_EQ(replaced(R"([]a-c-]+)", "x]a-dx"), "x#dx");
  EXPECT_EQ(replaced(R"(\x41\.\\)", R"(A.\)"), "#");
  EXPECT_EQ(replaced("a{,2}b", "aaab b"), "a# #");
  EXPECT_EQ(replaced("a{x}", "a{x}"), "#");
  EXPECT_EQ(replaced("a.b", "a\nb"), "a\nb");
  EXPECT_EQ(replaced("(?s)a.b", "a\nb"), "#");
}

TEST(Pattern, TakesWholeCharacters) {
  EXPECT_EQ(replaced("M.ller", "Müller"), "#");
  EXPECT_EQ(replaced("[^a]", "ü"), "#");
  EXPECT_EQ(replaced("ü+", "üüx"), "#x");
  EXPECT_EQ(replaced(R"(\W)", "é€😀a"), "###a");
}

TEST(Pattern, SaysWhatItCannotDo) {
  for (const auto& [pattern, part] : std::vector<std::pair<std::string, std::string>>{
           {R"((a)\1)", "\\1 is not supported"},
           {"(?=a)", "look-around"},
           {"(?<!a)b", "look-around"},
           {"a++", "possessive"},
           {"(a", "without its )"},
           {"a)", "unmatched )"},
           {"[a", "without its ]"},
           {"*a", "nothing to repeat"},
           {R"(\b+)", "nothing to repeat"},
           {"a{3,2}", "wrong way round"},
           {"a{2000}", "more than 1000"},
           {"((a{1000}){1000})", "repeats too much"},
           {"[ü]", "outside ASCII"},
           {"[z-a]", "bad range"},
           {"a\\", "\\ at the end"},
           {R"(\q)", "\\q is not supported"},
           {std::string(2000, 'a'), "longer than 1000"},
           {std::string(200, '(') + std::string(200, ')'), "nested too deeply"}}) {
    EXPECT_NE(replaced(pattern, "").find(part), std::string::npos)
        << pattern.substr(0, 20) << ": " << replaced(pattern, "");
  }
}

// Against std::regex on what both know, leftmost by preference as in ECMAScript.
TEST(Pattern, EqualsABacktrackingEngineOnSmallPatterns) {
  std::mt19937 random(11);
  const std::vector<std::string> atoms = {"a",     "b",        ".",   "[ab]",   "[^a]",
                                          "(a|b)", "(?:ab|a)", "\\b", "(b|ba)", "c"};
  const std::vector<std::string> repeats = {"",    "",      "",   "*",  "+", "?",
                                            "{2}", "{1,2}", "*?", "+?", "??"};
  for (int round = 0; round < 4000; ++round) {
    std::string pattern;
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      const std::string& atom = atoms[random() % atoms.size()];
      pattern += atom + (atom == "\\b" ? "" : repeats[random() % repeats.size()]);
      if (random() % 6 == 0 && n > 1) pattern += "|";
    }
    std::string text;
    for (size_t n = random() % 8; n > 0; --n) text += "abc "[random() % 4];
    const auto compiled = Pattern::compile(pattern);
    ASSERT_TRUE(compiled.ok()) << pattern << ": " << compiled.error().message;
    const Pattern::Match match = compiled->search(text);
    // The oracle's first match that is not empty and begins where ours may.
    std::smatch found;
    const std::regex oracle(pattern);
    if (std::regex_search(text, found, oracle) && found.length() > 0) {
      const auto begin = static_cast<size_t>(found.position());
      ASSERT_EQ(match.begin, begin) << pattern << " in " << text;
      ASSERT_EQ(match.end, begin + static_cast<size_t>(found.length()))
          << pattern << " in " << text;
    }
  }
}

TEST(Pattern, IsLinear) {
  // Exponential or quadratic for a backtracking matcher; a hundred thousand bytes must finish at
  // all.
  const std::string text(100'000, 'a');
  EXPECT_EQ(replaced("(a*)*b", text), text);
  EXPECT_EQ(replaced("(a|a|aa)+$b", text), text);
  EXPECT_EQ(replaced("(?:a?){30}a{30}", text).find('a'), std::string::npos);
  EXPECT_EQ(replaced(".*.*.*=x", text), text);
}

}  // namespace
}  // namespace nuages::mask
