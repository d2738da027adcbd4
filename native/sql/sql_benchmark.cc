// The cost of knowing a statement: analysed anew, from the cache, sanitised.
#include <benchmark/benchmark.h>

#include <string>

#include "sql/statement.h"
#include "sql/statement_cache.h"

namespace nuages::sql {
namespace {

constexpr std::string_view kShort =
    R"(SELECT "auth_user"."id", "auth_user"."username" FROM "auth_user" WHERE "auth_user"."id" = %s LIMIT 21)";

// What Django sends for Order.objects.select_related("user").filter(...)[:20]: about 700 bytes.
constexpr std::string_view kJoin =
    R"(SELECT "orders_order"."id", "orders_order"."user_id", "orders_order"."amount", )"
    R"("orders_order"."status", "orders_order"."created_at", "orders_order"."updated_at", )"
    R"("auth_user"."id", "auth_user"."password", "auth_user"."last_login", )"
    R"("auth_user"."is_superuser", "auth_user"."username", "auth_user"."first_name", )"
    R"("auth_user"."last_name", "auth_user"."email", "auth_user"."is_staff", )"
    R"("auth_user"."is_active", "auth_user"."date_joined" FROM "orders_order" )"
    R"(INNER JOIN "auth_user" ON ("orders_order"."user_id" = "auth_user"."id") )"
    R"(WHERE ("orders_order"."status" = %s AND "orders_order"."amount" > %s) )"
    R"(ORDER BY "orders_order"."created_at" DESC LIMIT 20)";

std::string bulk_insert(int rows) {
  std::string sql = R"(INSERT INTO "orders_order" ("user_id", "amount", "status") VALUES )";
  for (int i = 0; i < rows; ++i) sql += i == 0 ? "(%s, %s, %s)" : ", (%s, %s, %s)";
  return sql;
}

void analyze_text(benchmark::State& state, std::string_view sql) {
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(analyze(sql, Dialect::kPostgreSql));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * sql.size()));
}
void cached(benchmark::State& state, std::string_view sql) {
  StatementCache cache;
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(cache.get(sql, Dialect::kPostgreSql));
}
void sanitize_text(benchmark::State& state, std::string_view sql) {
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(sanitize(sql, Dialect::kPostgreSql));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * sql.size()));
}

void BM_AnalyzeShort(benchmark::State& state) { analyze_text(state, kShort); }
void BM_AnalyzeJoin(benchmark::State& state) { analyze_text(state, kJoin); }
void BM_AnalyzeBulkInsert1000(benchmark::State& state) { analyze_text(state, bulk_insert(1000)); }
void BM_CachedShort(benchmark::State& state) { cached(state, kShort); }
void BM_CachedJoin(benchmark::State& state) { cached(state, kJoin); }
void BM_SanitizeShort(benchmark::State& state) { sanitize_text(state, kShort); }
void BM_SanitizeJoin(benchmark::State& state) { sanitize_text(state, kJoin); }

BENCHMARK(BM_AnalyzeShort);
BENCHMARK(BM_AnalyzeJoin);
BENCHMARK(BM_AnalyzeBulkInsert1000);
BENCHMARK(BM_CachedShort);
BENCHMARK(BM_CachedJoin);
BENCHMARK(BM_SanitizeShort);
BENCHMARK(BM_SanitizeJoin);

}  // namespace
}  // namespace nuages::sql

BENCHMARK_MAIN();
