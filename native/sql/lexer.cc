#include "sql/lexer.h"

#include <array>

#include "sql/words.h"

namespace nuages::sql {
namespace {

enum : uint8_t { kSpace = 1, kDigit = 2, kWordStart = 4, kWordPart = 8, kOperator = 16 };

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> table{};
  for (char c : {' ', '\t', '\n', '\r', '\f', '\v'}) table[static_cast<uint8_t>(c)] = kSpace;
  for (int c = '0'; c <= '9'; ++c) table[c] = kDigit | kWordPart;
  for (int c = 'a'; c <= 'z'; ++c) {
    table[c] = kWordStart | kWordPart;
    table[c - 'a' + 'A'] = table[c];
  }
  for (int c = 0x80; c <= 0xff; ++c) table[c] = kWordStart | kWordPart;  // identifiers in UTF-8
  table['_'] = kWordStart | kWordPart;
  for (char c : {'<', '>', '=', '!', '|', '&', '^', '~'})
    table[static_cast<uint8_t>(c)] = kOperator;
  return table;
}
constexpr std::array<uint8_t, 256> kClasses = make_classes();

bool is(char c, uint8_t classes) { return (kClasses[static_cast<uint8_t>(c)] & classes) != 0; }

// Words behind which an operand follows.
constexpr std::string_view kBeforeValue[] = {
    "select", "where", "and",      "or",        "not",   "in",      "between", "like",
    "ilike",  "limit", "offset",   "then",      "else",  "when",    "values",  "set",
    "by",     "case",  "on",       "having",    "is",    "return",  "to",      "top",
    "from",   "all",   "distinct", "returning", "using", "default", "interval"};

constexpr size_t kLongestName = 128;  // of a %(name)s placeholder or a $tag$

}  // namespace

Token Lexer::next() {
  Token token;
  skip_space_and_comments(token);
  const size_t begin = position_;
  if (begin < sql_.size()) {
    token.kind = scan(begin);
    token.text = sql_.substr(begin, position_ - begin);
    if (dialect_ == Dialect::kSqlite) {
      const bool name = token.kind == TokenKind::kQuoted && token.text.front() == '"';
      if (name && places_.value_next() && at(position_) != '.') token.kind = TokenKind::kLiteral;
      places_.pass(token);
    }
  }
  previous_ = token;
  return token;
}

void Lexer::skip_space_and_comments(Token& token) {
  while (position_ < sql_.size()) {
    if (is(sql_[position_], kSpace)) {
      ++position_;
    } else if (skip_comment()) {
      token.comment_before = true;
    } else {
      return;
    }
    token.space_before = true;
  }
}

bool Lexer::skip_comment() {
  const char c = sql_[position_];
  const char following = at(position_ + 1);
  const bool mysql = dialect_ == Dialect::kMySql;
  // MySQL wants white space behind "--": before what can be an operand it is two signs.
  constexpr std::string_view kOperandStarts = "'\"`?%:@(.";
  const char third = at(position_ + 2);
  const bool two_signs =
      mysql && third != '\0' &&
      (is(third, kWordPart) || kOperandStarts.find(third) != kOperandStarts.npos);
  const bool dashes = c == '-' && following == '-' && !two_signs;
  if (dashes || (mysql && c == '#')) {
    const size_t line_end = sql_.find('\n', position_);
    position_ = line_end == std::string_view::npos ? sql_.size() : line_end;
    return true;
  }
  if (c != '/' || following != '*') return false;
  position_ += 2;
  for (int depth = 1; depth > 0;) {
    const size_t mark = sql_.find_first_of("*/", position_);
    if (mark == std::string_view::npos || mark + 1 >= sql_.size()) {
      position_ = sql_.size();
      return true;
    }
    const char second = sql_[mark + 1];
    position_ = mark + 2;
    if (sql_[mark] == '*' && second == '/') {
      --depth;
    } else if (sql_[mark] == '/' && second == '*') {
      if (dialect_ == Dialect::kPostgreSql) {
        ++depth;
      } else {
        position_ = mark + 1;  // "/*/" inside a comment ends it: look at the '*' again
      }
    } else {
      position_ = mark + 1;
    }
  }
  return true;
}

