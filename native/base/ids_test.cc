#include "base/ids.h"

#include <gtest/gtest.h>

namespace nuages {
namespace {

TEST(TraceId, RoundTripsThroughHexAndBytes) {
  auto id = trace_id_from_hex("4bf92f3577b34da6A3ce929d0e0e4736");
  ASSERT_TRUE(id);
  EXPECT_EQ(to_hex(*id), "4bf92f3577b34da6a3ce929d0e0e4736");
  char bytes[16];
  trace_id_to_bytes(*id, bytes);
  EXPECT_EQ(static_cast<unsigned char>(bytes[0]), 0x4b);
  EXPECT_EQ(static_cast<unsigned char>(bytes[15]), 0x36);
  EXPECT_EQ(trace_id_from_bytes({bytes, 16}), *id);
}

TEST(TraceId, RefusesWrongLengthOtherCharactersAndZero) {
  EXPECT_FALSE(trace_id_from_hex(""));
  EXPECT_FALSE(trace_id_from_hex("4bf92f3577b34da6a3ce929d0e0e473"));
  EXPECT_FALSE(trace_id_from_hex("4bf92f3577b34da6a3ce929d0e0e473g"));
  EXPECT_FALSE(trace_id_from_hex(std::string(32, '0')));
}

TEST(SpanId, RoundTripsThroughHexAndBytes) {
  auto id = span_id_from_hex("00f067aa0ba902b7");
  ASSERT_TRUE(id);
  EXPECT_EQ(to_hex(*id), "00f067aa0ba902b7");
  char bytes[8];
  span_id_to_bytes(*id, bytes);
  EXPECT_EQ(span_id_from_bytes({bytes, 8}), *id);
  EXPECT_FALSE(span_id_from_hex("0000000000000000"));
}

}  // namespace
}  // namespace nuages
