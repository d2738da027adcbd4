// Where a "text" in double quotes is a value in SQLite.
//
// SQLite takes "name" for a string when no column of that name is in sight, so "secret" may be what
// a WHERE compares with. Whether a column is in sight cannot be known here, the place can: behind a
// comparison, LIKE and its like, between BETWEEN and AND and behind that AND, as an item of IN
// (...) or VALUES (...), behind DEFAULT. There a quoted name without a dot counts as a value,
// because a column hidden by mistake costs a name in a trace, a value shown by mistake a secret.
// ORMs write columns there with their table ("book"."price"), and a select list, the left side of a
// comparison and everything behind FROM, ORDER BY or AS are no such places.
//
// Fed with every token in turn; constant state, no allocation, a few comparisons a token.
#pragma once

#include <cstdint>

namespace nuages::sql {

struct Token;

class ValuePlaces {
 public:
  // Whether the token that comes next stands where a value is expected.
  bool value_next() const noexcept {
    return next_ || (items_at_ != 0 && items_at_ == depth_ && item_);
  }
  void pass(const Token& token) noexcept;

 private:
  bool next_ = false;      // behind an operator or a word that wants a value
  bool between_ = false;   // its AND is still to come
  bool items_ = false;     // behind IN or VALUES: the next bracket holds values
  bool rows_ = false;      // behind VALUES (...): more rows may follow
  bool item_ = false;      // at the start of an item
  uint32_t depth_ = 0;     // open brackets
  uint32_t items_at_ = 0;  // depth of the bracket that holds values; 0: none
};

}  // namespace nuages::sql
