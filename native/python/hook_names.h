// Attribute names of semantic conventions that have changed: the old ones by default, the stable
// ones or both as OTEL_SEMCONV_STABILITY_OPT_IN says (`http`, `http/dup`, `database`,
// `database/dup`; https://opentelemetry.io/docs/specs/semconv/db/). Under the GIL only.
#pragma once

#include <cstdint>
#include <string_view>

#include "python/hook_state.h"

namespace nuages::python {

enum class SemconvNames : uint8_t { kOld, kStable, kBoth };
SemconvNames http_names(Hooks& hooks) noexcept;      // `options["semconv_http"]`
SemconvNames database_names(Hooks& hooks) noexcept;  // `options["semconv_database"]`

struct SemconvName {
  std::string_view old, stable;
};
inline constexpr SemconvName kDbSystem{"db.system", "db.system.name"};
inline constexpr SemconvName kDbName{"db.name", "db.namespace"};
inline constexpr SemconvName kDbStatement{"db.statement", "db.query.text"};
inline constexpr SemconvName kDbOperation{"db.operation", "db.operation.name"};
inline constexpr SemconvName kDbTable{"db.sql.table", "db.collection.name"};
inline constexpr SemconvName kPeerName{"net.peer.name", "server.address"};
inline constexpr SemconvName kPeerPort{"net.peer.port", "server.port"};

// The stable value of db.system.name.
std::string_view stable_db_system(std::string_view old) noexcept;

}  // namespace nuages::python