TokenKind Lexer::scan(size_t begin) {
  const char c = sql_[begin];
  const char following = at(begin + 1);
  if (is(c, kWordStart)) return scan_word(begin);
  if (is(c, kDigit) || (c == '.' && is(following, kDigit))) {
    scan_number(begin);
    return TokenKind::kLiteral;
  }
  switch (c) {
    case '\'':
      return scan_string(begin, dialect_ == Dialect::kMySql);
    case '"':
      if (dialect_ == Dialect::kMySql) return scan_string(begin, true);
      return scan_quoted(begin, '"');
    case '`':
      if (dialect_ != Dialect::kPostgreSql) return scan_quoted(begin, '`');
      break;
    case '[':
      if (dialect_ == Dialect::kSqlite) return scan_quoted(begin, ']');
      break;
    case '?':
      position_ = begin + 1;
      while (is(at(position_), kDigit)) ++position_;
      return TokenKind::kPlaceholder;
    case '%':
      if (scan_percent(begin)) return TokenKind::kPlaceholder;
      break;
    case '$':
      if (dialect_ != Dialect::kSqlite && scan_dollar_quote(begin)) return TokenKind::kLiteral;
      if (dialect_ == Dialect::kSqlite ? is(following, kWordPart) : is(following, kDigit)) {
        position_ = begin + 1;
        while (is(at(position_), kWordPart)) ++position_;
        return TokenKind::kPlaceholder;
      }
      break;
    case ':':
      // PostgreSQL has no :1, but array slices: there the number is a literal.
      if (is(following, dialect_ == Dialect::kPostgreSql ? kWordStart : kWordPart)) {
        position_ = begin + 1;
        while (is(at(position_), kWordPart)) ++position_;
        return TokenKind::kPlaceholder;
      }
      break;
    case '@':
      if ((dialect_ == Dialect::kSqlite || dialect_ == Dialect::kGeneric) &&
          is(following, kWordPart)) {
        position_ = begin + 1;
        while (is(at(position_), kWordPart)) ++position_;
        return TokenKind::kPlaceholder;
      }
      break;
    case '+':
    case '-':
      if ((is(following, kDigit) || (following == '.' && is(at(begin + 2), kDigit))) &&
          value_expected()) {
        scan_number(begin + 1);
        return TokenKind::kLiteral;
      }
      break;
    default:
      break;
  }
  return scan_punctuation(begin);
}

TokenKind Lexer::scan_word(size_t begin) {
  const bool dollar = dialect_ != Dialect::kSqlite;  // part of identifiers elsewhere
  size_t i = begin + 1;
  while (i < sql_.size() && (is(sql_[i], kWordPart) || (dollar && sql_[i] == '$'))) ++i;
  position_ = i;
  if (i == sql_.size()) return TokenKind::kWord;
  const size_t length = i - begin;
  const char first = to_lower(sql_[begin]);
  const bool quote = sql_[i] == '\'';
  if (length == 1 && quote) {
    // N'text', B'0101', X'1F', E'a\'b', q'[text]'
    if (first == 'q' && dialect_ == Dialect::kGeneric) return scan_oracle_quote(i);
    if (first == 'e' && dialect_ != Dialect::kMySql) return scan_string(i, true);
    if (first == 'n' || first == 'b' || first == 'x') {
      return scan_string(i, dialect_ == Dialect::kMySql);
    }
  } else if (length == 1 && first == 'u' && sql_[i] == '&') {
    if (at(i + 1) == '\'') return scan_string(i + 1, false);
    if (at(i + 1) == '"' && dialect_ != Dialect::kMySql) return scan_quoted(i + 1, '"');
  } else if (length == 2 && quote && first == 'n' && to_lower(sql_[begin + 1]) == 'q' &&
             dialect_ == Dialect::kGeneric) {
    return scan_oracle_quote(i);
  }
  return TokenKind::kWord;
}

TokenKind Lexer::unterminated() {
  position_ = sql_.size();
  return TokenKind::kLiteral;
}

TokenKind Lexer::scan_string(size_t quote, bool backslash) {
  const char mark = sql_[quote];
  const char stops[] = {mark, '\\'};
  size_t i = quote + 1;
  for (;;) {
    i = backslash ? sql_.find_first_of(std::string_view(stops, 2), i) : sql_.find(mark, i);
    if (i == std::string_view::npos) return unterminated();
    if (sql_[i] != mark || at(i + 1) == mark) {  // an escaped character or a doubled quote
      i += 2;
      continue;
    }
    position_ = i + 1;
    return TokenKind::kLiteral;
  }
}

