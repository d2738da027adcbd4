#include "sql/label.h"

#include "sql/token_list.h"
#include "sql/words.h"

namespace nuages::sql {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);
constexpr size_t kMaxAssignments = 3;
constexpr size_t kMaxOperationBytes = 32;
constexpr int kMaxOuterBrackets = 3;
constexpr int kMaxDerivedTables = 16;  // each is searched to its end: keeps the whole linear

// Written in upper case inside conditions.
constexpr std::string_view kConditionWords[] = {
    "and",    "or",      "not",      "in",      "like", "ilike",  "is",     "null", "between",
    "exists", "escape",  "any",      "all",     "some", "case",   "when",   "then", "else",
    "end",    "true",    "false",    "similar", "to",   "regexp", "rlike",  "glob", "distinct",
    "from",   "collate", "interval", "div",     "mod",  "xor",    "binary", "as",   "select",
    "match",  "against", "at",       "time",    "zone", "where"};

// Clauses behind WHERE: they end it, and there is no WHERE after them.
constexpr std::string_view kConditionEnd[] = {"group", "order",  "having",    "limit",     "offset",
                                              "fetch", "for",    "union",     "intersect", "except",
                                              "minus", "window", "returning", "qualify"};
constexpr std::string_view kAlsoEndCondition[] = {"where", "on", "lock", "option"};

constexpr std::string_view kSelectListEnd[] = {"union", "intersect", "except", "where"};
constexpr std::string_view kMainVerbs[] = {"select", "insert",  "update", "delete",
                                           "merge",  "replace", "values"};
constexpr std::string_view kFrom[] = {"from"};
constexpr std::string_view kWhere[] = {"where"};
constexpr std::string_view kSet[] = {"set"};
constexpr std::string_view kOn[] = {"on"};
constexpr std::string_view kUpsertVerbs[] = {"insert", "replace"};
constexpr std::string_view kDefineVerbs[] = {"create", "alter", "drop", "truncate", "comment"};
constexpr std::string_view kTransactionVerbs[] = {"savepoint", "release", "rollback"};

// Words between a verb and the thing it is about.
constexpr std::string_view kBeforeTable[] = {"only",    "lateral",       "ignore", "low_priority",
                                             "or",      "rollback",      "abort",  "fail",
                                             "replace", "high_priority", "into",   "table"};
constexpr std::string_view kBeforeObjectKind[] = {
    "or",    "replace",  "unique",       "temp",    "temporary", "global",
    "local", "unlogged", "virtual",      "foreign", "recursive", "if",
    "not",   "exists",   "concurrently", "only",    "on"};
constexpr std::string_view kObjectKinds[] = {
    "table",    "index",    "view",    "materialized", "sequence",  "schema",
    "database", "function", "trigger", "type",         "procedure", "extension",
    "column",   "user",     "role",    "domain",       "constraint"};
constexpr std::string_view kBeforeObject[] = {"view",   "if",   "not",
                                              "exists", "only", "concurrently"};

class Labeler {
 public:
  explicit Labeler(const std::vector<Token>& tokens) : tokens_(tokens) {}

  Label run() {
    size_t i = 0;
    while (is_mark(i, '(')) ++i;
    if (is_word(i, "explain")) {
      label_.operation = "EXPLAIN";
      label_.text = "EXPLAIN";
      i = find_main_verb(i + 1);
      if (i == kNone) return std::move(label_);
      label_.text += ' ';
    } else if (is_word(i, "with")) {
      const size_t verb = find_main_verb(i + 1);
      if (verb != kNone) i = verb;
    }
    statement(i);
    cut();
    return std::move(label_);
  }

 private:
  void statement(size_t i) {
    if (i >= tokens_.size()) return;
    if (tokens_[i].kind != TokenKind::kWord) {
      for (; i < tokens_.size() && !full(); ++i) render(tokens_[i]);
      return;
    }
    const std::string_view verb = tokens_[i].text;
    if (label_.operation.empty()) {
      append_upper(label_.operation, verb.substr(0, kMaxOperationBytes));
    }
    if (word_is(verb, "select")) return select(i);
    if (word_in(verb, kUpsertVerbs) && insert(i)) return;
    if (word_is(verb, "update")) return update(i);
    if (word_is(verb, "delete")) return remove(i);
    if (word_in(verb, kDefineVerbs)) return define(i);
    if (word_in(verb, kTransactionVerbs)) return transaction(i);
    other(i);
  }

