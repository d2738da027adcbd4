#include "wire/traceparent.h"

#include <gtest/gtest.h>

#include <string>

namespace nuages::wire {
namespace {

constexpr char kGood[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceParentTest, ReadsTheRecommendationsExample) {
  const auto parent = parse_traceparent(kGood);
  ASSERT_TRUE(parent);
  EXPECT_EQ(to_hex(parent->trace_id), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(to_hex(parent->span_id), "b7ad6b7169203331");
  EXPECT_EQ(parent->flags, 1);
  EXPECT_EQ(format_traceparent(*parent), kGood);
}

TEST(TraceParentTest, AcceptsTable) {
  const struct {
    const char* header;
    uint8_t flags;
  } kTable[] = {
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 0},
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", 0xff},
      {" \t00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03 ", 3},
      {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 1},
      {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings", 1},
      {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-", 1},
  };
  for (const auto& [header, flags] : kTable) {
    const auto parent = parse_traceparent(header);
    ASSERT_TRUE(parent) << header;
    EXPECT_EQ(parent->flags, flags) << header;
  }
}

TEST(TraceParentTest, RefusesTable) {
  const char* const kTable[] = {
      "",
      "00",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",  // version 00 has no more
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.",
      "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.extra",
      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
      "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
      "00-0af7651916cd43dd8448eb211c80319z-b7ad6b7169203331-01",
      "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
  };
  for (const char* header : kTable) EXPECT_FALSE(parse_traceparent(header)) << header;
}

TEST(TraceParentTest, NoPrefixOfAHeaderIsAHeader) {
  const std::string good = kGood;
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse_traceparent(good.substr(0, size))) << size;
  }
}

TEST(TraceStateTest, KeepsOrderAndDropsBlanks) {
  EXPECT_EQ(parse_tracestate("foo=1,bar=2"), "foo=1,bar=2");
  EXPECT_EQ(parse_tracestate("  foo=1 ,\t bar=2 , ,baz=3,"), "foo=1,bar=2,baz=3");
  EXPECT_EQ(parse_tracestate("tenant@system=value with blanks"), "tenant@system=value with blanks");
  EXPECT_EQ(parse_tracestate("0tenant@s=x"), "0tenant@s=x");
  EXPECT_EQ(parse_tracestate("a_-*/9=~!"), "a_-*/9=~!");
  EXPECT_EQ(parse_tracestate(""), "");
  EXPECT_EQ(parse_tracestate(" , ,"), "");
}

TEST(TraceStateTest, OneBadMemberSpoilsAll) {
  for (const char* header :
       {"foo=1,bar", "foo=1,=2", "foo=1,Bar=2", "foo=1,bar=", "foo=1,b r=2", "foo=1,0bar=2",
        "foo=1,bar=a=b", "foo=1,foo=2", "foo=1,a@=2", "foo=1,@b=2", "foo=1,a@0b=2", "foo=1,a@b@c=2",
        "foo=1,bar=\x01", "foo=1,bar=\xc3\xa9"}) {
    EXPECT_EQ(parse_tracestate(header), "") << header;
  }
}

TEST(TraceStateTest, Lengths) {
  const auto member = [](size_t key, size_t value) {
    return std::string(key, 'k') + "=" + std::string(value, 'v');
  };
  EXPECT_EQ(parse_tracestate(member(256, 256)), member(256, 256));
  EXPECT_EQ(parse_tracestate(member(257, 1)), "");
  EXPECT_EQ(parse_tracestate(member(1, 257)), "");
  const std::string tenant = std::string(241, 't') + "@" + std::string(14, 's') + "=v";
  EXPECT_EQ(parse_tracestate(tenant), tenant);
  EXPECT_EQ(parse_tracestate(std::string(242, 't') + "@s=v"), "");
  EXPECT_EQ(parse_tracestate("t@" + std::string(15, 's') + "=v"), "");
  std::string members;
  for (int i = 0; i < 32; ++i) members += (i ? ",k" : "k") + std::to_string(i) + "=v";
  EXPECT_EQ(parse_tracestate(members), members);
  EXPECT_EQ(parse_tracestate(members + ",k32=v"), "");
}

}  // namespace
}  // namespace nuages::wire
