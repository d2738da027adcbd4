#include "wire/otlp_reader.h"

#include <limits>

namespace nuages::wire {
namespace {

uint32_t saturated(uint64_t value) {
  return value > std::numeric_limits<uint32_t>::max() ? std::numeric_limits<uint32_t>::max()
                                                      : static_cast<uint32_t>(value);
}

SpanKind span_kind(uint64_t value) {
  return value <= static_cast<uint64_t>(SpanKind::kConsumer) ? static_cast<SpanKind>(value)
                                                             : SpanKind::kUnspecified;
}

StatusCode status_code(uint64_t value) {
  return value <= static_cast<uint64_t>(StatusCode::kError) ? static_cast<StatusCode>(value)
                                                            : StatusCode::kUnset;
}

// Zero, which is never valid, for what is no id.
TraceId trace_id(std::string_view bytes) {
  return bytes.size() == 16 ? trace_id_from_bytes(bytes) : TraceId{};
}

SpanId span_id(std::string_view bytes) {
  return bytes.size() == 8 ? span_id_from_bytes(bytes) : SpanId{0};
}

}  // namespace

std::string_view describe(RejectReason reason) {
  switch (reason) {
    case RejectReason::kTraceId:
      return "a trace id that is not 16 bytes or is zero";
    case RejectReason::kSpanId:
      return "a span id that is not 8 bytes or is zero";
    case RejectReason::kParentId:
      return "a parent span id that is not 8 bytes";
    case RejectReason::kUtf8:
      return "text that is not UTF-8";
    case RejectReason::kTime:
      return "a time beyond the year 2262";
    case RejectReason::kDepth:
      return "an attribute value nested too deeply";
  }
  return "an unknown defect";
}

std::string ReadStats::message() const {
  if (rejected == 0) return {};
  std::string text = std::to_string(rejected) + (rejected == 1 ? " span" : " spans") + " rejected:";
  const char* separator = " ";
  for (size_t i = 0; i < kRejectReasons; ++i) {
    if (reasons[i] == 0) continue;
    text += separator + std::to_string(reasons[i]) + " with ";
    text += describe(static_cast<RejectReason>(i));
    separator = ", ";
  }
  return text;
}

Error TraceReader::malformed(std::string_view type, std::string_view body, const char* at) {
  std::string message = "the body is not a valid ExportTraceServiceRequest: ";
  message += type;
  message += " is malformed";
  if (at != nullptr) message += " near byte " + std::to_string(at - body.data());
  return {ErrorCode::kInvalid, std::move(message)};
}

std::string_view TraceReader::text(ProtobufReader& reader) {
  const std::string_view view = reader.bytes();
  if (!valid_utf8(view)) reject(RejectReason::kUtf8);
  return view;
}

bool TraceReader::read_value(std::string_view message, Value& out, int depth) {
  if (depth > limits_.depth) {
    reject(RejectReason::kDepth);
    return true;
  }
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.type = ValueType::kString;
      out.text = text(reader);
    } else if (reader.is(2, WireType::kVarint)) {
      out.type = ValueType::kBool;
      out.boolean = reader.varint() != 0;
    } else if (reader.is(3, WireType::kVarint)) {
      out.type = ValueType::kInt;
      out.integer = static_cast<int64_t>(reader.varint());
    } else if (reader.is(4, WireType::kFixed64)) {
      out.type = ValueType::kDouble;
      out.number = reader.fixed_double();
    } else if (reader.is(5, WireType::kLength) || reader.is(6, WireType::kLength)) {
      const bool key_values = reader.field() == 6;
      out.type = key_values ? ValueType::kKeyValueList : ValueType::kArray;
      out.text = reader.bytes();
      if (!reader.ok()) break;
      if (!check_list(out.text, key_values, depth + 1)) return false;
    } else if (reader.is(7, WireType::kLength)) {
      out.type = ValueType::kBytes;
      out.text = reader.bytes();
    } else {
      reader.skip();
    }
  }
  return done(reader, "AnyValue");
}

bool TraceReader::check_list(std::string_view message, bool key_values, int depth) {
  ProtobufReader reader(message);
  while (reader.next()) {
    if (!reader.is(1, WireType::kLength)) {
      reader.skip();
      continue;
    }
    const std::string_view element = reader.bytes();
    if (!reader.ok()) break;
    KeyValue ignored;
    if (key_values ? !read_key_value(element, ignored, depth)
                   : !read_value(element, ignored.value, depth)) {
      return false;
    }
  }
  return done(reader, key_values ? "KeyValueList" : "ArrayValue");
}