  // --- the statements ---

  void select(size_t i) {
    label_.text += "SELECT";
    size_t where = kNone;
    size_t level = i;
    // Down through derived tables: the innermost first table is what is read.
    for (int depth = 0; depth < kMaxDerivedTables; ++depth) {
      const size_t from = find_at_depth(level + 1, kFrom, kSelectListEnd);
      if (from == kNone) break;
      size_t table = from + 1;
      if (where == kNone) where = find_at_depth(table, kWhere, kConditionEnd);
      while (is_mark(table, '(') && !is_word(table + 1, "select")) ++table;
      if (is_mark(table, '(')) {
        level = table + 1;
        continue;
      }
      append_table(" FROM ", table);
      break;
    }
    condition(where);
  }

  bool insert(size_t i) {
    size_t into = i + 1;
    while (into < tokens_.size() && into < i + 5 && !is_word(into, "into")) ++into;
    if (!is_word(into, "into")) {
      if (!word_is(tokens_[i].text, "insert")) return false;  // REPLACE(...) and the like
      into = i;
    }
    append_upper(label_.text, tokens_[i].text);
    label_.text += " INTO";
    size_t next = append_table(" ", into + 1);
    for (bool columns = false; next < tokens_.size(); ++next) {
      if (is_mark(next, '(')) {
        if (is_word(next + 1, "select") || is_word(next + 1, "with")) {
          label_.text += " SELECT";
          return true;
        }
        if (!columns) label_.text += " (...)";
        columns = true;
        next = closing(next);
      } else if (is_word(next, "values") || is_word(next, "value")) {
        label_.text += is_word(next - 1, "default") ? " DEFAULT VALUES" : " VALUES (...)";
        return true;
      } else if (is_word(next, "select") || is_word(next, "with")) {
        label_.text += " SELECT";
        return true;
      } else if (is_word(next, "set")) {
        assignments(next);
        return true;
      }
    }
    return true;
  }

  void update(size_t i) {
    label_.text += "UPDATE";
    const size_t next = append_table(" ", i + 1);
    const size_t set = find_at_depth(next, kSet, kWhere);
    if (set == kNone) return;
    assignments(set);
    condition(find_at_depth(set + 1, kWhere, kConditionEnd));
  }

  void remove(size_t i) {
    label_.text += "DELETE";
    const size_t from = find_at_depth(i + 1, kFrom, kWhere);
    if (from == kNone) return;
    const size_t next = append_table(" FROM ", from + 1);
    condition(find_at_depth(next, kWhere, kConditionEnd));
  }

  // CREATE [UNIQUE] INDEX [IF NOT EXISTS] x ON t; ALTER TABLE t; TRUNCATE [TABLE] t
  void define(size_t i) {
    append_upper(label_.text, tokens_[i].text);
    size_t next = i + 1;
    while (word_at(next) && word_in(tokens_[next].text, kBeforeObjectKind)) {
      ++next;
    }
    bool table = word_is(tokens_[i].text, "truncate");
    bool index = false;
    if (word_at(next) && word_in(tokens_[next].text, kObjectKinds)) {
      table |= is_word(next, "table");
      index = is_word(next, "index");
      label_.text += ' ';
      append_upper(label_.text, tokens_[next].text);
      ++next;
      while (word_at(next) && word_in(tokens_[next].text, kBeforeObject)) {
        ++next;
      }
    }
    if (next >= tokens_.size() || !is_name(next)) return;
    std::string name;
    const size_t after = read_name(next, name);
    if (!is_word(next, "on")) label_.text += ' ' + name;
    if (table) label_.table = name;
    if (index) {
      const size_t on = is_word(next, "on") ? next : find_at_depth(after, kOn, {});
      if (on != kNone && is_name(on + 1)) read_name(on + 1, label_.table);
    }
  }

