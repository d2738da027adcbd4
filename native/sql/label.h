// The short form of a statement that names its span: SELECT FROM orders WHERE id = ?
//
// Works on tokens by keywords at bracket depth, not on a grammar: an unknown statement gives its
// first words, a broken one the part that could be read. No recursion; each part of the label reads
// the tokens once.
#pragma once

#include <string>
#include <vector>

#include "sql/lexer.h"

namespace nuages::sql {

struct Label {
  std::string text;
  std::string operation;
  std::string table;
};

// `tokens` as read_tokens() gives them.
Label make_label(const std::vector<Token>& tokens);

}  // namespace nuages::sql
