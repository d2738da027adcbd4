// The OTLP trace model as views: what a decoder hands out and an encoder takes, without owning
// anything.
//
// Source: opentelemetry-proto v1 (trace.proto, common.proto, resource.proto). Every string_view
// points into the caller's buffer and lives as long as that buffer. Vectors are reused from span to
// span by the reader, so a visitor must copy what it keeps. Enumerations hold the OTLP numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace nuages::wire {

enum class SpanKind : uint8_t { kUnspecified, kInternal, kServer, kClient, kProducer, kConsumer };
enum class StatusCode : uint8_t { kUnset, kOk, kError };
enum class ValueType : uint8_t {
  kEmpty,
  kString,
  kBool,
  kInt,
  kDouble,
  kArray,
  kKeyValueList,
  kBytes
};

// One AnyValue. Strings and bytes are in `text`; arrays and key-value lists keep their encoded
// message in `text` and are walked on demand (read_array, read_key_values in wire/otlp_reader.h),
// so a value is 32 bytes and never allocates.
struct Value {
  ValueType type = ValueType::kEmpty;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string_view text;
};

struct KeyValue {
  std::string_view key;
  Value value;
};

struct Event {
  uint64_t time_ns = 0;
  std::string_view name;
  std::vector<KeyValue> attributes;
  uint32_t dropped_attributes = 0;
};

struct Link {
  TraceId trace_id;
  SpanId span_id = 0;
  std::string_view trace_state;
  std::vector<KeyValue> attributes;
  uint32_t dropped_attributes = 0;
  uint32_t flags = 0;
};

struct Resource {
  std::vector<KeyValue> attributes;
  uint32_t dropped_attributes = 0;
};

struct Scope {
  std::string_view name;
  std::string_view version;
  std::vector<KeyValue> attributes;
};

struct Span {
  TraceId trace_id;
  SpanId span_id = 0;
  SpanId parent_id = 0;
  std::string_view trace_state;
  uint32_t flags = 0;
  std::string_view name;
  SpanKind kind = SpanKind::kUnspecified;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  std::vector<KeyValue> attributes;
  std::vector<Event> events;
  std::vector<Link> links;
  StatusCode status = StatusCode::kUnset;
  std::string_view status_message;
  uint32_t dropped_attributes = 0;
  uint32_t dropped_events = 0;
  uint32_t dropped_links = 0;
};

}  // namespace nuages::wire