  // Names are gone already (token_list.h): what is left are keywords.
  void transaction(size_t i) {
    for (; i < tokens_.size() && tokens_[i].kind == TokenKind::kWord && !full(); ++i) {
      if (!label_.text.empty() && label_.text.back() != ' ') label_.text += ' ';
      append_upper(label_.text, tokens_[i].text);
    }
  }

  // BEGIN IMMEDIATE, PRAGMA x, SET x, SHOW x, CALL x, COPY t, LOCK TABLE t, ...
  void other(size_t i) {
    append_upper(label_.text, tokens_[i].text.substr(0, kMaxOperationBytes));
    if (word_at(i + 1)) {
      label_.text += ' ';
      label_.text += tokens_[i + 1].text;
    }
    const bool after_table = is_word(i + 1, "table") || is_word(i + 1, "into");
    if ((after_table || is_word(i, "copy")) && is_name(after_table ? i + 2 : i + 1)) {
      read_name(after_table ? i + 2 : i + 1, label_.table);
      if (after_table) label_.text += ' ' + label_.table;
    }
  }

  // --- their parts ---

  // " SET a = ?, b = ?, c = ?, ..."
  void assignments(size_t set) {
    label_.text += " SET";
    space_ = true;
    size_t count = 1;
    int depth = 0;
    for (size_t i = set + 1; i < tokens_.size() && !full(); ++i) {
      depth += depth_change(i);
      if (depth < 0 || (depth == 0 && ends_condition(i))) break;
      if (depth == 0 && is_mark(i, ',') && count++ == kMaxAssignments) {
        label_.text += ", ...";
        break;
      }
      i = render_expression(i);
    }
  }

  void condition(size_t where) {
    if (where == kNone) return;
    label_.text += " WHERE";
    space_ = true;
    size_t begin = where + 1;
    size_t end = begin;
    for (int depth = 0; end < tokens_.size(); ++end) {
      depth += depth_change(end);
      if (depth < 0 || (depth == 0 && ends_condition(end))) break;
    }
    for (int n = 0; n < kMaxOuterBrackets && is_mark(begin, '(') && closing(begin) + 1 == end;
         ++n) {
      if (is_word(begin + 1, "select")) break;
      ++begin;
      --end;
    }
    for (size_t i = begin; i < end && !full(); ++i) i = render_expression(i);
  }

  // Renders what starts at `i` and returns its last token: subqueries and CASE are abbreviated,
  // prefixes dropped.
  size_t render_expression(size_t i) {
    if (is_mark(i, '(') && (is_word(i + 1, "select") || is_word(i + 1, "with"))) {
      render_text("(SELECT ...)", false, true);
      return closing(i);
    }
    if (is_word(i, "case")) {
      render_text("CASE ... END", false, false);
      size_t end = i + 1;
      for (int open = 1; end < tokens_.size(); ++end) {
        if (is_word(end, "case")) ++open;
        if (is_word(end, "end") && --open == 0) break;
      }
      return end;
    }
    while (is_name(i) && is_mark(i + 1, '.') && (is_name(i + 2) || is_mark(i + 2, '*'))) i += 2;
    render(tokens_[i]);
    return i;
  }

  void render(const Token& token) {
    switch (token.kind) {
      case TokenKind::kLiteral:
      case TokenKind::kPlaceholder:
        return render_text("?", false, false);
      case TokenKind::kWord:
        if (word_in(token.text, kConditionWords)) {
          std::string upper;
          append_upper(upper, token.text);
          return render_text(upper, false, false);
        }
        return render_text(token.text, true, false);
      case TokenKind::kQuoted:
        return render_text(unquoted(token), true, false);
      default: {
        const char mark = token.text[0];
        const bool tight = token.text == "::" || mark == '.';
        if (mark == ')' || mark == ',' || mark == ']' || mark == '[' || mark == ';' || tight) {
          space_ = false;
        }
        render_text(token.text, false, mark == '(');
        if (mark == '(' || mark == '[' || token.text == "@" || tight) space_ = false;
      }
    }
  }

