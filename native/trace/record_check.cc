#include "trace/record_check.h"

#include "trace/record.h"
#include "trace/scope.h"

namespace nuages::trace {
namespace {

constexpr auto kLastValueType = static_cast<uint8_t>(wire::ValueType::kBytes);
constexpr auto kLastKind = static_cast<uint8_t>(wire::SpanKind::kConsumer);
constexpr auto kLastStatus = static_cast<uint8_t>(wire::StatusCode::kError);

// The fixed part of an entry and its text fit; `rest` becomes what follows them.
bool split(std::string_view entry, const EntryHeader& header, size_t part, std::string_view& rest) {
  const uint64_t fixed = sizeof(EntryHeader) + uint64_t{part} + header.text_size;
  if (fixed > entry.size()) return false;
  rest = entry.substr(fixed);
  return true;
}

bool valid_attribute(std::string_view entry, const EntryHeader& header) {
  std::string_view value;
  if (!split(entry, header, 0, value)) return false;
  if (static_cast<uint8_t>(header.value_type) > kLastValueType) return false;
  switch (header.value_type) {
    case wire::ValueType::kBool:
      return !value.empty();
    case wire::ValueType::kInt:
    case wire::ValueType::kDouble:
      return value.size() >= 8;
    default:
      return true;
  }
}

bool valid_entries(std::string_view log, bool nested);

bool valid_entry(std::string_view entry, const EntryHeader& header, bool nested) {
  std::string_view attributes;
  switch (header.type) {
    case EntryType::kDead:
      return true;
    case EntryType::kAttribute:
      return valid_attribute(entry, header);
    case EntryType::kEvent:
      return !nested && split(entry, header, sizeof(EventPart), attributes) &&
             valid_entries(attributes, true);
    case EntryType::kLink:
      return !nested && split(entry, header, sizeof(LinkPart), attributes) &&
             valid_entries(attributes, true);
  }
  return false;
}

bool valid_entries(std::string_view log, bool nested) {
  while (!log.empty()) {
    if (log.size() < sizeof(EntryHeader)) return false;
    const auto header = load<EntryHeader>(log.data());
    if (header.size < sizeof(EntryHeader) || header.size > log.size()) return false;
    if (!valid_entry(log.substr(0, header.size), header, nested)) return false;
    log.remove_prefix(header.size);
  }
  return true;
}

}  // namespace

bool valid_record(std::string_view bytes, uint32_t scope_count) noexcept {
  if (bytes.size() < sizeof(RecordHeader)) return false;
  const auto header = load<RecordHeader>(bytes.data());
  const uint64_t size = sizeof(RecordHeader) + uint64_t{header.log_size} + header.name_size +
                        header.status_size + header.trace_state_size;
  if (header.size != bytes.size() || size != bytes.size()) return false;
  if (header.scope >= scope_count || header.kind > kLastKind || header.status > kLastStatus) {
    return false;
  }
  if ((header.trace_high | header.trace_low) == 0 || header.span_id == 0) return false;
  return valid_entries(bytes.substr(sizeof header, header.log_size), false);
}

bool valid_description(std::string_view bytes) noexcept {
  if (bytes.empty()) return true;
  if (bytes.size() < sizeof(DescriptionHeader)) return false;
  const auto header = load<DescriptionHeader>(bytes.data());
  const uint64_t fixed = sizeof header + uint64_t{header.name_size} + header.version_size +
                         uint64_t{header.schema_size};
  return fixed <= bytes.size() && valid_entries(bytes.substr(fixed), true);
}

}  // namespace nuages::trace
