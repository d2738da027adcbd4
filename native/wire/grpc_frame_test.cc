#include "wire/grpc_frame.h"

#include <gtest/gtest.h>

#include "wire/protobuf_writer.h"

namespace nuages::wire {
namespace {

std::string details(std::string_view type, int64_t seconds, int64_t nanos) {
  ProtobufWriter out;
  out.varint(1, 8);
  out.string(2, "slow down");
  auto other = out.begin(3);
  out.string(1, "type.googleapis.com/google.rpc.DebugInfo");
  out.string(2, "not a delay");
  out.end(other);
  auto any = out.begin(3);
  out.string(1, type);
  auto info = out.begin(2);
  auto delay = out.begin(1);
  if (seconds != 0) out.varint(1, static_cast<uint64_t>(seconds));
  if (nanos != 0) out.varint(2, static_cast<uint64_t>(nanos));
  out.end(delay);
  out.end(info);
  out.end(any);
  return std::string(out.view());
}

TEST(GrpcFrameTest, HeaderAndMessage) {
  char header[kGrpcFrameHeaderSize];
  write_grpc_frame_header(header, 0x01020304, true);
  EXPECT_EQ(std::string_view(header, 5), std::string_view("\x01\x01\x02\x03\x04", 5));
  write_grpc_frame_header(header, 3, false);
  const std::string bytes = std::string(header, 5) + "abcNEXT";
  for (size_t size = 0; size < 8; ++size) EXPECT_FALSE(read_grpc_frame(bytes.substr(0, size)));
  const auto frame = read_grpc_frame(bytes);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->message, "abc");
  EXPECT_EQ(frame->size, 8U);
  EXPECT_FALSE(frame->compressed);
}

TEST(GrpcFrameTest, StatusNames) {
  EXPECT_EQ(grpc_status_name(GrpcStatus::kOk), "OK");
  EXPECT_EQ(grpc_status_name(GrpcStatus::kUnavailable), "UNAVAILABLE");
  EXPECT_EQ(grpc_status_name(GrpcStatus::kUnauthenticated), "UNAUTHENTICATED");
  EXPECT_EQ(grpc_status_name(static_cast<GrpcStatus>(77)), "UNKNOWN");
  EXPECT_EQ(grpc_status_from_text("14"), GrpcStatus::kUnavailable);
  EXPECT_EQ(grpc_status_from_text("0"), GrpcStatus::kOk);
  for (const char* bad : {"", "17", "-1", "1x", "OK"}) {
    EXPECT_EQ(grpc_status_from_text(bad), GrpcStatus::kUnknown) << bad;
  }
  EXPECT_EQ(grpc_status_from_http(503), GrpcStatus::kUnavailable);
  EXPECT_EQ(grpc_status_from_http(401), GrpcStatus::kUnauthenticated);
  EXPECT_EQ(grpc_status_from_http(404), GrpcStatus::kUnimplemented);
  EXPECT_EQ(grpc_status_from_http(418), GrpcStatus::kUnknown);
}

TEST(GrpcFrameTest, PercentCoding) {
  EXPECT_EQ(percent_decode("a%20b%C3%a9%zz%2"), "a bé%zz%2");
  EXPECT_EQ(percent_encode("a b\né%"), "a b%0A%C3%A9%25");
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  EXPECT_EQ(percent_decode(percent_encode(all)), all);
}

TEST(GrpcFrameTest, Base64) {
  EXPECT_EQ(base64_decode("aGVsbG8="), "hello");
  EXPECT_EQ(base64_decode("aGVsbG8"), "hello");
  EXPECT_EQ(base64_decode("aGVsbG8h"), "hello!");
  EXPECT_EQ(base64_decode("-_+/"), base64_decode("+/-_"));
  EXPECT_EQ(base64_decode(""), "");
  EXPECT_FALSE(base64_decode("a"));
  EXPECT_FALSE(base64_decode("a*bc"));
}

TEST(GrpcFrameTest, RetryInfo) {
  const char* type = "type.googleapis.com/google.rpc.RetryInfo";
  EXPECT_EQ(retry_delay_ms(details(type, 4, 0)), 4000U);
  EXPECT_EQ(retry_delay_ms(details(type, 0, 1)), 1U);
  EXPECT_EQ(retry_delay_ms(details(type, 1, 500'000'000)), 1500U);
  EXPECT_FALSE(retry_delay_ms(details(type, -1, 0)));
  EXPECT_FALSE(retry_delay_ms(details("type.googleapis.com/google.rpc.Help", 4, 0)));
  EXPECT_FALSE(retry_delay_ms(""));
  EXPECT_FALSE(retry_delay_ms("\x1a\x7f garbage"));
}

}  // namespace
}  // namespace nuages::wire
