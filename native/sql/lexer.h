// Splits a SQL text of any dialect into tokens.
//
// Never fails: every byte of the text belongs to a token, to white space or to a comment, whatever
// the text is. A string or quoted identifier that never ends is a literal up to the end of the
// text, so that nothing leaks out of a cut statement. Tokens are views into the text. Not
// thread-safe; no allocation; linear over all calls of next().
#pragma once

#include <cstdint>
#include <string_view>

#include "sql/statement.h"
#include "sql/value_places.h"

namespace nuages::sql {

enum class TokenKind : uint8_t {
  kEnd,
  kWord,         // keyword or unquoted identifier
  kQuoted,       // quoted identifier, quotes included
  kLiteral,      // string, number with its sign, bit string
  kPlaceholder,  // ? %s %(name)s :name $1 @name
  kPunctuation,  // brackets, commas and operators; operators of several characters are one token
};

struct Token {
  std::string_view text;
  TokenKind kind = TokenKind::kEnd;
  bool space_before = false;    // white space or a comment
  bool comment_before = false;  // at least one comment
};

class Lexer {
 public:
  Lexer(std::string_view sql, Dialect dialect) : sql_(sql), dialect_(dialect) {}

  // kEnd, again and again, at the end; its flags tell what came before it.
  Token next();

 private:
  void skip_space_and_comments(Token& token);
  bool skip_comment();
  TokenKind scan(size_t begin);  // sets position_ behind the token that starts at `begin`
  TokenKind scan_word(size_t begin);
  TokenKind scan_string(size_t quote, bool backslash);
  TokenKind scan_quoted(size_t open, char close);
  TokenKind scan_oracle_quote(size_t quote);
  bool scan_dollar_quote(size_t begin);
  bool scan_percent(size_t begin);
  void scan_number(size_t begin);
  TokenKind scan_punctuation(size_t begin);
  TokenKind unterminated();
  bool value_expected() const;
  char at(size_t i) const { return i < sql_.size() ? sql_[i] : '\0'; }

  std::string_view sql_;
  Dialect dialect_;
  size_t position_ = 0;
  Token previous_;
  ValuePlaces places_;  // SQLite only
};

}  // namespace nuages::sql
