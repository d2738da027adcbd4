#include "wire/protobuf_reader.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "wire/otlp_reader_testing.h"

namespace nuages::wire {
namespace {

using testing::Message;

// Walks a message, skipping everything; returns whether it is well-formed.
bool walk(std::string_view text) {
  ProtobufReader reader(text);
  while (reader.next()) reader.skip();
  return reader.ok();
}

TEST(ProtobufReader, ReadsEveryType) {
  const std::string text = Message()
                               .varint(1, 300)
                               .fixed64(2, 0x1122334455667788)
                               .bytes(3, "abc")
                               .fixed32(4, 7)
                               .varint(536870911, std::numeric_limits<uint64_t>::max())
                               .text();
  ProtobufReader reader(text);
  ASSERT_TRUE(reader.next());
  EXPECT_TRUE(reader.is(1, WireType::kVarint));
  EXPECT_EQ(reader.varint(), 300U);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.fixed64(), 0x1122334455667788U);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.bytes(), "abc");
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.fixed32(), 7U);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.field(), 536870911U);
  EXPECT_EQ(reader.varint(), std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.ok());
}

TEST(ProtobufReader, EveryCutOfAMessageIsSafeAndSeen) {
  const std::string text =
      Message().varint(1, 300).fixed64(2, 1).bytes(3, "abcdef").fixed32(4, 7).text();
  const std::vector<size_t> boundaries = {0, 3, 12, 20, 25};
  for (size_t size = 0; size <= text.size(); ++size) {
    // A copy of exactly this size, so that a sanitizer sees any look beyond it.
    const std::vector<char> part(text.begin(), text.begin() + static_cast<ptrdiff_t>(size));
    const bool whole = std::find(boundaries.begin(), boundaries.end(), size) != boundaries.end();
    EXPECT_EQ(walk({part.data(), part.size()}), whole) << size;
  }
}

TEST(ProtobufReader, RefusesWhatIsNotProtobuf) {
  EXPECT_FALSE(walk(std::string("\x0b", 1)));                      // group start
  EXPECT_FALSE(walk(std::string("\x0c", 1)));                      // group end
  EXPECT_FALSE(walk(std::string("\x0e\x01", 2)));                  // wire type 6
  EXPECT_FALSE(walk(std::string("\x00\x01", 2)));                  // field 0
  EXPECT_FALSE(walk("\x08" + std::string(11, '\xff')));            // varint too long
  EXPECT_FALSE(walk("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"));  // length beyond any buffer
  EXPECT_FALSE(walk("{\"resourceSpans\":[]}"));
}

TEST(ProtobufReader, ErrorsStay) {
  const std::string text =
      "\x0a\x05"
      "ab";
  ProtobufReader reader(text);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.bytes(), "");
  EXPECT_FALSE(reader.ok());
  EXPECT_FALSE(reader.next());
}

TEST(Utf8, AcceptsWhatUnicodeAllows) {
  for (const std::string_view text :
       {"", "plain ascii longer than eight bytes", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
        "12345678\xc3\xa4 12345678"}) {
    EXPECT_TRUE(valid_utf8(text)) << text;
  }
  EXPECT_TRUE(valid_utf8(std::string_view("a\0b", 3)));
}

TEST(Utf8, RefusesTheRest) {
  for (const std::string_view text :
       {"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xc2", "\xc2\x61", "\xe0\x9f\xbf", "\xe1\x80",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf1\x80\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "12345678\xff", "1234567\xff 12345678"}) {
    EXPECT_FALSE(valid_utf8(text)) << text;
  }
}

}  // namespace
}  // namespace nuages::wire
