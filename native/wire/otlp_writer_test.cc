#include "wire/otlp_writer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "wire/otlp_reader.h"
#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

Value text(std::string_view view, ValueType type = ValueType::kString) {
  Value value;
  value.type = type;
  value.text = view;
  return value;
}

Value integer(int64_t number) {
  Value value;
  value.type = ValueType::kInt;
  value.integer = number;
  return value;
}

TEST(ProtobufWriterTest, LengthsOfEveryWidthAreReadBack) {
  // Around the widths of one, two, three and four length bytes.
  for (const size_t size : {0, 1, 127, 128, 129, 16'383, 16'384, 16'385, 2'097'151, 2'097'152}) {
    for (const bool large : {false, true}) {
      ProtobufWriter out;
      out.varint(1, 7);
      const auto message = large ? out.begin_large(2) : out.begin(2);
      out.raw(std::string(size, 'x'));
      out.end(message);
      out.varint(3, 9);
      ProtobufReader reader(out.view());
      ASSERT_TRUE(reader.next());
      EXPECT_EQ(reader.varint(), 7U);
      ASSERT_TRUE(reader.next());
      ASSERT_TRUE(reader.is(2, WireType::kLength));
      EXPECT_EQ(reader.bytes(), std::string(size, 'x')) << size << large;
      ASSERT_TRUE(reader.next());
      EXPECT_EQ(reader.varint(), 9U);
      EXPECT_FALSE(reader.next());
      EXPECT_TRUE(reader.ok());
    }
  }
}

TEST(ProtobufWriterTest, SmallMessagesAreMinimal) {
  ProtobufWriter out;
  const auto message = out.begin(1);
  out.string(2, "ab");
  out.end(message);
  EXPECT_EQ(out.view(),
            "\x0a\x04\x12\x02"
            "ab");
  EXPECT_EQ(ProtobufWriter::field_size(1, 4), out.size());
}

TEST(ProtobufWriterTest, NestedMessagesMoveTogether) {
  ProtobufWriter out;
  const auto outer = out.begin(1);
  for (int i = 0; i < 300; ++i) {
    const auto inner = out.begin(1);
    out.raw(std::string(static_cast<size_t>(i), 'i'));
    out.end(inner);
  }
  out.end(outer);
  ProtobufReader reader(out.view());
  ASSERT_TRUE(reader.next());
  ProtobufReader body(reader.bytes());
  for (size_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(body.next());
    ASSERT_EQ(body.bytes(), std::string(i, 'i'));
  }
  EXPECT_FALSE(body.next());
  EXPECT_TRUE(body.ok());
}

TEST(ProtobufWriterTest, Scalars) {
  ProtobufWriter out;
  out.varint(1, std::numeric_limits<uint64_t>::max());
  out.fixed64(2, 0x0102030405060708);
  out.fixed32(16, 0xdeadbeef);
  out.number(4, -1.5);
  out.boolean(5, true);
  ProtobufReader reader(out.view());
  reader.next();
  EXPECT_EQ(reader.varint(), std::numeric_limits<uint64_t>::max());
  reader.next();
  EXPECT_EQ(reader.fixed64(), 0x0102030405060708U);
  reader.next();
  EXPECT_EQ(reader.field(), 16U);
  EXPECT_EQ(reader.fixed32(), 0xdeadbeefU);
  reader.next();
  EXPECT_EQ(reader.fixed_double(), -1.5);
  reader.next();
  EXPECT_EQ(reader.varint(), 1U);
}

TEST(OtlpWriterTest, ValuesOfEveryTypeComeBack) {
  std::vector<Value> values;
  values.emplace_back();
  values.push_back(text("héllo"));
  values.push_back(text(""));
  values.push_back(integer(-1));
  values.push_back(integer(std::numeric_limits<int64_t>::max()));
  Value boolean;
  boolean.type = ValueType::kBool;
  boolean.boolean = true;
  values.push_back(boolean);
  boolean.boolean = false;
  values.push_back(boolean);
  Value number;
  number.type = ValueType::kDouble;
  number.number = 1e300;
  values.push_back(number);
  values.push_back(text(std::string_view("\0\xff", 2), ValueType::kBytes));

  ArrayBuilder array;
  ArrayBuilder map;
  for (const Value& each : values) {
    array.append(each);
    map.append("key", each);
  }
  values.push_back(text(array.text(), ValueType::kArray));
  values.push_back(text(map.text(), ValueType::kKeyValueList));
  ArrayBuilder all;
  for (const Value& each : values) all.append(each);

  size_t index = 0;
  read_array(all.text(), [&](const Value& read) {
    ASSERT_LT(index, values.size());
    const Value& expected = values[index++];
    EXPECT_EQ(read.type, expected.type) << index;
    EXPECT_EQ(read.boolean, expected.boolean) << index;
    EXPECT_EQ(read.integer, expected.integer) << index;
    EXPECT_EQ(read.number, expected.number) << index;
    EXPECT_EQ(read.text, expected.text) << index;
  });
  EXPECT_EQ(index, values.size());
  size_t entries = 0;
  read_key_values(map.text(), [&](const KeyValue& entry) {
    EXPECT_EQ(entry.key, "key");
    ++entries;
  });
  EXPECT_EQ(entries, values.size() - 2);
}

TEST(OtlpWriterTest, KeyValueSizesAreExact) {
  for (const size_t size : {0, 1, 100, 127, 128, 20'000}) {
    ProtobufWriter out;
    const std::string key(size, 'k');
    const std::string value(size, 'v');
    write_key_value(out, 9, key, text(value));
    ProtobufReader reader(out.view());
    ASSERT_TRUE(reader.next());
    ProtobufReader entry(reader.bytes());
    ASSERT_TRUE(entry.next());
    EXPECT_EQ(entry.bytes(), key);
    ASSERT_TRUE(entry.next());
    ProtobufReader any(entry.bytes());
    ASSERT_TRUE(any.next());
    EXPECT_EQ(any.bytes(), value);
    EXPECT_FALSE(reader.next());
    EXPECT_TRUE(reader.ok() && entry.ok() && any.ok());
  }
}

TEST(RewriteTest, ChangesStringsAtAnyDepthAndNothingElse) {
  ArrayBuilder inner;
  inner.append(text("secret"));
  inner.append(integer(5));
  ArrayBuilder map;
  map.append("secret", text("a secret here"));
  map.append("list", text(inner.text(), ValueType::kArray));
  ArrayBuilder outer;
  outer.append(text("fine"));
  outer.append(text("secret", ValueType::kBytes));
  outer.append(text(map.text(), ValueType::kKeyValueList));

  const StringRewrite rewrite = [](std::string_view in, std::string& out) {
    const size_t at = in.find("secret");
    if (at == std::string_view::npos) return false;
    out = std::string(in.substr(0, at)) + "***" + std::string(in.substr(at + 6));
    return true;
  };
  std::string out;
  ASSERT_TRUE(rewrite_strings(ValueType::kArray, outer.text(), rewrite, out));
  std::vector<Value> values;
  read_array(out, [&](const Value& value) { values.push_back(value); });
  ASSERT_EQ(values.size(), 3U);
  EXPECT_EQ(values[0].text, "fine");
  EXPECT_EQ(values[1].text, "secret") << "bytes are not text";
  std::vector<KeyValue> entries;
  read_key_values(values[2].text, [&](const KeyValue& entry) { entries.push_back(entry); });
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].key, "secret") << "keys stay";
  EXPECT_EQ(entries[0].value.text, "a *** here");
  values.clear();
  read_array(entries[1].value.text, [&](const Value& value) { values.push_back(value); });
  ASSERT_EQ(values.size(), 2U);
  EXPECT_EQ(values[0].text, "***");
  EXPECT_EQ(values[1].integer, 5);

  ASSERT_TRUE(rewrite_strings(ValueType::kArray, outer.text(), rewrite, out, true));
  EXPECT_EQ(out.find("secret"), std::string::npos) << "keys and bytes on request";
}

TEST(RewriteTest, UnchangedAndBrokenTextIsLeftAlone) {
  const StringRewrite never = [](std::string_view, std::string&) { return false; };
  const StringRewrite always = [](std::string_view, std::string& out) {
    out = "x";
    return true;
  };
  ArrayBuilder array;
  array.append(text("a"));
  std::string out;
  EXPECT_FALSE(rewrite_strings(ValueType::kArray, array.text(), never, out));
  EXPECT_FALSE(rewrite_strings(ValueType::kArray, "", always, out));
  EXPECT_FALSE(rewrite_strings(ValueType::kArray,
                               "\x0a\x7f"
                               "broken",
                               always, out));
}

}  // namespace
}  // namespace nuages::wire
