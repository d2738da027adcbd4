#include "sql/value_places.h"

#include <gtest/gtest.h>

#include "sql/statement.h"

namespace nuages::sql {
namespace {

std::string hidden(std::string_view sql) { return sanitize(sql, Dialect::kSqlite); }

TEST(ValuePlaces, BehindOperators) {
  for (const char* op :
       {"=", "==", "<>", "!=", "<", ">", "<=", ">=", "||", "LIKE", "glob", "REGEXP", "MATCH"}) {
    const std::string sql = std::string("SELECT 1 FROM t WHERE \"a\" ") + op + " ";
    EXPECT_EQ(hidden(sql + "\"secret\"").find("secret"), std::string::npos) << op;
    EXPECT_NE(hidden(sql + "\"t\".\"b\"").find("\"t\".\"b\""), std::string::npos) << op;
  }
}

TEST(ValuePlaces, BothEndsOfBetween) {
  EXPECT_EQ(hidden(R"(a BETWEEN "x" AND "y" AND "z" = 1)"), R"(a BETWEEN ? AND ? AND "z" = ?)");
}

TEST(ValuePlaces, InBrackets) {
  EXPECT_EQ(hidden(R"(a = (("x")) AND b = ("t"."c") AND d = ("e" || "f"))"),
            R"(a = ((?)) AND b = ("t"."c") AND d = (? || ?))");
  EXPECT_EQ(hidden(R"(a = (SELECT "b" FROM "c"))"), R"(a = (SELECT "b" FROM "c"))");
}

TEST(ValuePlaces, ItemsOfLists) {
  EXPECT_EQ(hidden(R"("a" IN ("x", "y", lower("z")))"), R"("a" IN (?, ?, lower("z")))");
  EXPECT_EQ(hidden(R"("a" NOT IN (SELECT "b" FROM "c"))"), R"("a" NOT IN (SELECT "b" FROM "c"))");
  EXPECT_EQ(hidden(R"(INSERT INTO "t" ("a", "b") VALUES ("x", 1), ("y", 2) RETURNING "a", ("b"))"),
            R"(INSERT INTO "t" ("a", "b") VALUES (?, ?), (?, ?) RETURNING "a", ("b"))");
  EXPECT_EQ(hidden(R"(VALUES ("x"), ("y"))"), "VALUES (?), (?)");
}

TEST(ValuePlaces, NamesElsewhere) {
  for (
      const char* sql :
      {R"(SELECT "a", count("b") AS "c" FROM "t" "u" GROUP BY "a", "b" HAVING count("b") > ? ORDER BY "c")",
       R"(CREATE TABLE "t" ("a" integer REFERENCES "o" ("id"), UNIQUE ("a", "b")))",
       R"(CREATE INDEX "i" ON "t" ("a", "b") WHERE "a" IS NOT NULL)",
       R"(SELECT CASE WHEN "a" THEN "b" ELSE "c" END, "d" FROM "t" JOIN "u" ON ("t"."a" = "u"."b"))"}) {
    EXPECT_EQ(hidden(sql), sql);
  }
}

TEST(ValuePlaces, SqliteAlone) {
  constexpr const char* kSql = R"(SELECT 1 FROM t WHERE a = "secret")";
  EXPECT_NE(sanitize(kSql, Dialect::kPostgreSql).find("secret"), std::string::npos);
  EXPECT_NE(sanitize(kSql, Dialect::kGeneric).find("secret"), std::string::npos);
  EXPECT_EQ(sanitize(kSql, Dialect::kMySql).find("secret"), std::string::npos);
}

}  // namespace
}  // namespace nuages::sql
