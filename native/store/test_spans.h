// Spans for tests of the store, the queries and the API: plain values in, decoder calls out, and
// one embedded store per test process in a temporary folder (the engine allows one path per
// process). Test code only.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "store/block_builder.h"
#include "store/span_block.h"
#include "wire/otlp_model.h"

namespace nuages::store::testing {

using TestValue = std::variant<std::string, int64_t, double, bool>;
using TestAttributes = std::vector<std::pair<std::string, TestValue>>;

struct TestEvent {
  std::string name = {};
  TestAttributes attributes = {};
  uint64_t time = 0;
};

struct TestLink {
  TraceId trace_id = {};
  SpanId span_id = 0;
  TestAttributes attributes = {};
};

struct TestSpan {
  TraceId trace_id = {};
  SpanId span_id = 0;
  SpanId parent_id = 0;
  std::string name = {};
  wire::SpanKind kind = wire::SpanKind::kInternal;
  uint64_t start = 0;
  uint64_t duration = 0;
  TestAttributes attributes = {};
  std::vector<TestEvent> events = {};
  std::vector<TestLink> links = {};
  wire::StatusCode status = wire::StatusCode::kUnset;
  std::string status_message = {};
};

inline wire::Value to_wire(const TestValue& value) {
  wire::Value out;
  if (const auto* text = std::get_if<std::string>(&value)) {
    out.type = wire::ValueType::kString;
    out.text = *text;
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    out.type = wire::ValueType::kInt;
    out.integer = *integer;
  } else if (const auto* number = std::get_if<double>(&value)) {
    out.type = wire::ValueType::kDouble;
    out.number = *number;
  } else {
    out.type = wire::ValueType::kBool;
    out.boolean = std::get<bool>(value);
  }
  return out;
}

inline std::vector<wire::KeyValue> to_wire(const TestAttributes& attributes) {
  std::vector<wire::KeyValue> out;
  for (const auto& [key, value] : attributes) out.push_back({key, to_wire(value)});
  return out;
}

inline void append_spans(BlockBuilder& builder, const TestAttributes& resource,
                         const std::vector<TestSpan>& spans) {
  builder.on_resource({.attributes = to_wire(resource)});
  builder.on_scope({.name = "test", .version = "1", .attributes = {}});
  for (const TestSpan& span : spans) {
    wire::Span out;
    out.trace_id = span.trace_id;
    out.span_id = span.span_id;
    out.parent_id = span.parent_id;
    out.name = span.name;
    out.kind = span.kind;
    out.start_ns = span.start;
    out.end_ns = span.start + span.duration;
    out.attributes = to_wire(span.attributes);
    for (const TestEvent& event : span.events) {
      out.events.push_back({event.time, event.name, to_wire(event.attributes), 0});
    }
    for (const TestLink& link : span.links) {
      out.links.push_back({link.trace_id, link.span_id, "", to_wire(link.attributes), 0, 0});
    }
    out.status = span.status;
    out.status_message = span.status_message;
    builder.on_span(out);
  }
}

inline SpanBlock make_block(const std::string& service, const std::vector<TestSpan>& spans,
                            uint64_t receive_time) {
  SpanBlock block;
  BlockBuilder builder(block);
  builder.set_receive_time(receive_time);
  append_spans(builder, {{"service.name", service}}, spans);
  return block;
}

}  // namespace nuages::store::testing