bool TraceReader::read_key_value(std::string_view message, KeyValue& out, int depth) {
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.key = text(reader);
    } else if (reader.is(2, WireType::kLength)) {
      const std::string_view value = reader.bytes();
      if (!reader.ok()) break;
      if (!read_value(value, out.value, depth)) return false;
    } else {
      reader.skip();
    }
  }
  return done(reader, "KeyValue");
}

bool TraceReader::add_attribute(ProtobufReader& reader, std::vector<KeyValue>& out,
                                uint32_t& dropped) {
  const std::string_view message = reader.bytes();
  if (!reader.ok()) return true;  // the caller's loop ends and names its own message
  if (out.size() >= limits_.attributes) {
    dropped = saturated(uint64_t{dropped} + 1);
    return true;
  }
  return read_key_value(message, out.emplace_back(), 1);
}

bool TraceReader::read_resource(std::string_view message, Resource& out) {
  uint32_t cut = 0;
  uint64_t dropped = 0;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      if (!add_attribute(reader, out.attributes, cut)) return false;
    } else if (reader.is(2, WireType::kVarint)) {
      dropped = reader.varint();
    } else {
      reader.skip();
    }
  }
  out.dropped_attributes = saturated(out.dropped_attributes + dropped + cut);
  return done(reader, "Resource");
}

bool TraceReader::read_scope(std::string_view message, Scope& out) {
  uint32_t cut = 0;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.name = text(reader);
    } else if (reader.is(2, WireType::kLength)) {
      out.version = text(reader);
    } else if (reader.is(3, WireType::kLength)) {
      if (!add_attribute(reader, out.attributes, cut)) return false;
    } else {
      reader.skip();
    }
  }
  return done(reader, "InstrumentationScope");
}

bool TraceReader::read_event(std::string_view message, Event& out) {
  uint32_t cut = 0;
  uint64_t dropped = 0;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kFixed64)) {
      out.time_ns = reader.fixed64();
    } else if (reader.is(2, WireType::kLength)) {
      out.name = text(reader);
    } else if (reader.is(3, WireType::kLength)) {
      if (!add_attribute(reader, out.attributes, cut)) return false;
    } else if (reader.is(4, WireType::kVarint)) {
      dropped = reader.varint();
    } else {
      reader.skip();
    }
  }
  if (out.time_ns > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    reject(RejectReason::kTime);
  }
  out.dropped_attributes = saturated(dropped + cut);
  return done(reader, "Span.Event");
}

bool TraceReader::read_link(std::string_view message, Link& out, bool& usable) {
  uint32_t cut = 0;
  uint64_t dropped = 0;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.trace_id = trace_id(reader.bytes());
    } else if (reader.is(2, WireType::kLength)) {
      out.span_id = span_id(reader.bytes());
    } else if (reader.is(3, WireType::kLength)) {
      out.trace_state = text(reader);
    } else if (reader.is(4, WireType::kLength)) {
      if (!add_attribute(reader, out.attributes, cut)) return false;
    } else if (reader.is(5, WireType::kVarint)) {
      dropped = reader.varint();
    } else if (reader.is(6, WireType::kFixed32)) {
      out.flags = reader.fixed32();
    } else {
      reader.skip();
    }
  }
  usable = out.trace_id.valid() && out.span_id != 0;
  out.dropped_attributes = saturated(dropped + cut);
  return done(reader, "Span.Link");
}

bool TraceReader::read_status(std::string_view message, Span& out) {
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(2, WireType::kLength)) {
      out.status_message = text(reader);
    } else if (reader.is(3, WireType::kVarint)) {
      out.status = status_code(reader.varint());
    } else {
      reader.skip();
    }
  }
  return done(reader, "Status");
}

std::vector<KeyValue> TraceReader::spare_vector() {
  if (spare_.empty()) return {};
  std::vector<KeyValue> vector = std::move(spare_.back());
  spare_.pop_back();
  vector.clear();
  return vector;
}

void TraceReader::reset(Span& span) {
  constexpr size_t kMaxSpare = 1024;
  for (Event& event : span.events) {
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(event.attributes));
  }
  for (Link& link : span.links) {
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(link.attributes));
  }
  std::vector<KeyValue> attributes = std::move(span.attributes);
  std::vector<Event> events = std::move(span.events);
  std::vector<Link> links = std::move(span.links);
  attributes.clear();
  events.clear();
  links.clear();
  span = Span{};
  span.attributes = std::move(attributes);
  span.events = std::move(events);
  span.links = std::move(links);
}

