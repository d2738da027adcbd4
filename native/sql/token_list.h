// The tokens of a statement with what varies from call to call folded away.
//
// Equal neighbours in IN (...), ARRAY[...] and the rows of VALUES become one, savepoint names and
// closing semicolons go. Two items are equal when their tokens are, where literals, placeholders,
// NULL, TRUE, FALSE and DEFAULT count as the same. Folding happens while reading, so that the list
// stays short for a statement with a million rows, and needs O(n log n) comparisons at worst.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sql/lexer.h"

namespace nuages::sql {

struct TokenList {
  std::vector<Token> tokens;
  bool has_literals = false;
  bool has_comments = false;
};

TokenList read_tokens(std::string_view sql, Dialect dialect);

// Statement::normalized, and the text whose hash is Statement::fingerprint.
std::string normalized_text(const TokenList& list);
std::string canonical_text(const TokenList& list, Dialect dialect);

// An identifier without its quotes (doubled ones inside stay doubled).
std::string_view unquoted(const Token& token);

}  // namespace nuages::sql
