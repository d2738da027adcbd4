#include "store/block_builder.h"

#include <gtest/gtest.h>

#include <limits>

#include "store/attribute_text.h"
#include "store/promoted.h"
#include "store/test_spans.h"

namespace nuages::store {
namespace {

using testing::make_block;
using testing::TestAttributes;
using testing::TestSpan;

SpanBlock block_of(const TestAttributes& attributes) {
  return make_block("s", {{.trace_id = {1, 2}, .span_id = 3, .attributes = attributes}}, 0);
}

std::string json_of(const wire::Value& value) {
  std::string out;
  append_json_value(out, value);
  return out;
}

// Encoded ArrayValue and KeyValueList messages, as a decoder would hand them out.
wire::Value array_value(std::string_view encoded) {
  return {.type = wire::ValueType::kArray, .text = encoded};
}

TEST(AttributeText, ValuesKeepTheirTypes) {
  EXPECT_EQ(json_of({}), "null");
  EXPECT_EQ(json_of({.type = wire::ValueType::kBool, .boolean = true, .text = {}}), "true");
  EXPECT_EQ(json_of({.type = wire::ValueType::kInt,
                     .integer = std::numeric_limits<int64_t>::min(),
                     .text = {}}),
            "-9223372036854775808");
  auto number = [](double value) {
    return json_of({.type = wire::ValueType::kDouble, .number = value, .text = {}});
  };
  EXPECT_EQ(number(1), "1.0");
  EXPECT_EQ(number(-0.5), "-0.5");
  EXPECT_EQ(number(1e300), "1e+300");
  EXPECT_EQ(number(std::numeric_limits<double>::quiet_NaN()), R"({"$double":"NaN"})");
  EXPECT_EQ(number(-std::numeric_limits<double>::infinity()), R"({"$double":"-Infinity"})");
  auto bytes = [](std::string_view value) {
    return json_of({.type = wire::ValueType::kBytes, .text = value});
  };
  EXPECT_EQ(bytes(""), R"({"$bytes":""})");
  EXPECT_EQ(bytes("f"), R"({"$bytes":"Zg=="})");
  EXPECT_EQ(bytes("fo"), R"({"$bytes":"Zm8="})");
  EXPECT_EQ(bytes("foo"), R"({"$bytes":"Zm9v"})");
  EXPECT_EQ(json_of({.type = wire::ValueType::kString, .text = "a\"\\\n\x01\xc3\xa9"}),
            "\"a\\\"\\\\\\n\\u0001\xc3\xa9\"");
}

TEST(AttributeText, NestedValues) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(json_of(array_value("")), "[]");
  // values { string_value: "a" } values { int_value: 5 } values { array_value { } }
  EXPECT_EQ(json_of(array_value("\x0a\x03\x0a\x01"
                                "a\x0a\x02\x18\x05\x0a\x02\x2a\x00"sv)),
            R"(["a",5,[]])");
  // values { key: "$k" value { bool_value: true } }
  const wire::Value list{.type = wire::ValueType::kKeyValueList,
                         .text = "\x0a\x08\x0a\x02$k\x12\x02\x10\x01"sv};
  EXPECT_EQ(json_of(list), R"({"$$k":true})");
}

TEST(AttributeText, LinesReadBackWhateverTheKeyHolds) {
  std::string lines;
  const std::vector<std::string> keys{"plain", "a=b",   "line\nbreak", "quote\"", "back\\slash",
                                      "",      "tab\t", "\xc3\xa9",    "\x02"};
  for (const auto& key : keys) {
    append_attribute_line(lines, 0, key, {.type = wire::ValueType::kString, .text = key});
  }
  std::vector<std::string> read, values;
  read_attribute_lines(lines, [&](std::string_view key, std::string_view json) {
    read.emplace_back(key);
    values.emplace_back(json);
  });
  EXPECT_EQ(read, keys);
  EXPECT_EQ(values[2], R"("line\nbreak")");
  EXPECT_EQ(attribute_line("a=b", "1"), R"(a\u003db=1)");
}

TEST(BlockBuilder, BothNameGenerationsFillTheSameColumns) {
  const SpanBlock old_names = block_of({{"http.method", "GET"},
                                        {"http.status_code", int64_t{404}},
                                        {"http.route", "/a/"},
                                        {"db.system", "mysql"},
                                        {"db.name", "shop"},
                                        {"db.operation", "SELECT"},
                                        {"db.sql.table", "t"},
                                        {"db.statement", "SELECT 1 FROM t"},
                                        {"code.filepath", "f.py"},
                                        {"code.function", "f"},
                                        {"code.lineno", int64_t{7}},
                                        {"messaging.destination", "q"}});
  const SpanBlock new_names = block_of({{"http.request.method", "GET"},
                                        {"http.response.status_code", int64_t{404}},
                                        {"http.route", "/a/"},
                                        {"db.system.name", "mysql"},
                                        {"db.namespace", "shop"},
                                        {"db.operation.name", "SELECT"},
                                        {"db.collection.name", "t"},
                                        {"db.query.text", "SELECT 1 FROM t"},
                                        {"code.file.path", "f.py"},
                                        {"code.function.name", "f"},
                                        {"code.line.number", int64_t{7}},
                                        {"messaging.destination.name", "q"}});
  for (const SpanBlock* block : {&old_names, &new_names}) {
    EXPECT_EQ(block->http_method.at(0), "GET");
    EXPECT_EQ(block->http_status[0], 404);
    EXPECT_EQ(block->http_route.at(0), "/a/");
    EXPECT_EQ(block->db_system.at(0), "mysql");
    EXPECT_EQ(block->db_name.at(0), "shop");
    EXPECT_EQ(block->db_operation.at(0), "SELECT");
    EXPECT_EQ(block->db_table.at(0), "t");
    EXPECT_EQ(block->code_file.at(0), "f.py");
    EXPECT_EQ(block->code_function.at(0), "f");
    EXPECT_EQ(block->code_line[0], 7U);
    EXPECT_EQ(block->queue.at(0), "q");
    EXPECT_EQ(block->attributes.at(0), "");
  }
  EXPECT_EQ(old_names.fingerprint[0], new_names.fingerprint[0]);
  EXPECT_NE(old_names.promoted.at(0), new_names.promoted.at(0));
}

TEST(BlockBuilder, WhatDoesNotFitAColumnStaysAnAttribute) {
  const SpanBlock block = block_of({{"http.status_code", "404"},
                                    {"http.method", int64_t{1}},
                                    {"code.lineno", int64_t{-1}},
                                    {"db.query_count", int64_t{1} << 40},
                                    {"http.route", "/first/"},
                                    {"http.route", "/second/"},
                                    {"db.potential_n_plus_one", "true"}});
  EXPECT_EQ(block.http_status[0], 0);
  EXPECT_EQ(block.query_count[0], -1);
  EXPECT_EQ(block.n_plus_one[0], 0);
  EXPECT_EQ(block.promoted.at(0), "http.route");
  EXPECT_EQ(block.http_route.at(0), "/first/");
  EXPECT_EQ(block.attributes.at(0),
            "http.status_code=\"404\"\nhttp.method=1\ncode.lineno=-1\n"
            "db.query_count=1099511627776\nhttp.route=\"/second/\"\n"
            "db.potential_n_plus_one=\"true\"");
}

TEST(BlockBuilder, SqlTextIsKeptOncePerFingerprintWithoutLiterals) {
  const SpanBlock block =
      make_block("s",
                 {{.trace_id = {1, 1},
                   .span_id = 1,
                   .attributes = {{"db.system", "sqlite"},
                                  {"db.statement", "SELECT * FROM t WHERE a = 'secret'"}}},
                  {.trace_id = {1, 1},
                   .span_id = 2,
                   .attributes = {{"db.system", "sqlite"},
                                  {"db.statement", "SELECT * FROM t WHERE a = 'other'"}}}},
                 0);
  EXPECT_EQ(block.fingerprint[0], block.fingerprint[1]);
  ASSERT_EQ(block.statements.size(), 1U);
  const SqlTextRow& row = block.statements.at(block.fingerprint[0]);
  EXPECT_EQ(row.text, "SELECT * FROM t WHERE a = ?");
  EXPECT_EQ(row.label, "SELECT FROM t WHERE a = ?");
}

TEST(BlockBuilder, TheAgentsFingerprintAndLabelWin) {
  const SpanBlock block = block_of({{"db.system", "sqlite"},
                                    {"db.statement", "SELECT 1"},
                                    {"nuages.db.fingerprint", int64_t{-5}},
                                    {"nuages.db.label", "my label"}});
  const auto fingerprint = static_cast<uint64_t>(int64_t{-5});
  EXPECT_EQ(block.fingerprint[0], fingerprint);
  EXPECT_EQ(block.statements.at(fingerprint).label, "my label");
  EXPECT_EQ(block.attributes.at(0), "");
  EXPECT_EQ(block.promoted.at(0), "db.system,db.statement,nuages.db.fingerprint,nuages.db.label");
}

TEST(BlockBuilder, OtherDatabasesKeepTheirCommand) {
  const SpanBlock block = block_of({{"db.system", "redis"}, {"db.statement", "GET ?"}});
  EXPECT_EQ(block.fingerprint[0], 0U);
  EXPECT_TRUE(block.statements.empty());
  EXPECT_EQ(block.attributes.at(0), "db.statement=\"GET ?\"");
}

TEST(BlockBuilder, EntrySpans) {
  using wire::SpanKind;
  const auto entry = [](SpanKind kind, SpanId parent) {
    return make_block("s", {{.trace_id = {1, 1}, .span_id = 9, .parent_id = parent, .kind = kind}},
                      0)
        .entry[0];
  };
  EXPECT_EQ(entry(SpanKind::kServer, 5), 1);
  EXPECT_EQ(entry(SpanKind::kConsumer, 5), 1);
  EXPECT_EQ(entry(SpanKind::kInternal, 0), 1);
  EXPECT_EQ(entry(SpanKind::kInternal, 5), 0);
  EXPECT_EQ(entry(SpanKind::kClient, 5), 0);
  SpanBlock block;
  BlockBuilder builder(block);
  builder.on_resource({});
  builder.on_scope({});
  wire::Span remote;
  remote.trace_id = {1, 1};
  remote.span_id = 1;
  remote.parent_id = 2;
  remote.flags = 0x301;
  builder.on_span(remote);
  remote.flags = 0x101;
  builder.on_span(remote);
  EXPECT_EQ(block.entry, (std::vector<uint8_t>{1, 0}));
  EXPECT_EQ(block.service.at(0), "unknown_service");
}

TEST(BlockBuilder, ANewBlockBetweenTwoSpansGetsTheResourceToo) {
  SpanBlock first, second;
  BlockBuilder builder(first);
  const TestAttributes resource{{"service.name", "s"}, {"host.name", "h"}};
  testing::append_spans(builder, resource, {{.trace_id = {1, 1}, .span_id = 1}});
  builder.set_block(second);
  wire::Span span;
  span.trace_id = {1, 1};
  span.span_id = 2;
  builder.on_span(span);
  ASSERT_EQ(second.resources.size(), 1U);
  EXPECT_EQ(second.resources.begin()->first, first.resources.begin()->first);
  EXPECT_EQ(second.resources.begin()->second.attributes, "service.name=\"s\"\nhost.name=\"h\"");
  EXPECT_EQ(second.service.at(0), "s");
  EXPECT_EQ(second.scope.at(0), "test@1");
}

TEST(BlockBuilder, TimesThatCannotBe) {
  SpanBlock block;
  BlockBuilder builder(block);
  builder.set_receive_time(~uint64_t{0});
  builder.on_resource({});
  wire::Span span;
  span.start_ns = ~uint64_t{0};
  span.end_ns = 5;
  builder.on_span(span);
  EXPECT_EQ(block.ts[0], 4294967295'000'000'000);
  EXPECT_EQ(block.duration[0], 0U);
  EXPECT_EQ(block.received[0], 4294967295U);
}

TEST(SpanBlock, BytesGrowWithContentAndRowsSortByMinuteTraceName) {
  constexpr uint64_t kMinute = 60'000'000'000;
  const SpanBlock block =
      make_block("s",
                 {{.trace_id = {2, 0}, .span_id = 1, .start = kMinute},
                  {.trace_id = {1, 0}, .span_id = 2, .start = kMinute + 9},
                  {.trace_id = {1, 0}, .span_id = 3, .start = kMinute + 5},
                  {.trace_id = {9, 0}, .span_id = 4, .start = 0},
                  {.trace_id = {1, 0}, .span_id = 5, .name = "another", .start = kMinute + 1}},
                 0);
  EXPECT_EQ(block.sorted_rows(), (std::vector<uint32_t>{3, 2, 1, 4, 0}));
  const SpanBlock larger = block_of({{"text", std::string(10'000, 'x')}});
  EXPECT_GT(larger.bytes(), 10'000U);
  EXPECT_LT(larger.bytes(), 20'000U);
  EXPECT_EQ(SpanBlock().bytes(), 0U);
}

TEST(Promoted, KnowsItsKeysOnly) {
  EXPECT_EQ(promoted_field("db.statement"), Field::kStatement);
  EXPECT_EQ(promoted_field("db.max_query_repetitions"), Field::kMaxRepetitions);
  EXPECT_EQ(promoted_field("db.statemenT"), std::nullopt);
  EXPECT_EQ(promoted_field(""), std::nullopt);
  EXPECT_EQ(promoted_field("a"), std::nullopt);
  EXPECT_EQ(promoted_field("http.methods"), std::nullopt);
}

}  // namespace
}  // namespace nuages::store
