#include "sql/statement.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <random>

#include "base/golden.h"

namespace nuages::sql {
namespace {

uint64_t fingerprint(std::string_view sql, Dialect dialect = Dialect::kPostgreSql) {
  return analyze(sql, dialect).fingerprint;
}
std::string label(std::string_view sql, Dialect dialect = Dialect::kPostgreSql) {
  return analyze(sql, dialect).label;
}

// The first line of a case names the dialect.
TEST(Statement, MatchesTheGoldenFiles) {
  testing::run_golden_suite("sql", [](const std::string& input) {
    const size_t line_end = input.find('\n');
    const Dialect dialect = dialect_from_system(input.substr(0, line_end));
    const std::string sql = line_end == std::string::npos ? "" : input.substr(line_end + 1);
    const Statement s = analyze(sql, dialect);
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(s.fingerprint));
    return "normalized:  " + s.normalized + "\nsanitized:   " + sanitize(sql, dialect) +
           "\nlabel:       " + s.label + "\noperation:   " + s.operation +
           "\ntable:       " + s.table + "\nfingerprint: " + hex +
           (s.has_literals ? "\nhas literals" : "");
  });
}

TEST(Fingerprint, IsOneForTheSameQuery) {
  const uint64_t expected =
      fingerprint(R"(SELECT "o"."id" FROM "orders" o WHERE id IN (%s) AND x = %s)");
  for (const char* same : {
           R"(SELECT "o"."id" FROM "orders" o WHERE id IN (1, 2, 3) AND x = 'it''s')",
           R"(select o.id from orders o where id in (%(a)s,%(b)s) and x = $1)",
           "SELECT o . id\n\tFROM orders o WHERE id IN (-5, NULL) AND x = E'\\'' -- trailing",
           "/* traceparent='00-1' */ SELECT o.id FROM orders o WHERE id IN (?) AND x=?;",
       }) {
    EXPECT_EQ(fingerprint(same), expected) << same;
  }
  EXPECT_EQ(fingerprint("SELECT `o`.`id` FROM `orders` o WHERE id IN (%s, %s) AND x = \"y\"",
                        Dialect::kMySql),
            expected);
}

TEST(Fingerprint, TellsShapesApart) {
  const char* shapes[] = {
      "SELECT a FROM t",
      "SELECT b FROM t",
      "SELECT a FROM u",
      "SELECT a FROM t WHERE a = %s",
      "SELECT a FROM t WHERE b = %s",
      "SELECT a FROM t WHERE a > %s",
      "SELECT a FROM t WHERE a = %s AND b = %s",
      "SELECT a FROM t WHERE a = %s OR b = %s",
      "SELECT a FROM t WHERE a IN (%s)",
      "SELECT a FROM t WHERE a IN (SELECT a FROM u)",
      "SELECT a FROM t WHERE a IS NULL",
      "SELECT a FROM t WHERE a = TRUE",
      "SELECT a FROM t WHERE a = FALSE",
      "SELECT a FROM t ORDER BY a",
      "SELECT a FROM t ORDER BY a LIMIT 1",
      "SELECT ab FROM t",
      "SELECT a b FROM t",
      "SELECT \"A\" FROM t",
      "INSERT INTO t (a) VALUES (%s)",
      "INSERT INTO t (a, b) VALUES (%s, %s)",
      "UPDATE t SET a = %s",
      "UPDATE t SET a = %s WHERE b = %s",
      "DELETE FROM t WHERE a = %s",
      "SAVEPOINT a",
      "RELEASE SAVEPOINT a",
      "ROLLBACK TO SAVEPOINT a",
      "ROLLBACK",
      "COMMIT",
      "",
  };
  for (const char* a : shapes) {
    for (const char* b : shapes) {
      if (a != b) {
        EXPECT_NE(fingerprint(a), fingerprint(b)) << a << "\n" << b;
      }
    }
  }
}

TEST(Fingerprint, ForgetsSavepointNamesAndBatchSizes) {
  EXPECT_EQ(fingerprint("SAVEPOINT \"s1_x1\""), fingerprint("SAVEPOINT \"s2_x9\""));
  EXPECT_EQ(fingerprint("RELEASE SAVEPOINT \"s1_x1\""), fingerprint("RELEASE SAVEPOINT s9"));
  EXPECT_EQ(fingerprint("ROLLBACK TO SAVEPOINT a"), fingerprint("ROLLBACK TO SAVEPOINT b"));
  std::string rows = "INSERT INTO t (a, b) VALUES (%s, %s)";
  const uint64_t one = fingerprint(rows);
  for (int i = 0; i < 1000; ++i) rows += i % 3 == 0 ? ", (%s, NULL)" : ", ('x', DEFAULT)";
  EXPECT_EQ(fingerprint(rows), one);
  EXPECT_EQ(fingerprint(rows + " RETURNING id"),
            fingerprint("INSERT INTO t (a, b) VALUES (%s, %s) RETURNING id"));
}

TEST(Label, IsWhatTheTraceTreeShows) {
  EXPECT_EQ(label(R"(SELECT "auth_user"."id", "auth_user"."name" FROM "auth_user"
                     WHERE "auth_user"."id" = 7 LIMIT 21)"),
            "SELECT FROM auth_user WHERE id = ?");
  EXPECT_EQ(
      label(
          R"(INSERT INTO "orders" ("user_id", "amount") VALUES (%s, %s) RETURNING "orders"."id")"),
      "INSERT INTO orders (...) VALUES (...)");
  EXPECT_EQ(label(R"(UPDATE "orders" SET "status" = %s WHERE "orders"."id" = %s)"),
            "UPDATE orders SET status = ? WHERE id = ?");
}

TEST(Label, NeverExceedsItsLimitNorCutsACharacter) {
  for (size_t pad = 0; pad < 8; ++pad) {
    std::string sql = "SELECT a FROM t WHERE " + std::string(pad, 'x');
    for (int i = 0; i < 200; ++i) sql += "é";
    const std::string text = label(sql + " = 1");
    ASSERT_LE(text.size(), kMaxLabelBytes);
    ASSERT_TRUE(text.ends_with("é...")) << text;
  }
  EXPECT_LE(label(std::string(5000, 'x')).size(), kMaxLabelBytes);
}

TEST(Sanitize, HidesEverySecretInEveryDialect) {
  struct Case {
    Dialect dialect;
    const char* sql;
  };
  // Whatever holds "secret" or 987 here is a literal or a comment of the dialect.
  const Case cases[] = {
      {Dialect::kPostgreSql,
       "SELECT 'secret', 'it''s secret', E'\\' secret', N'secret', U&'secret'"},
      {Dialect::kPostgreSql, "SELECT $$secret$$, $tag$ $$ secret $tag$, B'987', X'987', 987, -987"},
      {Dialect::kPostgreSql, "SELECT a FROM t WHERE a='secret'AND b=987AND c LIKE'%secret%'"},
      {Dialect::kPostgreSql, "SELECT a[987:987] FROM t -- secret"},
      {Dialect::kPostgreSql, "SELECT /* secret /* nested */ secret */ a FROM t"},
      {Dialect::kPostgreSql, "SELECT a FROM t WHERE a = 'secret"},
      {Dialect::kPostgreSql, "SELECT a FROM t WHERE a = $x$secret"},
      {Dialect::kPostgreSql, "SELECT a FROM t WHERE a = \"secret"},
      {Dialect::kPostgreSql, "SELECT a FROM t /* secret"},
      {Dialect::kPostgreSql,
       "INTERVAL '987 days', DATE '987-01-01', .987, 1.987e-987, 0x987, 1_987"},
      {Dialect::kMySql,
       "SELECT 'it\\'s secret', \"secret\", \"a\\\" secret\", _utf8mb4'secret' # secret"},
      {Dialect::kMySql, "SELECT x'987', 0x987, N'secret', 'a\\\\', 'secret' -- secret"},
      {Dialect::kMySql, "SELECT /*! secret */ 'a''secret'"},
      {Dialect::kSqlite, "SELECT 'back\\', 'secret', X'987', 987"},
      {Dialect::kSqlite, "SELECT [secret"},
      {Dialect::kSqlite, "SELECT `secret"},
      {Dialect::kGeneric, "SELECT q'[it's secret]', nq'{it's secret}', Q'!secret'!' FROM dual"},
      {Dialect::kGeneric, "SELECT q'(secret"},
  };
  for (const auto& c : cases) {
    const Statement s = analyze(c.sql, c.dialect);
    for (const std::string& text : {sanitize(c.sql, c.dialect), s.normalized, s.label}) {
      EXPECT_EQ(text.find("secret"), std::string::npos) << c.sql << "\n" << text;
      EXPECT_EQ(text.find("987"), std::string::npos) << c.sql << "\n" << text;
    }
  }
}

TEST(Sanitize, KeepsIdentifiersPlaceholdersAndSpacing) {
  const struct {
    Dialect dialect;
    const char* sql;
  } kept[] = {
      {Dialect::kPostgreSql,
       "SELECT  \"a 1\".\"b''\",\n t2.c_3 FROM t2 WHERE a=%s AND b = %(x.y)s"},
      {Dialect::kPostgreSql,
       "SELECT a::int, b->>c, d #>> e, U&\"x\" FROM t WHERE a = $1 AND b = :name"},
      {Dialect::kPostgreSql, "SELECT a %% b, a %sum, NULL, TRUE, false FROM t"},
      {Dialect::kSqlite, "SELECT [a 1], `b`, ?1, :a, @b, $c FROM t"},
      {Dialect::kMySql, "SELECT `a 1`, @v, @@w FROM t WHERE a - b -- "},
      {Dialect::kGeneric, "SELECT a$b, :1, @p1 FROM t"},
  };
  for (const auto& k : kept) {
    if (k.dialect == Dialect::kMySql) continue;
    EXPECT_EQ(sanitize(k.sql, k.dialect), k.sql);
    EXPECT_TRUE(analyze(k.sql, k.dialect).clean) << k.sql;
  }
  EXPECT_EQ(sanitize(kept[4].sql, Dialect::kMySql), "SELECT `a 1`, @v, @@w FROM t WHERE a - b");
}

TEST(Statement, IsLinearOnHostileInput) {
#ifdef __OPTIMIZE__
  constexpr size_t kBytes = 200'000;
#else
  constexpr size_t kBytes = 10'000;
#endif
  for (const char* piece : {"(",
                            ")",
                            "IN (",
                            "IN (1, ",
                            "VALUES (",
                            "VALUES (1), ",
                            "'",
                            "\"",
                            "$a",
                            "$a$",
                            "/*",
                            "*/",
                            "%(",
                            "%(a",
                            "CASE ",
                            "WITH ",
                            "SELECT FROM (",
                            "a.",
                            ", ",
                            "-",
                            "U&",
                            "q'",
                            "\\",
                            "[",
                            "`",
                            ":",
                            "((1),(2)),",
                            "WHERE (",
                            "SAVEPOINT "}) {
    for (const Dialect dialect :
         {Dialect::kGeneric, Dialect::kPostgreSql, Dialect::kSqlite, Dialect::kMySql}) {
      for (const char* head : {"", "SELECT a FROM ", "SELECT a FROM t WHERE ", "INSERT INTO t "}) {
        std::string sql = head;
        while (sql.size() < kBytes) sql += piece;
        const Statement s = analyze(sql, dialect);
        ASSERT_LE(s.label.size(), kMaxLabelBytes);
        ASSERT_LE(sanitize(sql, dialect).size(), sql.size());
      }
    }
  }
}

TEST(Dialect, ComesFromTheSystemName) {
  EXPECT_EQ(dialect_from_system("postgresql"), Dialect::kPostgreSql);
  EXPECT_EQ(dialect_from_system("sqlite"), Dialect::kSqlite);
  EXPECT_EQ(dialect_from_system("mysql"), Dialect::kMySql);
  EXPECT_EQ(dialect_from_system("mariadb"), Dialect::kMySql);
  EXPECT_EQ(dialect_from_system("oracle"), Dialect::kGeneric);
  EXPECT_EQ(dialect_from_system(""), Dialect::kGeneric);
}

}  // namespace
}  // namespace nuages::sql