bool TraceReader::read_span(std::string_view message, Span& out) {
  reset(out);
  uint32_t cut_attributes = 0;
  uint64_t cut_events = 0;
  uint64_t cut_links = 0;
  uint64_t dropped_attributes = 0;
  uint64_t dropped_events = 0;
  uint64_t dropped_links = 0;
  ProtobufReader reader(message);
  while (reader.next()) {
    switch (reader.field() << 3 | static_cast<uint32_t>(reader.type())) {
      case 1 << 3 | 2:
        out.trace_id = trace_id(reader.bytes());
        break;
      case 2 << 3 | 2:
        out.span_id = span_id(reader.bytes());
        break;
      case 3 << 3 | 2:
        out.trace_state = text(reader);
        break;
      case 4 << 3 | 2: {
        const std::string_view id = reader.bytes();
        if (id.size() == 8) {
          out.parent_id = span_id_from_bytes(id);
        } else if (!id.empty()) {
          reject(RejectReason::kParentId);
        }
        break;
      }
      case 5 << 3 | 2:
        out.name = text(reader);
        break;
      case 6 << 3 | 0:
        out.kind = span_kind(reader.varint());
        break;
      case 7 << 3 | 1:
        out.start_ns = reader.fixed64();
        break;
      case 8 << 3 | 1:
        out.end_ns = reader.fixed64();
        break;
      case 9 << 3 | 2:
        if (!add_attribute(reader, out.attributes, cut_attributes)) return false;
        break;
      case 10 << 3 | 0:
        dropped_attributes = reader.varint();
        break;
      case 11 << 3 | 2: {
        const std::string_view event = reader.bytes();
        if (!reader.ok()) break;
        if (out.events.size() >= limits_.events) {
          ++cut_events;
          break;
        }
        out.events.emplace_back().attributes = spare_vector();
        if (!read_event(event, out.events.back())) return false;
        break;
      }
      case 12 << 3 | 0:
        dropped_events = reader.varint();
        break;
      case 13 << 3 | 2: {
        const std::string_view link = reader.bytes();
        if (!reader.ok()) break;
        if (out.links.size() >= limits_.links) {
          ++cut_links;
          break;
        }
        out.links.emplace_back().attributes = spare_vector();
        bool usable = false;
        if (!read_link(link, out.links.back(), usable)) return false;
        if (!usable) {  // a link to nowhere says nothing; the span itself is fine
          out.links.pop_back();
          ++cut_links;
        }
        break;
      }
      case 14 << 3 | 0:
        dropped_links = reader.varint();
        break;
      case 15 << 3 | 2: {
        const std::string_view status = reader.bytes();
        if (reader.ok() && !read_status(status, out)) return false;
        break;
      }
      case 16 << 3 | 5:
        out.flags = reader.fixed32();
        break;
      default:
        reader.skip();
    }
  }
  if (!done(reader, "Span")) return false;
  out.dropped_attributes = saturated(dropped_attributes + cut_attributes);
  out.dropped_events = saturated(dropped_events + cut_events);
  out.dropped_links = saturated(dropped_links + cut_links);
  if (!out.trace_id.valid()) reject(RejectReason::kTraceId);
  if (out.span_id == 0) reject(RejectReason::kSpanId);
  constexpr auto kMaxTime = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (out.start_ns > kMaxTime || out.end_ns > kMaxTime) reject(RejectReason::kTime);
  return true;
}

namespace detail {

Value checked_value(std::string_view message) {
  Value out;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.type = ValueType::kString;
      out.text = reader.bytes();
    } else if (reader.is(2, WireType::kVarint)) {
      out.type = ValueType::kBool;
      out.boolean = reader.varint() != 0;
    } else if (reader.is(3, WireType::kVarint)) {
      out.type = ValueType::kInt;
      out.integer = static_cast<int64_t>(reader.varint());
    } else if (reader.is(4, WireType::kFixed64)) {
      out.type = ValueType::kDouble;
      out.number = reader.fixed_double();
    } else if (reader.is(5, WireType::kLength)) {
      out.type = ValueType::kArray;
      out.text = reader.bytes();
    } else if (reader.is(6, WireType::kLength)) {
      out.type = ValueType::kKeyValueList;
      out.text = reader.bytes();
    } else if (reader.is(7, WireType::kLength)) {
      out.type = ValueType::kBytes;
      out.text = reader.bytes();
    } else {
      reader.skip();
    }
  }
  return out;
}

KeyValue checked_key_value(std::string_view message) {
  KeyValue out;
  ProtobufReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      out.key = reader.bytes();
    } else if (reader.is(2, WireType::kLength)) {
      out.value = checked_value(reader.bytes());
    } else {
      reader.skip();
    }
  }
  return out;
}

}  // namespace detail
}  // namespace nuages::wire
