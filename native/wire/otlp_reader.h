// OTLP trace requests in one pass: bytes of an ExportTraceServiceRequest to calls on a visitor.
//
//   struct Visitor {
//     void on_resource(const wire::Resource&);   // before the spans of a resource
//     void on_scope(const wire::Scope&);         // before the spans of a scope
//     void on_span(const wire::Span&);           // every accepted span
//   };
//
// Nothing is allocated per span: the views handed out point into `body` and the vectors inside them
// are reused, so a visitor copies what it keeps. Every string is checked to be UTF-8 and every
// value's nesting is bounded here, so read_array and read_key_values cannot fail later.
//
// Two kinds of bad input. A message that is not protobuf, or exceeds a limit of the request, is an
// Error, and spans visited before it must be thrown away. A well-formed message with bad spans
// (id length, zero id, text that is not UTF-8, time beyond the year 2262, value too deep) gives the
// good ones to the visitor and counts the others by reason, for OTLP's partial success.
// Attributes, events and links above their limit are dropped and added to the span's dropped
// counts, which is how OpenTelemetry SDKs treat their own limits. Which spans are accepted depends
// on the bytes and the limits only: a replay from the write-ahead log finds the same ones.
//
// Threading: none inside. Cost: about 0.3 us for a span of 450 bytes.
// Source: opentelemetry-proto v1 (trace_service.proto, trace.proto, common.proto).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/otlp_model.h"
#include "wire/protobuf_reader.h"

namespace nuages::wire {

struct Limits {
  size_t spans_per_request = 1'000'000;
  size_t attributes = 1024;  // of a span, event, link, scope or resource
  size_t events = 4096;      // of a span
  size_t links = 4096;       // of a span
  int depth = 64;            // of arrays and key-value lists inside a value
};

enum class RejectReason : uint8_t { kTraceId, kSpanId, kParentId, kUtf8, kTime, kDepth };
inline constexpr size_t kRejectReasons = 6;
std::string_view describe(RejectReason reason);

struct ReadStats {
  uint64_t accepted = 0;
  uint64_t rejected = 0;
  std::array<uint64_t, kRejectReasons> reasons{};

  // "3 spans rejected: 2 with a trace id that ..., 1 with ..."; empty when none was.
  std::string message() const;
};

// Reads single messages into reused structures. The template below drives it; use that.
class TraceReader {
 public:
  explicit TraceReader(const Limits& limits) : limits_(limits) {}

  // Each returns false when the bytes are not protobuf (then error() names the message). Unusable
  // but well-formed content sets problem() instead.
  bool read_resource(std::string_view message, Resource& out);
  bool read_scope(std::string_view message, Scope& out);
  bool read_span(std::string_view message, Span& out);

  bool has_problem() const { return has_problem_; }
  RejectReason problem() const { return problem_; }
  void clear_problem() { has_problem_ = false; }

  const Limits& limits() const { return limits_; }
  // The Error for the message type that could not be read, "Span" for example, at `at` in `body`.
  static Error malformed(std::string_view type, std::string_view body, const char* at);
  Error malformed(std::string_view body) const { return malformed(bad_type_, body, bad_at_); }

 private:
  void reject(RejectReason reason) {
    if (!has_problem_) problem_ = reason;
    has_problem_ = true;
  }
  bool bad(std::string_view type, const char* at) {
    bad_type_ = type;
    bad_at_ = at;
    return false;
  }
  bool done(const ProtobufReader& reader, std::string_view type) {
    return reader.ok() || bad(type, reader.position());
  }
  std::string_view text(ProtobufReader& reader);
  bool read_value(std::string_view message, Value& out, int depth);
  bool read_key_value(std::string_view message, KeyValue& out, int depth);
  bool check_list(std::string_view message, bool key_values, int depth);
  bool add_attribute(ProtobufReader& reader, std::vector<KeyValue>& out, uint32_t& dropped);
  bool read_event(std::string_view message, Event& out);
  bool read_link(std::string_view message, Link& out, bool& usable);
  bool read_status(std::string_view message, Span& out);
  void reset(Span& span);
  std::vector<KeyValue> spare_vector();

  Limits limits_;
  std::vector<std::vector<KeyValue>> spare_;  // attribute vectors of past events and links
  std::string_view bad_type_ = "ExportTraceServiceRequest";
  const char* bad_at_ = nullptr;
  RejectReason problem_ = RejectReason::kUtf8;
  bool has_problem_ = false;
};

namespace detail {

// Decodes one already checked AnyValue or KeyValue.
Value checked_value(std::string_view message);
KeyValue checked_key_value(std::string_view message);

}  // namespace detail

// The elements of a Value of type kArray: f(const Value&) for each.
template <typename F>
void read_array(std::string_view text, F&& f) {
  ProtobufReader reader(text);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      f(detail::checked_value(reader.bytes()));
    } else {
      reader.skip();
    }
  }
}

