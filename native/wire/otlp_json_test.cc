#include "wire/otlp_json.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "wire/otlp_check.h"
#include "wire/otlp_reader.h"
#include "wire/otlp_reader_testing.h"

namespace nuages::wire {
namespace {

using testing::Message;

constexpr size_t kMax = 1 << 20;

std::string wrapped(const std::string& span) {
  return R"({"resourceSpans":[{"scopeSpans":[{"spans":[)" + span + "]}]}]}";
}

std::string span_bytes(const Message& span) {
  return Message().message(1, Message().message(2, Message().message(2, span))).text();
}

std::string good(const std::string& json, Signal signal = Signal::kTraces) {
  auto made = otlp_json_to_protobuf(json, signal, kMax);
  EXPECT_TRUE(made.ok()) << made.error().message;
  return made.ok() ? *made : std::string();
}

// The text behind "... in JSON: ".
std::string bad(const std::string& json, Signal signal = Signal::kTraces) {
  auto made = otlp_json_to_protobuf(json, signal, kMax);
  if (made.ok()) return "accepted";
  EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
  const std::string& text = made.error().message;
  const std::string begin =
      "the body is not a valid " + std::string(request_type(signal).name) + " in JSON: ";
  EXPECT_TRUE(text.starts_with(begin)) << text;
  return text.substr(begin.size());
}

TEST(OtlpJson, MapsEveryFieldOfASpan) {
  const std::string made = good(wrapped(R"({
    "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",
    "parentSpanId":"EEE19B7EC3C1B173","traceState":"a=b","name":"n","kind":2,
    "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
    "attributes":[{"key":"k","value":{"intValue":"-7"}}],"droppedAttributesCount":1,
    "events":[{"timeUnixNano":"5","name":"e","attributes":[]}],"droppedEventsCount":2,
    "links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}],
    "droppedLinksCount":3,"status":{"code":"STATUS_CODE_ERROR","message":"m"},"flags":257})"));
  const std::string trace = "\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c";
  const std::string id = "\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74";
  const std::string parent = "\xee\xe1\x9b\x7e\xc3\xc1\xb1\x73";
  const Message expected =
      Message()
          .bytes(1, trace)
          .bytes(2, id)
          .bytes(4, parent)
          .bytes(3, "a=b")
          .bytes(5, "n")
          .varint(6, 2)
          .fixed64(7, 1544712660000000000)
          .fixed64(8, 1544712661000000000)
          .message(9, Message().bytes(1, "k").message(
                          2, Message().varint(3, static_cast<uint64_t>(int64_t{-7}))))
          .varint(10, 1)
          .message(11, Message().fixed64(1, 5).bytes(2, "e"))
          .varint(12, 2)
          .message(13, Message().bytes(1, trace).bytes(2, id))
          .varint(14, 3)
          .message(15, Message().varint(3, 2).bytes(2, "m"))
          .fixed32(16, 257);
  EXPECT_EQ(made, span_bytes(expected));
}

TEST(OtlpJson, TakesTheNamesOfTheProtoFileNullsAndUnknownFields) {
  EXPECT_EQ(good(R"({"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":null,
      "start_time_unix_nano":1.0,"kind":"SPAN_KIND_CLIENT","new":{"a":[1,{"b":"\u00e9"}]},
      "parentSpanID":[],"name":""}]}]}],"x":-1.5e3})"),
            span_bytes(Message().fixed64(7, 1).varint(6, 3)));
  EXPECT_EQ(good(" {} "), "");
  EXPECT_EQ(good(R"({"resourceSpans":[]})"), "");
}

TEST(OtlpJson, WritesAllKindsOfValues) {
  const auto value = [](const std::string& json) {
    return good(wrapped(R"({"attributes":[{"key":"k","value":)" + json + "}]}"));
  };
  const auto bytes = [](const Message& any) {
    return span_bytes(Message().message(9, Message().bytes(1, "k").message(2, any)));
  };
  EXPECT_EQ(value("{}"), bytes(Message()));
  EXPECT_EQ(value(R"({"stringValue":""})"), bytes(Message().bytes(1, "")));
  EXPECT_EQ(value(R"({"stringValue":"\ud83d\ude00\n\"\/"})"),
            bytes(Message().bytes(1, "\xF0\x9F\x98\x80\n\"/")));
  EXPECT_EQ(value(R"({"boolValue":false})"), bytes(Message().varint(2, 0)));
  EXPECT_EQ(value(R"({"intValue":0})"), bytes(Message().varint(3, 0)));
  EXPECT_EQ(value(R"({"intValue":"9223372036854775807"})"), bytes(Message().varint(3, INT64_MAX)));
  EXPECT_EQ(value(R"({"intValue":"-9223372036854775808"})"),
            bytes(Message().varint(3, uint64_t{1} << 63)));
  EXPECT_EQ(value(R"({"intValue":1e3})"), bytes(Message().varint(3, 1000)));
  EXPECT_EQ(value(R"({"doubleValue":-0.0})"),
            bytes(Message().fixed64(4, std::bit_cast<uint64_t>(-0.0))));
  EXPECT_EQ(value(R"({"doubleValue":"-Infinity"})"), bytes(Message().fixed64(4, 0xFFF0ULL << 48)));
  EXPECT_EQ(value(R"({"bytesValue":"_-8="})"), bytes(Message().bytes(7, "\xff\xef")));
  EXPECT_EQ(value(R"({"arrayValue":{"values":[{"intValue":1},{}]}})"),
            bytes(Message().message(
                5, Message().message(1, Message().varint(3, 1)).message(1, Message()))));
  EXPECT_EQ(value(R"({"kvlistValue":{"values":[{"key":"a"}]}})"),
            bytes(Message().message(6, Message().message(1, Message().bytes(1, "a")))));
}

