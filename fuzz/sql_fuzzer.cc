// sql/: any bytes as a statement of any dialect (the first byte chooses it).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "sql/statement.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nuages::sql;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const auto dialect = static_cast<Dialect>(data[0] % 4);
  const std::string_view sql(reinterpret_cast<const char*>(data) + 1, size - 1);

  const std::string clean = sanitize(sql, dialect);
  require(clean.size() <= sql.size());
  require(sanitize(clean, dialect) == clean);

  const Statement statement = analyze(sql, dialect);
  require(statement.label.size() <= kMaxLabelBytes);
  require(statement.fingerprint != 0);
  require(!statement.clean || clean == sql);

  // What leaves the process holds no literal any more, and is the same query.
  const Statement again = analyze(statement.normalized, dialect);
  require(!again.has_literals);
  require(again.normalized == statement.normalized);
  require(again.fingerprint == statement.fingerprint);
  require(!analyze(clean, dialect).has_literals);
  require(analyze(clean, dialect).fingerprint == statement.fingerprint);
  return 0;
}