// The entries of a Value of type kKeyValueList: f(const KeyValue&) for each.
template <typename F>
void read_key_values(std::string_view text, F&& f) {
  ProtobufReader reader(text);
  while (reader.next()) {
    if (reader.is(1, WireType::kLength)) {
      f(detail::checked_key_value(reader.bytes()));
    } else {
      reader.skip();
    }
  }
}

namespace detail {

// State of one request while it is walked. A resource (or scope) may follow its spans in the bytes,
// so each container is scanned for it first: that touches only the lengths of its direct fields.
template <typename Visitor>
class RequestWalk {
 public:
  RequestWalk(std::string_view body, const Limits& limits, Visitor& visitor)
      : body_(body), reader_(limits), visitor_(visitor) {}

  Result<ReadStats> run() {
    ProtobufReader request(body_);
    while (request.next()) {
      if (!request.is(1, WireType::kLength)) {
        request.skip();
        continue;
      }
      const std::string_view message = request.bytes();
      if (!request.ok()) break;
      if (Status status = resource_spans(message); !status.ok()) return status.error();
    }
    if (!request.ok()) {
      return TraceReader::malformed("ExportTraceServiceRequest", body_, request.position());
    }
    return stats_;
  }

 private:
  Status resource_spans(std::string_view message) {
    resource_.attributes.clear();
    resource_.dropped_attributes = 0;
    reader_.clear_problem();
    ProtobufReader first(message);
    while (first.next()) {
      if (!first.is(1, WireType::kLength)) {
        first.skip();
      } else if (!reader_.read_resource(first.bytes(), resource_)) {
        return reader_.malformed(body_);
      }
    }
    if (!first.ok()) return TraceReader::malformed("ResourceSpans", body_, first.position());
    resource_bad_ = reader_.has_problem();
    if (resource_bad_) {
      container_problem_ = reader_.problem();
    } else {
      visitor_.on_resource(resource_);
    }
    ProtobufReader second(message);
    while (second.next()) {
      if (!second.is(2, WireType::kLength)) {
        second.skip();
      } else if (Status status = scope_spans(second.bytes()); !status.ok()) {
        return status;
      }
    }
    return {};
  }

  Status scope_spans(std::string_view message) {
    scope_.name = scope_.version = {};
    scope_.attributes.clear();
    reader_.clear_problem();
    ProtobufReader first(message);
    while (first.next()) {
      if (!first.is(1, WireType::kLength)) {
        first.skip();
      } else if (!reader_.read_scope(first.bytes(), scope_)) {
        return reader_.malformed(body_);
      }
    }
    if (!first.ok()) return TraceReader::malformed("ScopeSpans", body_, first.position());
    const bool scope_bad = reader_.has_problem();
    if (scope_bad && !resource_bad_) container_problem_ = reader_.problem();
    const bool usable = !scope_bad && !resource_bad_;
    if (usable) visitor_.on_scope(scope_);
    ProtobufReader second(message);
    while (second.next()) {
      if (!second.is(2, WireType::kLength)) {
        second.skip();
      } else if (Status status = span(second.bytes(), usable); !status.ok()) {
        return status;
      }
    }
    return {};
  }

  Status span(std::string_view message, bool usable) {
    if (stats_.accepted + stats_.rejected >= reader_.limits().spans_per_request) {
      return Error{ErrorCode::kInvalid, "the request holds more than " +
                                            std::to_string(reader_.limits().spans_per_request) +
                                            " spans: send smaller batches"};
    }
    reader_.clear_problem();
    if (!reader_.read_span(message, span_)) return reader_.malformed(body_);
    if (!usable || reader_.has_problem()) {
      const RejectReason reason = usable ? reader_.problem() : container_problem_;
      ++stats_.reasons[static_cast<size_t>(reason)];
      ++stats_.rejected;
      return {};
    }
    ++stats_.accepted;
    visitor_.on_span(span_);
    return {};
  }

  std::string_view body_;
  TraceReader reader_;
  Visitor& visitor_;
  ReadStats stats_;
  Resource resource_;
  Scope scope_;
  Span span_;
  bool resource_bad_ = false;
  RejectReason container_problem_ = RejectReason::kUtf8;
};

}  // namespace detail

template <typename Visitor>
Result<ReadStats> read_export_trace_request(std::string_view body, const Limits& limits,
                                            Visitor& visitor) {
  return detail::RequestWalk<Visitor>(body, limits, visitor).run();
}

}  // namespace nuages::wire