TEST(OtlpJson, KnowsLogsAndMetrics) {
  EXPECT_EQ(good(R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[
      {"severityNumber":"SEVERITY_NUMBER_WARN2","body":{"stringValue":"b"},"eventName":"e"}]}]}]})",
                 Signal::kLogs),
            Message()
                .message(1, Message().message(
                                2, Message().message(2, Message()
                                                            .varint(2, 14)
                                                            .message(5, testing::string_value("b"))
                                                            .bytes(12, "e"))))
                .text());
  std::string counts;
  for (const uint64_t count : {1, 0, 300}) {
    counts.append(reinterpret_cast<const char*>(&count), sizeof count);
  }
  EXPECT_EQ(
      good(R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","histogram":{
      "dataPoints":[{"count":"301","sum":0,"bucketCounts":["1",0,"300"],"explicitBounds":[]}],
      "aggregationTemporality":2}},{"exponentialHistogram":{"dataPoints":[{"scale":-3,
      "positive":{"offset":2,"bucketCounts":[1,"300"]}}]}}]}]}]})",
           Signal::kMetrics),
      Message()
          .message(
              1,
              Message().message(
                  2,
                  Message()
                      .message(2,
                               Message().bytes(1, "m").message(
                                   9, Message()
                                          .message(1, Message().fixed64(4, 301).fixed64(5, 0).bytes(
                                                          6, counts))
                                          .varint(2, 2)))
                      .message(2, Message().message(
                                      10, Message().message(1, Message().varint(6, 5).message(
                                                                   8, Message().varint(1, 4).bytes(
                                                                          2, "\x01\xac\x02")))))))
          .text());
}

TEST(OtlpJson, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(bad(""), "(byte 0): the text ends here");
  EXPECT_EQ(bad("[]"), "(byte 0): an object must stand here");
  EXPECT_EQ(bad("{} x"), "(byte 3): more text behind the value");
  EXPECT_EQ(bad(R"({"resourceSpans":{}})"), "resourceSpans[0] (byte 17): an array must stand here");
  EXPECT_EQ(bad(R"({"resourceSpans":[null]})"), "resourceSpans[0] (byte 18): null in a list");
  EXPECT_EQ(bad(R"({"resourceSpans":[{},])"),
            "resourceSpans[1] (byte 21): an object must stand here");
  EXPECT_EQ(bad(R"({"resourceSpans":[],"resource_spans":[]})"),
            "resourceSpans[0] (byte 37): given twice");
  const auto in_span = [](const std::string& fields) {
    std::string text = bad(wrapped("{}, {" + fields + "}"));
    const std::string path = "resourceSpans[0].scopeSpans[0].spans[1]";
    EXPECT_TRUE(text.starts_with(path)) << text;
    text.erase(0, path.size());
    const size_t from = text.find(" (byte");
    return text.erase(from, text.find(')', from) + 1 - from);
  };
  EXPECT_EQ(in_span(R"("traceId":"xyz0")"),
            ".traceId: an id must be hexadecimal digits, two for each byte");
  EXPECT_EQ(in_span(R"("traceId":"W47/95gDgQPSabYzgT/GDA==")"),
            ".traceId: an id must be hexadecimal digits, two for each byte");
  EXPECT_EQ(in_span(R"("kind":"SERVER")"), ".kind: no number and no name of this enumeration");
  EXPECT_EQ(in_span(R"("name":5)"), ".name: a string must stand here");
  EXPECT_EQ(in_span(R"("flags":-1)"),
            ".flags: a whole number of 32 bits without sign must stand here");
  EXPECT_EQ(in_span(R"("flags":4294967296)"),
            ".flags: a whole number of 32 bits without sign must stand here");
  EXPECT_EQ(in_span(R"("startTimeUnixNano":1.5)"),
            ".startTimeUnixNano: not a whole number of 64 bits");
  EXPECT_EQ(in_span(R"("startTimeUnixNano":"")"),
            ".startTimeUnixNano: not a whole number of 64 bits");
  EXPECT_EQ(in_span(R"("startTimeUnixNano":18446744073709551616)"),
            ".startTimeUnixNano: not a whole number of 64 bits");
  EXPECT_EQ(in_span(R"("startTimeUnixNano":01)"), ": ',' or '}' expected");
  EXPECT_EQ(in_span(R"("attributes":[{"value":{"intValue":1,"boolValue":true}}])"),
            ".attributes[0].value.boolValue: given besides intValue, which excludes it");
  EXPECT_EQ(in_span(R"("attributes":[{"value":{"doubleValue":1e999}}])"),
            ".attributes[0].value.doubleValue: not a number in the range of a double");
  EXPECT_EQ(in_span(R"("attributes":[{"value":{"bytesValue":"*"}}])"),
            ".attributes[0].value.bytesValue: not base64");
  EXPECT_EQ(in_span(R"("name":"\ud800")"), ".name: half of a surrogate pair");
  EXPECT_EQ(in_span("\"name\":\"\xff\""), ".name: text that is not UTF-8");
  EXPECT_EQ(in_span("\"name\":\"\n\""), ".name: a control character inside a string");
  EXPECT_EQ(in_span(R"("x":tru)"), ": true or false must stand here");
}

