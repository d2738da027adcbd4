// Which attribute keys have a column of their own, in OpenTelemetry's old and stable names.
//
// The builder moves these attributes into columns and lists their keys per row; the query side
// finds the column again by the same table, so a span reads back with the names its SDK used.
// Source: OpenTelemetry semantic conventions 1.21 (old HTTP and database names) and 1.36 (stable),
// plus the keys of our own agent. Lookup costs one hash of length and three characters.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nuages::store {

enum class Field : uint8_t {
  kHttpMethod,
  kHttpRoute,
  kHttpStatus,
  kDbSystem,
  kDbName,
  kDbOperation,
  kDbTable,
  kStatement,
  kFingerprint,
  kSqlLabel,
  kCodeFile,
  kCodeFunction,
  kCodeLine,
  kTask,
  kQueue,
  kNuagesKind,
  kQueryCount,
  kNPlusOne,
  kMaxRepetitions,
};
inline constexpr size_t kFields = 19;

std::optional<Field> promoted_field(std::string_view key);

}  // namespace nuages::store
