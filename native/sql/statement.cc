#include "sql/statement.h"

#include <xxhash.h>

#include <utility>

#include "sql/label.h"
#include "sql/token_list.h"
#include "sql/words.h"

namespace nuages::sql {
namespace {

constexpr std::string_view kPostgreSqlNames[] = {"postgresql", "postgres", "cockroachdb",
                                                 "redshift"};
constexpr std::string_view kMySqlNames[] = {"mysql", "mariadb"};

}  // namespace

Dialect dialect_from_system(std::string_view system) {
  if (word_in(system, kPostgreSqlNames)) {
    return Dialect::kPostgreSql;
  }
  if (word_is(system, "sqlite")) return Dialect::kSqlite;
  if (word_in(system, kMySqlNames)) return Dialect::kMySql;
  return Dialect::kGeneric;
}

Statement analyze(std::string_view sql, Dialect dialect) {
  const TokenList list = read_tokens(sql, dialect);
  Statement statement;
  statement.normalized = normalized_text(list);
  const std::string canonical = canonical_text(list, dialect);
  statement.fingerprint = XXH3_64bits(canonical.data(), canonical.size());
  if (statement.fingerprint == 0) statement.fingerprint = 1;
  Label label = make_label(list.tokens);
  statement.label = std::move(label.text);
  statement.operation = std::move(label.operation);
  statement.table = std::move(label.table);
  statement.has_literals = list.has_literals;
  statement.clean = !list.has_literals && !list.has_comments;
  return statement;
}

std::string sanitize(std::string_view sql, Dialect dialect) {
  std::string out;
  out.reserve(sql.size());
  Lexer lexer(sql, dialect);
  const char* copied = sql.data();  // up to here the text is in `out`
  for (;;) {
    const Token token = lexer.next();
    const bool end = token.kind == TokenKind::kEnd;
    const char* begin = end ? sql.data() + sql.size() : token.text.data();
    if (!token.comment_before) {
      out.append(copied, begin);
    } else if (!end && !out.empty()) {
      out += ' ';
    }
    if (end) return out;
    if (token.kind == TokenKind::kLiteral) {
      out += '?';
    } else {
      out += token.text;
    }
    copied = begin + token.text.size();
  }
}

}  // namespace nuages::sql
