// The lexer against a second description of the same tokens, made of regular expressions, on every
// small string and on random longer ones.
#include "sql/lexer.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>
#include <string>
#include <vector>

#include "sql/token_list.h"

namespace nuages::sql {
namespace {

using K = TokenKind;

// Debug and sanitizer builds take twenty times as long.
#ifdef __OPTIMIZE__
constexpr size_t kLongest = 5;
constexpr int kRounds = 20'000;
#else
constexpr size_t kLongest = 3;
constexpr int kRounds = 2'000;
#endif

constexpr const char* kNumber =
    "(?:[0-9][0-9_]*\\.?[0-9_]*|\\.[0-9][0-9_]*)[eE][-+][0-9][A-Za-z0-9_]*|"
    "[0-9][A-Za-z0-9_]*(?:\\.[A-Za-z0-9_]*)?|\\.[0-9][A-Za-z0-9_]*";

class Oracle {
 public:
  explicit Oracle(Dialect dialect) {
    const bool pg = dialect == Dialect::kPostgreSql;
    const bool mysql = dialect == Dialect::kMySql;
    const bool sqlite = dialect == Dialect::kSqlite;
    const bool generic = dialect == Dialect::kGeneric;
    const std::string plain = "'(?:[^']|'')*(?:'|$)";
    const std::string escaped = R"('(?:[^'\\]|\\[^]|'')*(?:'|\\?$))";
    const std::string standard = mysql ? escaped : plain;
    // Tried in this order; the first that matches here wins.
    add(kSkip, "[ \\n]+");
    add(kSkip, mysql ? "--(?![A-Za-z0-9_'\"`?%:@(.])[^\\n]*" : "--[^\\n]*");
    if (mysql) add(kSkip, "#[^\\n]*");
    if (!pg) add(kSkip, "/\\*[^]*?(?:\\*/|$)");  // nesting is tested apart
    if (generic) add(K::kLiteral, R"([nN]?[qQ]'(?:\[[^]*?(?:\]'|$)|([^[])[^]*?(?:\1'|$)|$))");
    if (!mysql) add(K::kLiteral, "[eE]" + escaped);
    add(K::kLiteral, "[nNbBxX]" + standard);
    add(K::kWord, sqlite ? "[A-Za-z_][A-Za-z0-9_]*" : "[A-Za-z_][A-Za-z0-9_$]*");
    add(K::kLiteral, standard);
    if (mysql) {
      add(K::kLiteral, R"("(?:[^"\\]|\\[^]|"")*(?:"|\\?$))");
    } else {
      add(K::kQuoted, "\"(?:[^\"]|\"\")*\"(?!\")");
      add(K::kLiteral, "\"[^]*");
    }
    if (sqlite) {
      add(K::kQuoted, "\\[[^\\]]*\\]");
      add(K::kLiteral, "\\[[^]*");
    }
    add(K::kLiteral, kNumber);
    if (!sqlite) add(K::kLiteral, R"(\$((?:[A-Za-z_][A-Za-z0-9_]*)?)\$[^]*?(?:\$\1\$|$))");
    add(K::kPlaceholder, sqlite ? "\\$[A-Za-z0-9_]+" : "\\$[0-9][A-Za-z0-9_]*");
    add(K::kPlaceholder, "\\?[0-9]*");
    add(K::kPlaceholder, "%[sbt](?![A-Za-z0-9_])|%\\([A-Za-z0-9_.-]*\\)s");
    add(K::kPlaceholder, pg ? ":[A-Za-z_][A-Za-z0-9_]*" : ":[A-Za-z0-9_]+");
    add(K::kPunctuation, "->>?|::|:=|%%|[<>=!|&^~]+|[^]");
  }

  // The tokens, "kind text" each, white space and comments left out.
  std::vector<std::string> operator()(const std::string& text) const {
    std::vector<std::string> out;
    bool operand = false;  // whether the last token is one, so that a sign is an operator
    for (auto at = text.begin(); at != text.end();) {
      // A sign before a number is the number's.
      const bool sign = (*at == '-' || *at == '+') && !operand;
      std::smatch match;
      bool found = false;
      if (sign && std::regex_search(at + 1, text.end(), match, number_, kHere)) {
        out.push_back(name(K::kLiteral) + std::string(at, match[0].second));
        operand = found = true;
      }
      for (size_t i = 0; i < rules_.size() && !found; ++i) {
        const auto& [kind, expression] = rules_[i];
        if (!std::regex_search(at, text.end(), match, expression, kHere)) continue;
        if (match[0].first == match[0].second) continue;
        found = true;
        if (kind == kSkip) break;
        out.push_back(name(static_cast<K>(kind)) + match.str());
        operand =
            kind != static_cast<int>(K::kPunctuation) || match.str() == ")" || match.str() == "]";
      }
      EXPECT_TRUE(found) << text;
      if (!found) return out;
      at = match[0].second;
    }
    return out;
  }

  static std::string name(K kind) { return std::to_string(static_cast<int>(kind)) + " "; }

 private:
  static constexpr int kSkip = -1;
  static constexpr auto kHere = std::regex_constants::match_continuous;
  template <typename Kind>
  void add(Kind kind, const std::string& expression) {
    rules_.emplace_back(static_cast<int>(kind), std::regex(expression));
  }
  std::vector<std::pair<int, std::regex>> rules_;
  std::regex number_{kNumber};
};

// On SQLite the place decides what "text" is, which value_places_test.cc is about: both are names
// here.
std::vector<std::string> alike(std::vector<std::string> tokens, Dialect dialect) {
  for (std::string& token : tokens) {
    const bool quoted = dialect == Dialect::kSqlite && token.size() > 2 && token[2] == '"';
    if (quoted) token[0] = Oracle::name(K::kQuoted)[0];
  }
  return tokens;
}

std::vector<std::string> lex(const std::string& sql, Dialect dialect) {
  std::vector<std::string> out;
  Lexer lexer(sql, dialect);
  for (Token t = lexer.next(); t.kind != K::kEnd; t = lexer.next()) {
    out.push_back(Oracle::name(t.kind) + std::string(t.text));
  }
  return out;
}

void expect_sound(const std::string& sql, Dialect dialect) {
  const std::string clean = sanitize(sql, dialect);
  ASSERT_LE(clean.size(), sql.size());
  ASSERT_EQ(sanitize(clean, dialect), clean) << "in: " << sql;
  const Statement s = analyze(sql, dialect);
  if (s.clean) {
    ASSERT_EQ(clean, sql);
  }
  const Statement again = analyze(s.normalized, dialect);
  ASSERT_EQ(again.normalized, s.normalized) << "in: " << sql;
  ASSERT_EQ(again.fingerprint, s.fingerprint) << "in: " << sql << "\n" << s.normalized;
  ASSERT_FALSE(again.has_literals) << "in: " << sql << "\n" << s.normalized;
}

struct DialectCase {
  Dialect dialect;
  const char* name;
  std::vector<std::string> alphabet;
};

class LexerByDialect : public ::testing::TestWithParam<DialectCase> {};

TEST_P(LexerByDialect, EqualsTheOracleOnEverySmallString) {
  const auto& [dialect, name, alphabet] = GetParam();
  const Oracle oracle(dialect);
  for (size_t length = 1; length <= kLongest; ++length) {
    std::vector<size_t> index(length, 0);
    for (bool more = true; more;) {
      std::string sql;
      for (size_t i : index) sql += alphabet[i];
      ASSERT_EQ(alike(lex(sql, dialect), dialect), alike(oracle(sql), dialect)) << "in: " << sql;
      ASSERT_NO_FATAL_FAILURE(expect_sound(sql, dialect));
      size_t place = 0;
      while (place < length && ++index[place] == alphabet.size()) index[place++] = 0;
      more = place < length;
    }
  }
}

TEST_P(LexerByDialect, EqualsTheOracleOnRandomStrings) {
  const auto& [dialect, name, alphabet] = GetParam();
  const Oracle oracle(dialect);
  std::mt19937 random(11);
  for (int round = 0; round < kRounds; ++round) {
    std::string sql;
    for (size_t n = random() % 16; n > 0; --n) sql += alphabet[random() % alphabet.size()];
    ASSERT_EQ(alike(lex(sql, dialect), dialect), alike(oracle(sql), dialect)) << "in: " << sql;
    ASSERT_NO_FATAL_FAILURE(expect_sound(sql, dialect));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, LexerByDialect,
    ::testing::Values(
        DialectCase{Dialect::kPostgreSql,
                    "postgresql",
                    {"'", "\"", "a", "e", "1", " ", "-", "\\", "$", ":", "%", "(", "s"}},
        DialectCase{Dialect::kMySql,
                    "mysql",
                    {"'", "\"", "a", "x", "1", " ", "-", "\\", "#", "\n", "/", "*", "."}},
        DialectCase{Dialect::kSqlite,
                    "sqlite",
                    {"'", "[", "]", "x", "1", " ", "-", "$", "?", "/", "*", ".", "="}},
        DialectCase{Dialect::kGeneric,
                    "generic",
                    {"'", "q", "]", "[", "n", "1", " ", ":", "\"", "/", "*", ")", "!"}}),
    [](const auto& test) { return std::string(test.param.name); });

// Words matter to the folding of lists: strings of whole tokens.
TEST(TokenList, FoldingIsStableOnRandomTokenStrings) {
  const std::vector<std::string> words = {
      "IN",    "VALUES", "(",         ")",       ",",        "1",  "'x'",    "NULL",
      "a",     "%s",     "::int",     "(",       ")",        ",",  ";",      "[",
      "ARRAY", "]",      "SAVEPOINT", "RELEASE", "ROLLBACK", "TO", "SELECT", "FROM",
      "WHERE", "-",      "AND",       "/* c */", "CASE"};
  std::mt19937 random(5);
  for (int round = 0; round < 5 * kRounds; ++round) {
    std::string sql;
    for (size_t n = random() % 24; n > 0; --n) {
      sql += words[random() % words.size()];
      if (random() % 2 == 0) sql += ' ';
    }
    ASSERT_NO_FATAL_FAILURE(expect_sound(sql, Dialect::kPostgreSql));
  }
}

TEST(Lexer, NestsCommentsInPostgreSqlOnly) {
  const std::string sql = "a /* x /* y */ b */ c /*/ d */ e";
  EXPECT_EQ(lex(sql, Dialect::kPostgreSql), (std::vector<std::string>{"1 a", "1 c", "1 e"}));
  EXPECT_EQ(lex(sql, Dialect::kSqlite),
            (std::vector<std::string>{"1 a", "1 b", "5 *", "5 /", "1 c", "1 e"}));
}

TEST(Lexer, GivesSignsToNumbersOnlyWhereAnOperandIsDue) {
  const auto literal = [](const char* sql) { return lex(sql, Dialect::kPostgreSql).back(); };
  EXPECT_EQ(literal("a = -5"), "3 -5");
  EXPECT_EQ(literal("a BETWEEN -5"), "3 -5");
  EXPECT_EQ(literal("(-.5"), "3 -.5");
  EXPECT_EQ(literal("a -5"), "3 5");
  EXPECT_EQ(literal("(a) -5"), "3 5");
  EXPECT_EQ(literal("%s -5"), "3 5");
  EXPECT_EQ(literal("1e-5"), "3 1e-5");
  EXPECT_EQ(literal("0xe-5"), "3 5");
}

}  // namespace
}  // namespace nuages::sql
