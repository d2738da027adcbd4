#include "wire/otlp_reader.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "wire/otlp_reader_testing.h"

namespace nuages::wire {
namespace {

using testing::id_bytes;
using testing::key_value;
using testing::Message;
using testing::request;
using testing::string_value;

std::string show(const Value& value) {
  switch (value.type) {
    case ValueType::kEmpty:
      return "empty";
    case ValueType::kString:
      return '"' + std::string(value.text) + '"';
    case ValueType::kBool:
      return value.boolean ? "true" : "false";
    case ValueType::kInt:
      return std::to_string(value.integer);
    case ValueType::kDouble:
      return std::to_string(value.number);
    case ValueType::kBytes:
      return "bytes" + std::to_string(value.text.size());
    case ValueType::kArray: {
      std::string out = "[";
      read_array(value.text, [&](const Value& element) { out += show(element) + ","; });
      return out + "]";
    }
    case ValueType::kKeyValueList: {
      std::string out = "{";
      read_key_values(value.text, [&](const KeyValue& entry) {
        out += std::string(entry.key) + ":" + show(entry.value) + ",";
      });
      return out + "}";
    }
  }
  return "?";
}

std::string show(const std::vector<KeyValue>& attributes) {
  std::string out;
  for (const KeyValue& entry : attributes)
    out += std::string(entry.key) + "=" + show(entry.value) + " ";
  return out;
}

// Writes down what it is given.
struct Recorder {
  void on_resource(const Resource& resource) {
    lines.push_back("resource " + show(resource.attributes));
    resource_dropped = resource.dropped_attributes;
  }
  void on_scope(const Scope& scope) {
    lines.push_back("scope " + std::string(scope.name) + "@" + std::string(scope.version));
  }
  void on_span(const Span& span) {
    lines.push_back("span " + std::string(span.name) + " " + show(span.attributes));
    last = span;
  }
  std::vector<std::string> lines;
  Span last;  // views into the request, which outlives it
  uint32_t resource_dropped = 0;
};

ReadStats read(std::string_view body, Recorder& recorder, const Limits& limits = {}) {
  Result<ReadStats> result = read_export_trace_request(body, limits, recorder);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : ReadStats{};
}

std::string error_of(std::string_view body, const Limits& limits = {}) {
  Recorder recorder;
  Result<ReadStats> result = read_export_trace_request(body, limits, recorder);
  return result.ok() ? "" : result.error().message;
}

TEST(OtlpReader, ReadsAWholeSpan) {
  Message span = testing::span(0xabc, 0xdef, "GET /orders/");
  span.bytes(3, "ot=th:8")
      .bytes(4, id_bytes(8, 7))
      .message(9, key_value("flag", Message().varint(2, 1)))
      .message(9, key_value("count", Message().varint(3, static_cast<uint64_t>(-5))))
      .message(9, key_value("ratio", Message().fixed64(4, 0x3FE0000000000000)))
      .message(9, key_value("raw", Message().bytes(7, "\xff\xfe")))
      .message(9, key_value("none", Message()))
      .message(9, key_value("list", Message().message(5, Message()
                                                             .message(1, string_value("a"))
                                                             .message(1, Message().varint(3, 2)))))
      .message(9, key_value("map", Message().message(
                                       6, Message().message(1, key_value("k", string_value("v"))))))
      .varint(10, 3)
      .message(11, Message()
                       .fixed64(1, 99)
                       .bytes(2, "exception")
                       .message(3, key_value("exception.type", string_value("ValueError"))))
      .varint(12, 4)
      .message(
          13, Message()
                  .bytes(1, id_bytes(16, 0x11))
                  .bytes(2, id_bytes(8, 0x22))
                  .message(4, key_value("nuages.link", string_value("celery")))
                  .fixed32(6, 0x101))
      .varint(14, 5)
      .message(15, Message().bytes(2, "boom").varint(3, 2))
      .fixed32(16, 0x301);
  const std::string body = request({span});
  Recorder recorder;
  const ReadStats stats = read(body, recorder);
  EXPECT_EQ(stats.accepted, 1U);
  EXPECT_EQ(stats.rejected, 0U);
  EXPECT_EQ(stats.message(), "");
  ASSERT_EQ(recorder.lines.size(), 3U);
  EXPECT_EQ(recorder.lines[0], "resource service.name=\"test\" ");
  EXPECT_EQ(recorder.lines[1], "scope scope@1.0");
  EXPECT_EQ(recorder.lines[2],
            "span GET /orders/ http.method=\"GET\" flag=true count=-5 ratio=0.500000 raw=bytes2 "
            "none=empty list=[\"a\",2,] map={k:\"v\",} ");
  const Span& got = recorder.last;
  EXPECT_EQ(got.trace_id, (TraceId{0, 0xabc}));
  EXPECT_EQ(got.span_id, 0xdefU);
  EXPECT_EQ(got.parent_id, 7U);
  EXPECT_EQ(got.trace_state, "ot=th:8");
  EXPECT_EQ(got.flags, 0x301U);
  EXPECT_EQ(got.kind, SpanKind::kServer);
  EXPECT_EQ(got.end_ns - got.start_ns, 1'000'000U);
  EXPECT_EQ(got.status, StatusCode::kError);
  EXPECT_EQ(got.status_message, "boom");
  EXPECT_EQ(got.dropped_attributes, 3U);
  EXPECT_EQ(got.dropped_events, 4U);
  EXPECT_EQ(got.dropped_links, 5U);
  ASSERT_EQ(got.events.size(), 1U);
  EXPECT_EQ(got.events[0].time_ns, 99U);
  EXPECT_EQ(show(got.events[0].attributes), "exception.type=\"ValueError\" ");
  ASSERT_EQ(got.links.size(), 1U);
  EXPECT_EQ(got.links[0].span_id, 0x22U);
  EXPECT_EQ(show(got.links[0].attributes), "nuages.link=\"celery\" ");
}

TEST(OtlpReader, NothingOfOneSpanReachesTheNext) {
  Message full = testing::span(1, 1);
  full.message(11, Message().bytes(2, "event").message(3, key_value("a", string_value("b"))))
      .message(15, Message().varint(3, 2))
      .bytes(4, id_bytes(8, 9));
  const std::string body = request({full, Message()
                                              .bytes(1, id_bytes(16, 2))
                                              .bytes(2, id_bytes(8, 2))
                                              .message(11, Message().bytes(2, "bare"))});
  Recorder recorder;
  EXPECT_EQ(read(body, recorder).accepted, 2U);
  EXPECT_TRUE(recorder.last.attributes.empty());
  ASSERT_EQ(recorder.last.events.size(), 1U);
  EXPECT_TRUE(recorder.last.events[0].attributes.empty());
  EXPECT_EQ(recorder.last.status, StatusCode::kUnset);
  EXPECT_EQ(recorder.last.parent_id, 0U);
}

TEST(OtlpReader, ResourceAndScopeMayFollowTheirSpans) {
  const std::string body =
      Message()
          .message(1, Message()
                          .message(2, Message()
                                          .message(2, testing::span(1, 1, "first"))
                                          .message(1, Message().bytes(1, "late")))
                          .message(1, Message().message(
                                          1, key_value("service.name", string_value("s")))))
          .text();
  Recorder recorder;
  EXPECT_EQ(read(body, recorder).accepted, 1U);
  ASSERT_EQ(recorder.lines.size(), 3U);
  EXPECT_EQ(recorder.lines[0], "resource service.name=\"s\" ");
  EXPECT_EQ(recorder.lines[1], "scope late@");
}

TEST(OtlpReader, RejectsBadSpansAndKeepsTheOthers) {
  const auto with_ids = [](std::string_view trace, std::string_view id, std::string_view parent) {
    return Message().bytes(1, trace).bytes(2, id).bytes(4, parent).bytes(5, "bad");
  };
  const std::string good16 = id_bytes(16, 1);
  const std::string good8 = id_bytes(8, 1);
  Message deep = string_value("x");
  for (int i = 0; i < 70; ++i) deep = Message().message(5, Message().message(1, deep));
  Message far = testing::span(1, 1, "bad");
  far.fixed64(8, std::numeric_limits<uint64_t>::max());
  const std::string body =
      request({with_ids(std::string(16, '\0'), good8, ""), with_ids("short", good8, ""),
               with_ids(good16, std::string(8, '\0'), ""), with_ids(good16, good8 + "x", ""),
               with_ids(good16, good8, "four"), testing::span(1, 1, "\xff"), far,
               testing::span(1, 1, "bad").message(9, key_value("deep", deep)),
               testing::span(1, 1, "bad").message(9, key_value("\xc0\xaf", string_value("x"))),
               testing::span(1, 1, "bad").message(9, key_value("k", string_value("\xed\xa0\x80"))),
               testing::span(2, 2, "good")});
  Recorder recorder;
  const ReadStats stats = read(body, recorder);
  EXPECT_EQ(stats.accepted, 1U);
  EXPECT_EQ(stats.rejected, 10U);
  EXPECT_EQ(recorder.lines.back(), "span good http.method=\"GET\" ");
  EXPECT_EQ(
      stats.message(),
      "10 spans rejected: 2 with a trace id that is not 16 bytes or is zero, 2 with a span "
      "id that is not 8 bytes or is zero, 1 with a parent span id that is not 8 bytes, 3 with "
      "text that is not UTF-8, 1 with a time beyond the year 2262, 1 with an attribute value "
      "nested too deeply");
}

TEST(OtlpReader, DepthUpToTheLimitIsFine) {
  Message deep = string_value("x");
  for (int i = 0; i < 63; ++i) deep = Message().message(5, Message().message(1, deep));
  Recorder recorder;
  EXPECT_EQ(
      read(request({testing::span(1, 1).message(9, key_value("k", deep))}), recorder).accepted, 1U);
  deep = Message().message(5, Message().message(1, deep));
  EXPECT_EQ(
      read(request({testing::span(1, 1).message(9, key_value("k", deep))}), recorder).rejected, 1U);
}

TEST(OtlpReader, BadResourceRejectsItsSpansOnly) {
  const auto resource_spans = [](std::string_view service) {
    return Message()
        .message(1, Message().message(1, key_value("service.name", string_value(service))))
        .message(2, Message().message(2, testing::span(1, 1)));
  };
  const std::string body =
      Message().message(1, resource_spans("\xff")).message(1, resource_spans("fine")).text();
  Recorder recorder;
  const ReadStats stats = read(body, recorder);
  EXPECT_EQ(stats.accepted, 1U);
  EXPECT_EQ(stats.rejected, 1U);
  EXPECT_EQ(recorder.lines.front(), "resource service.name=\"fine\" ");
}

TEST(OtlpReader, CountsWhatLimitsDrop) {
  Limits limits;
  limits.attributes = 2;
  limits.events = 1;
  limits.links = 1;
  Message span = testing::span(1, 1);
  for (int i = 0; i < 4; ++i) {
    span.message(9, key_value("k", string_value("v")))
        .message(11, Message().bytes(2, "e"))
        .message(13, Message().bytes(1, id_bytes(16, 1)).bytes(2, id_bytes(8, 1)));
  }
  span.varint(10, 10);
  Recorder recorder;
  EXPECT_EQ(read(request({span}), recorder, limits).accepted, 1U);
  EXPECT_EQ(recorder.last.attributes.size(), 2U);
  EXPECT_EQ(recorder.last.dropped_attributes, 13U);
  EXPECT_EQ(recorder.last.dropped_events, 3U);
  EXPECT_EQ(recorder.last.dropped_links, 3U);
}

TEST(OtlpReader, LinksToNowhereAreDropped) {
  Message span = testing::span(1, 1);
  span.message(13, Message().bytes(1, id_bytes(16, 1)));
  Recorder recorder;
  EXPECT_EQ(read(request({span}), recorder).accepted, 1U);
  EXPECT_TRUE(recorder.last.links.empty());
  EXPECT_EQ(recorder.last.dropped_links, 1U);
}

TEST(OtlpReader, TooManySpansIsAnError) {
  Limits limits;
  limits.spans_per_request = 2;
  const std::string body = request({testing::span(1, 1), testing::span(1, 2), testing::span(1, 3)});
  EXPECT_EQ(error_of(body, limits), "the request holds more than 2 spans: send smaller batches");
}

TEST(OtlpReader, MalformedMessagesNameThePart) {
  EXPECT_EQ(error_of("hello"),
            "the body is not a valid ExportTraceServiceRequest: ExportTraceServiceRequest is "
            "malformed near byte 3");
  const auto in_span = [](std::string_view raw) { return error_of(request({Message().raw(raw)})); };
  EXPECT_NE(in_span("\x0a\x50").find("Span is malformed"), std::string::npos);
  EXPECT_NE(in_span(Message().bytes(9, "\x0a\x50").text()).find("KeyValue is malformed"),
            std::string::npos);
  EXPECT_NE(in_span(Message().bytes(11, "\x12\x50").text()).find("Span.Event is malformed"),
            std::string::npos);
  EXPECT_NE(in_span(Message().bytes(13, "\x0b").text()).find("Span.Link is malformed"),
            std::string::npos);
  EXPECT_NE(in_span(Message().bytes(15, "\x12\x50").text()).find("Status is malformed"),
            std::string::npos);
}

TEST(OtlpReader, EveryCutOfARequestIsSafe) {
  Message span = testing::span(1, 1);
  span.message(11, Message().bytes(2, "event")).message(15, Message().varint(3, 1));
  const std::string body = request({span, testing::span(1, 2)});
  size_t errors = 0;
  for (size_t size = 0; size < body.size(); ++size) {
    const std::vector<char> part(body.begin(), body.begin() + static_cast<ptrdiff_t>(size));
    errors += error_of({part.data(), part.size()}).empty() ? 0 : 1;
  }
  EXPECT_EQ(errors, body.size() - 1);  // only the empty one is a request
}

TEST(OtlpReader, UnknownFieldsAndWrongWireTypesAreSkipped) {
  Message span = testing::span(1, 1);
  span.varint(5, 9).bytes(999, "future").fixed32(1000, 1).varint(7, 5);
  const std::string body = request({span});  // the recorder's views point into it
  Recorder recorder;
  EXPECT_EQ(read(body, recorder).accepted, 1U);
  EXPECT_EQ(recorder.last.name, "work");
}

}  // namespace
}  // namespace nuages::wire