  void render_text(std::string_view text, bool name, bool opens) {
    if (opens && after_name_) space_ = false;  // COUNT(x), but IN (x)
    if (space_ && !label_.text.empty() && label_.text.back() != ' ') label_.text += ' ';
    label_.text += text;
    space_ = true;
    after_name_ = name;
  }

  // The name at `i`, behind ONLY and the like; returns the token behind it.
  size_t append_table(std::string_view before, size_t i) {
    while (word_at(i) && is_name(i + 1) && word_in(tokens_[i].text, kBeforeTable)) {
      ++i;
    }
    if (!is_name(i)) return i;
    const size_t next = read_name(i, label_.table);
    label_.text += before;
    label_.text += label_.table;
    return next;
  }

  // schema.table -> table
  size_t read_name(size_t i, std::string& name) const {
    while (is_mark(i + 1, '.') && is_name(i + 2)) i += 2;
    name = unquoted(tokens_[i]);
    return i + 1;
  }

  // --- looking at tokens ---

  bool word_at(size_t i) const { return i < tokens_.size() && tokens_[i].kind == TokenKind::kWord; }
  bool is_name(size_t i) const {
    return i < tokens_.size() &&
           (tokens_[i].kind == TokenKind::kWord || tokens_[i].kind == TokenKind::kQuoted);
  }
  bool is_word(size_t i, std::string_view lower) const {
    return word_at(i) && word_is(tokens_[i].text, lower);
  }
  bool is_mark(size_t i, char mark) const {
    return i < tokens_.size() && tokens_[i].kind == TokenKind::kPunctuation &&
           tokens_[i].text.size() == 1 && tokens_[i].text[0] == mark;
  }
  int depth_change(size_t i) const { return is_mark(i, '(') ? 1 : is_mark(i, ')') ? -1 : 0; }

  // The bracket that closes `open`, or the last token.
  size_t closing(size_t open) const {
    int depth = 0;
    for (size_t i = open; i < tokens_.size(); ++i) {
      depth += depth_change(i);
      if (depth == 0) return i;
    }
    return tokens_.size() - 1;
  }

  // WITH a AS (...), EXPLAIN (ANALYZE): the verb outside brackets.
  size_t find_main_verb(size_t i) const { return find_at_depth(i, kMainVerbs, {}); }

  // A word of `wanted` outside brackets before one of `stops`, a closing bracket or a semicolon.
  size_t find_at_depth(size_t i, Words wanted, Words stops) const {
    int depth = 0;
    for (; i < tokens_.size(); ++i) {
      depth += depth_change(i);
      if (depth < 0 || (depth == 0 && is_mark(i, ';'))) return kNone;
      if (depth > 0 || !word_at(i) || is_mark(i - 1, '.')) continue;
      if (word_in(tokens_[i].text, wanted)) {
        if (!is_word(i - 1, "distinct")) return i;  // IS DISTINCT FROM
      } else if (word_in(tokens_[i].text, stops)) {
        return kNone;
      }
    }
    return kNone;
  }

  bool ends_condition(size_t i) const {
    if (is_mark(i, ';')) return true;
    if (!word_at(i) || is_mark(i - 1, '.')) return false;
    return word_in(tokens_[i].text, kConditionEnd) || word_in(tokens_[i].text, kAlsoEndCondition) ||
           (is_word(i, "from") && !is_word(i - 1, "distinct"));
  }

  bool full() const { return label_.text.size() > kMaxLabelBytes; }

  // To kMaxLabelBytes, never inside a character.
  void cut() {
    if (!full()) return;
    constexpr std::string_view kMore = "...";
    size_t size = kMaxLabelBytes - kMore.size();
    while (size > 0 && (static_cast<unsigned char>(label_.text[size]) & 0xC0) == 0x80) --size;
    label_.text.resize(size);
    label_.text += kMore;
  }

  const std::vector<Token>& tokens_;
  Label label_;
  bool space_ = true;
  bool after_name_ = false;
};

}  // namespace

Label make_label(const std::vector<Token>& tokens) { return Labeler(tokens).run(); }

}  // namespace nuages::sql