TEST(OtlpJson, BoundsNestingAndSize) {
  const std::string open(kMaxJsonDepth + 1, '[');
  EXPECT_NE(bad(R"({"x":)" + open).find("nested too deeply"), std::string::npos);
  EXPECT_NE(bad(R"({"x":)" + std::string(1'000'000, '[')).find("nested too deeply"),
            std::string::npos);
  // Deeper than the reader takes, but its business: only that span is rejected.
  std::string value = R"({"intValue":1})";
  for (int i = 0; i < 70; ++i) value = R"({"arrayValue":{"values":[)" + value + "]}}";
  const std::string id =
      R"("traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174")";
  const std::string body =
      good(wrapped("{" + id + R"(,"attributes":[{"value":)" + value + "}]}, {" + id + "}"));
  struct {
    void on_resource(const Resource&) {}
    void on_scope(const Scope&) {}
    void on_span(const Span&) {}
  } nobody;
  const auto read = read_export_trace_request(body, Limits{}, nobody);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->accepted, 1U);
  EXPECT_EQ(read->reasons[static_cast<size_t>(RejectReason::kDepth)], 1U);

  std::string ones = "1";
  for (int i = 0; i < 1000; ++i) ones += ",1";
  const auto large = otlp_json_to_protobuf(
      R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[)" +
          ones + "]}]}}]}]}]}",
      Signal::kMetrics, 4000);
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().code, ErrorCode::kExhausted);
}

TEST(OtlpJson, EveryCutIsAnError) {
  const std::string json = wrapped(
      R"({"traceId":"5b8efff798038103d269b633813fc60c","attributes":[{"key":"\u00e9","value":{"doubleValue":1.5e3}}],"x":[true,null,{}]})");
  good(json);
  for (size_t i = 0; i < json.size(); ++i) EXPECT_NE(bad(json.substr(0, i)), "accepted") << i;
}

TEST(OtlpCheck, CountsItemsAndNamesWhatIsWrong) {
  const Message record = Message().bytes(3, "INFO").bytes(9, std::string(16, 'x'));
  const auto request = [](const Message& one) {
    return Message().message(1, Message().message(2, Message().message(2, one))).text();
  };
  auto count = check_export_request(request(record) + request(record), Signal::kLogs);
  ASSERT_TRUE(count.ok()) << count.error().message;
  EXPECT_EQ(*count, 2U);
  EXPECT_EQ(*check_export_request("", Signal::kMetrics), 0U);
  const auto fault = [](const std::string& body, Signal signal) {
    auto result = check_export_request(body, signal);
    return result.ok() ? "none" : result.error().message;
  };
  EXPECT_EQ(fault(request(Message().bytes(3, "\xff")), Signal::kLogs),
            "the body is not a valid ExportLogsServiceRequest: severityText is text that is not "
            "UTF-8 near byte 8");
  EXPECT_EQ(
      fault(request(Message().bytes(9, "abc")), Signal::kLogs),
      "the body is not a valid ExportLogsServiceRequest: traceId has a wrong length near byte "
      "8");
  EXPECT_EQ(fault("\x0a\x7f", Signal::kMetrics),
            "the body is not a valid ExportMetricsServiceRequest: ExportMetricsServiceRequest is "
            "malformed near byte 2");
  std::string deep = Message().varint(3, 1).text();
  for (int i = 0; i < 200; ++i) deep = Message().bytes(5, Message().bytes(1, deep).text()).text();
  EXPECT_NE(fault(request(Message().bytes(5, deep)), Signal::kLogs).find("nested too deeply"),
            std::string::npos);
}

}  // namespace
}  // namespace nuages::wire
