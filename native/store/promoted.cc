#include "store/promoted.h"

#include <array>

namespace nuages::store {
namespace {

struct Key {
  std::string_view key;
  Field field;
};

constexpr Key kKeys[] = {
    {"http.method", Field::kHttpMethod},
    {"http.request.method", Field::kHttpMethod},
    {"http.route", Field::kHttpRoute},
    {"http.status_code", Field::kHttpStatus},
    {"http.response.status_code", Field::kHttpStatus},
    {"db.system", Field::kDbSystem},
    {"db.system.name", Field::kDbSystem},
    {"db.name", Field::kDbName},
    {"db.namespace", Field::kDbName},
    {"db.operation", Field::kDbOperation},
    {"db.operation.name", Field::kDbOperation},
    {"db.sql.table", Field::kDbTable},
    {"db.collection.name", Field::kDbTable},
    {"db.statement", Field::kStatement},
    {"db.query.text", Field::kStatement},
    {"nuages.db.fingerprint", Field::kFingerprint},
    {"nuages.db.label", Field::kSqlLabel},
    {"code.filepath", Field::kCodeFile},
    {"code.file.path", Field::kCodeFile},
    {"code.function", Field::kCodeFunction},
    {"code.function.name", Field::kCodeFunction},
    {"code.lineno", Field::kCodeLine},
    {"code.line.number", Field::kCodeLine},
    {"celery.task_name", Field::kTask},
    {"messaging.destination", Field::kQueue},
    {"messaging.destination.name", Field::kQueue},
    {"nuages.kind", Field::kNuagesKind},
    {"db.query_count", Field::kQueryCount},
    {"db.potential_n_plus_one", Field::kNPlusOne},
    {"db.max_query_repetitions", Field::kMaxRepetitions},
};
constexpr size_t kSlots = 128;  // a power of two, some four times the keys
constexpr size_t kShortest = 7;

constexpr size_t slot_of(std::string_view key) {
  const auto at = [&](size_t i) { return size_t{static_cast<unsigned char>(key[i])}; };
  return (key.size() * 37 + at(key.size() - 1) * 11 + at(3) * 5 + at(key.size() / 2) * 3) % kSlots;
}

// Open addressing, filled by the compiler: slot -> index into kKeys plus one.
constexpr std::array<uint8_t, kSlots> make_slots() {
  std::array<uint8_t, kSlots> slots{};
  uint8_t number = 0;
  for (const auto& entry : kKeys) {
    size_t slot = slot_of(entry.key);
    while (slots[slot] != 0) slot = (slot + 1) % kSlots;
    slots[slot] = ++number;
  }
  return slots;
}
constexpr auto kTable = make_slots();

}  // namespace

std::optional<Field> promoted_field(std::string_view key) {
  if (key.size() < kShortest) return std::nullopt;
  for (size_t slot = slot_of(key); kTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const Key& entry = kKeys[kTable[slot] - 1];
    if (entry.key == key) return entry.field;
  }
  return std::nullopt;
}

}  // namespace nuages::store
