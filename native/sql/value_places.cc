#include "sql/value_places.h"

#include <string_view>
#include <utility>

#include "sql/lexer.h"
#include "sql/words.h"

namespace nuages::sql {
namespace {

constexpr std::string_view kOperators[] = {"=", "==", "<>", "!=", "<", ">", "<=", ">=", "||"};
constexpr std::string_view kBeforeValue[] = {"like",   "glob",    "match",  "regexp",
                                             "escape", "between", "default"};

bool is_operator(std::string_view text) noexcept {
  for (const std::string_view known : kOperators) {
    if (text == known) return true;
  }
  return false;
}

}  // namespace

void ValuePlaces::pass(const Token& token) noexcept {
  const bool wanted = std::exchange(next_, false);
  item_ = false;
  const bool items = items_;
  items_ = false;
  if (token.kind == TokenKind::kWord) {
    const bool second = between_ && word_is(token.text, "and");
    if (second) between_ = false;
    if (word_is(token.text, "between")) between_ = true;
    next_ = second || word_in(token.text, kBeforeValue);
    items_ = word_is(token.text, "in") || word_is(token.text, "values");
    rows_ = word_is(token.text, "values");
    if (items_at_ == depth_ && word_is(token.text, "select")) items_at_ = 0;
    return;
  }
  if (token.kind != TokenKind::kPunctuation) return;
  if (token.text == "(") {
    ++depth_;
    if (items) items_at_ = depth_;
    item_ = items_at_ == depth_;
    next_ = wanted;
  } else if (token.text == ")") {
    if (items_at_ == depth_) items_at_ = 0;
    if (depth_ > 0) --depth_;
  } else if (token.text == ",") {
    item_ = items_at_ == depth_;
    items_ = rows_ && items_at_ == 0;  // VALUES (...), (...)
  } else {
    next_ = is_operator(token.text);
  }
}

}  // namespace nuages::sql
