// What the OTLP messages of all three signals consist of, as tables: names, numbers, types.
//
// For the code that treats every message alike: OTLP/JSON to protobuf (wire/otlp_json.h) and the
// check of logs and metrics (wire/otlp_check.h). Spans have a reader of their own
// (wire/otlp_reader.h), which is faster. Constant data; any thread.
// Source: opentelemetry-proto v1 (trace, logs, metrics, common, resource .proto).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace nuages::wire {

enum class Signal : uint8_t { kTraces, kLogs, kMetrics };
inline constexpr size_t kSignals = 3;
std::string_view signal_name(Signal signal);  // "traces"
std::string_view item_name(Signal signal);    // "span", "log record", "data point"

enum class FieldType : uint8_t {
  kString,
  kBytes,  // base64 in JSON
  kId,     // bytes too, but hexadecimal in OTLP/JSON
  kBool,
  kInt64,
  kUint32,
  kUint64,
  kSint32,
  kFixed32,
  kFixed64,
  kSfixed64,
  kDouble,
  kEnum,
  kMessage,
};

enum class Presence : uint8_t {
  kImplicit,  // zero is not written
  kExplicit,  // optional or of a oneof: zero is written
  kRepeated,  // numbers are packed
};

struct EnumValue {
  std::string_view name;
  int32_t number;
};

struct MessageType;

struct Field {
  std::string_view name;  // lowerCamelCase
  uint32_t number;
  FieldType type;
  Presence presence = Presence::kImplicit;
  const MessageType* message = nullptr;
  std::span<const EnumValue> values = {};
  uint8_t oneof = 0;  // fields with the same number other than 0 exclude each other
};

struct MessageType {
  std::string_view name;
  std::span<const Field> fields;
  bool item = false;  // a span, log record or data point: what partial success counts
};

// Export{Trace,Logs,Metrics}ServiceRequest.
const MessageType& request_type(Signal signal);

// By number.
const Field* find_field(const MessageType& type, uint32_t number);
// By its JSON name or its name in the .proto file.
const Field* find_field(const MessageType& type, std::string_view name);

}  // namespace nuages::wire
