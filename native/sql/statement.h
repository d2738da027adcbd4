// What a SQL text says, without what it carries: normalised text, fingerprint, label, table.
//
//   auto s = sql::analyze(R"(SELECT "o"."id" FROM "orders" "o" WHERE "o"."id" = 42 LIMIT 21)",
//                         sql::Dialect::kPostgreSql);
//   s.normalized   SELECT "o"."id" FROM "orders" "o" WHERE "o"."id" = ? LIMIT ?
//   s.label        SELECT FROM orders WHERE id = ?
//   s.table        orders
//   s.fingerprint  the same for any literal, IN length, comment, keyword case or quoting
//
// Key choices: a lexer, never a parser, so that any text in any dialect, truncated or wrong, gives
// an answer; what cannot be delimited (an unterminated quote) counts as a literal, because these
// texts leave the process. Literals are strings in every quoting of the dialect, numbers with their
// sign, and bit and hex strings; NULL, TRUE and FALSE are part of a statement's shape and stay.
//
// Pure functions, any thread. Linear in the text's length, no recursion, no regular expression;
// they throw nothing but std::bad_alloc. About 1 us for a statement of 300 bytes: StatementCache
// (sql/statement_cache.h) makes it some tens of nanoseconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nuages::sql {

enum class Dialect : uint8_t {
  kGeneric,     // Oracle and everything else: standard quoting plus q'[...]'
  kPostgreSql,  // E'', $tag$ quotes, nested comments, $1, ::
  kSqlite,      // `x` and [x] are identifiers too; ?1, :x, @x and $x are placeholders
  kMySql,       // backslash escapes, "x" is a string, `x` an identifier, # starts a comment
};

// From OpenTelemetry's db.system or Django's connection.vendor: "postgresql", "sqlite", "mysql",
// "mariadb"; anything else is generic.
Dialect dialect_from_system(std::string_view system);

inline constexpr size_t kMaxLabelBytes = 255;

struct Statement {
  // Literals and placeholders are `?`, comments dropped, white space single, equal items of IN
  // (...) and rows of VALUES (...) folded into their first, savepoint names dropped. Case is kept.
  std::string normalized;
  // xxh3 of the normalised tokens, words folded to lower case, identifiers without their quotes.
  // Never 0.
  uint64_t fingerprint = 0;
  // Short and stable, for span names: no select list, joins, quotes, table prefixes, ORDER BY or
  // LIMIT. At most kMaxLabelBytes, cut at a character with "..." at the end.
  std::string label;
  std::string operation;  // upper case: SELECT, INSERT, SAVEPOINT, ...; empty for an empty text
  std::string table;      // the first table, unquoted, without schema; empty when there is none
  bool has_literals = false;
  // sanitize() would return the text as it is: callers may keep the original.
  bool clean = true;
};

Statement analyze(std::string_view sql, Dialect dialect);

// The text with every literal replaced by `?` and comments (they may carry anything) taken out;
// identifiers, placeholders and white space stay. Never longer than the text, idempotent.
std::string sanitize(std::string_view sql, Dialect dialect);

}  // namespace nuages::sql