TokenKind Lexer::scan_quoted(size_t open, char close) {
  size_t i = open + 1;
  for (;;) {
    i = sql_.find(close, i);
    if (i == std::string_view::npos) return unterminated();
    if (close == ']' || at(i + 1) != close) break;
    i += 2;
  }
  position_ = i + 1;
  return TokenKind::kQuoted;
}

TokenKind Lexer::scan_oracle_quote(size_t quote) {
  const char open = at(quote + 1);
  char close = open;
  if (open == '[') close = ']';
  if (open == '(') close = ')';
  if (open == '{') close = '}';
  if (open == '<') close = '>';
  const char stop[] = {close, '\''};
  const size_t end = sql_.find(std::string_view(stop, 2), quote + 2);
  if (end == std::string_view::npos) return unterminated();
  position_ = end + 2;
  return TokenKind::kLiteral;
}

bool Lexer::scan_dollar_quote(size_t begin) {
  size_t i = begin + 1;
  if (is(at(i), kDigit)) return false;  // $1
  while (is(at(i), kWordPart) && i - begin <= kLongestName) ++i;
  if (at(i) != '$') return false;
  const std::string_view tag = sql_.substr(begin, i + 1 - begin);
  const size_t end = sql_.find(tag, i + 1);
  if (end == std::string_view::npos) {
    unterminated();
  } else {
    position_ = end + tag.size();
  }
  return true;
}

// %s and %(name)s of the Python database API; %b and %t of psycopg 3.
bool Lexer::scan_percent(size_t begin) {
  size_t i = begin + 1;
  if (at(i) == '(') {
    ++i;
    while ((is(at(i), kWordPart) || at(i) == '.' || at(i) == '-') && i - begin <= kLongestName) ++i;
    if (at(i) != ')' || at(i + 1) != 's') return false;
    position_ = i + 2;
    return true;
  }
  if (at(i) != 's' && at(i) != 'b' && at(i) != 't') return false;
  if (is(at(i + 1), kWordPart)) return false;  // a %sum: modulo
  position_ = i + 1;
  return true;
}

// Letters belong to it (0xFF, 1_000, 12ab): what is no number in any dialect is still hidden.
void Lexer::scan_number(size_t begin) {
  size_t i = begin;
  const auto digits = [&] {
    while (is(at(i), kDigit) || at(i) == '_') ++i;
  };
  const auto letters = [&] {
    while (is(at(i), kWordPart)) ++i;
  };
  digits();
  bool decimal = true;
  for (int part = 0; part < 2; ++part) {
    if (is(at(i), kWordPart)) {
      const bool exponent = decimal && to_lower(sql_[i]) == 'e' &&
                            (at(i + 1) == '+' || at(i + 1) == '-') && is(at(i + 2), kDigit);
      i += exponent ? 2 : 0;
      letters();
      decimal = false;
      if (exponent) break;
    }
    if (part == 0) {
      if (at(i) != '.') break;
      ++i;
      digits();
    }
  }
  position_ = i;
}

TokenKind Lexer::scan_punctuation(size_t begin) {
  const char c = sql_[begin];
  const bool postgresql = dialect_ == Dialect::kPostgreSql;
  const auto operator_char = [&](char x) {
    return is(x, kOperator) || (postgresql && (x == '@' || x == '#'));
  };
  size_t i = begin + 1;
  if (c == '-' && at(i) == '>') {
    ++i;
    if (at(i) == '>') ++i;
  } else if ((c == ':' && (at(i) == ':' || at(i) == '=')) || (c == '%' && at(i) == '%')) {
    ++i;
  } else if (operator_char(c)) {
    while (operator_char(at(i))) ++i;
    if (postgresql && c == '#' && i == begin + 1 && at(i) == '-') ++i;  // jsonb #-
  }
  position_ = i;
  return TokenKind::kPunctuation;
}

// Whether a sign here belongs to a number: not behind an operand.
bool Lexer::value_expected() const {
  switch (previous_.kind) {
    case TokenKind::kEnd:
      return true;
    case TokenKind::kPunctuation:
      return previous_.text != ")" && previous_.text != "]";
    case TokenKind::kWord:
      return word_in(previous_.text, kBeforeValue);
    default:
      return false;
  }
}

}  // namespace nuages::sql
