#include "net/otlp_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "net/test_receiver.h"

namespace nuages::net {
namespace {

using nuages::testing::refused_url;
using nuages::testing::Reply;
using nuages::testing::Request;
using nuages::testing::TestReceiver;

uint64_t in_ms(uint64_t milliseconds) { return steady_now() + milliseconds * 1'000'000; }

std::unique_ptr<OtlpClient> client(const std::string& url, OtlpClientConfig config = {}) {
  config.endpoint = url;
  config.protocol = Protocol::kHttpProtobuf;
  config.version = "1.2.3";
  auto made = OtlpClient::create(config);
  EXPECT_TRUE(made.ok());
  return std::move(*made);
}

TEST(OtlpClientTest, PostsTheBodyWithItsHeaders) {
  TestReceiver receiver;
  OtlpClientConfig config;
  config.headers = {{"authorization", "Bearer k"}, {"x-empty", ""}};
  const auto sender = client(receiver.url(), config);
  const std::string body(100'000, 'b');
  const SendResult result = sender->send(body, in_ms(10'000));
  EXPECT_EQ(result.outcome, Outcome::kSuccess) << result.message;
  EXPECT_EQ(result.bytes_sent, body.size());
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].body, body);
  for (const char* line :
       {"POST /v1/traces HTTP/1.1\r\n", "User-Agent: OTel-OTLP-Exporter-Nuages/1.2.3\r\n",
        "Content-Type: application/x-protobuf\r\n", "authorization: Bearer k\r\n",
        "x-empty:\r\n"}) {
    EXPECT_NE(requests[0].head.find(line), std::string::npos) << line << requests[0].head;
  }
  EXPECT_EQ(requests[0].head.find("Expect"), std::string::npos);
}

TEST(OtlpClientTest, ReusesItsConnection) {
  TestReceiver receiver;
  const auto sender = client(receiver.url());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(sender->send("x", in_ms(10'000)).outcome, Outcome::kSuccess);
  }
  EXPECT_EQ(receiver.requests().size(), 5U);
  EXPECT_EQ(receiver.connection_count(), 1U);
}

TEST(OtlpClientTest, CompressesWhenAsked) {
  TestReceiver receiver;
  OtlpClientConfig config;
  config.compression = Compression::kGzip;
  const auto sender = client(receiver.url(), config);
  EXPECT_EQ(sender->send(std::string(10'000, 'z'), in_ms(10'000)).outcome, Outcome::kSuccess);
  const auto request = receiver.requests().at(0);
  EXPECT_NE(request.head.find("Content-Encoding: gzip\r\n"), std::string::npos);
  EXPECT_LT(request.body.size(), 1000U);
  EXPECT_EQ(request.body.substr(0, 2), "\x1f\x8b");
}

TEST(OtlpClientTest, ReadsTheAnswer) {
  TestReceiver receiver([](const Request&) { return Reply{503, "Retry-After: 3\r\n", "busy"}; });
  const auto sender = client(receiver.url());
  const SendResult result = sender->send("x", in_ms(10'000));
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  EXPECT_EQ(result.retry_after_ms, 3000U);
}

TEST(OtlpClientTest, AnAnswerWithoutEndIsRefused) {
  TestReceiver receiver([](const Request&) { return Reply{200, "", std::string(5U << 20, 'x')}; });
  const auto sender = client(receiver.url());
  EXPECT_EQ(sender->send("x", in_ms(10'000)).outcome, Outcome::kPermanent);
}

TEST(OtlpClientTest, ARefusedConnectionMayWorkLater) {
  const auto sender = client(refused_url());
  const SendResult result = sender->send("x", in_ms(10'000));
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  EXPECT_NE(result.message.find("127.0.0.1"), std::string::npos);
}

TEST(OtlpClientTest, DeadlineEndsTheWaitForASilentReceiver) {
  TestReceiver receiver([](const Request&) { return std::nullopt; });
  const auto sender = client(receiver.url());
  EXPECT_EQ(sender->send("x", in_ms(50)).outcome, Outcome::kAborted) << "the caller's deadline";
  EXPECT_EQ(sender->send("x", steady_now()).outcome, Outcome::kAborted);
  OtlpClientConfig config;
  config.timeout_ms = 50;
  const auto hasty = client(receiver.url(), config);
  EXPECT_EQ(hasty->send("x", in_ms(60'000)).outcome, Outcome::kRetry) << "its own timeout";
}

TEST(OtlpClientTest, InterruptFromAnotherThread) {
  TestReceiver receiver([](const Request&) { return std::nullopt; });
  const auto sender = client(receiver.url());
  std::thread other([&] {
    receiver.wait_for(1);
    sender->interrupt();
  });
  EXPECT_EQ(sender->send("x", in_ms(3'600'000)).outcome, Outcome::kAborted);
  other.join();
  EXPECT_EQ(sender->send("x", in_ms(3'600'000)).outcome, Outcome::kAborted);
  sender->reset_interrupt();
  EXPECT_EQ(sender->send("x", in_ms(20)).outcome, Outcome::kAborted) << "the deadline this time";
  EXPECT_GE(receiver.requests().size(), 2U);
}

TEST(OtlpClientTest, TheWaitHookBracketsEveryWait) {
  TestReceiver receiver;
  const auto sender = client(receiver.url());
  int depth = 0;
  int waits = 0;
  sender->set_wait_hook([&](bool waiting) {
    depth += waiting ? 1 : -1;
    EXPECT_TRUE(depth == 0 || depth == 1);
    ++waits;
  });
  EXPECT_EQ(sender->send("x", in_ms(10'000)).outcome, Outcome::kSuccess);
  EXPECT_EQ(depth, 0);
  EXPECT_GE(waits, 2);
}

TEST(OtlpClientTest, GrpcToAReceiverWithoutHttp2IsExplained) {
  TestReceiver receiver([](const Request&) { return Reply{400, "", "no"}; });
  OtlpClientConfig config;
  config.endpoint = receiver.url();
  auto made = OtlpClient::create(config);
  ASSERT_TRUE(made.ok());
  const SendResult result = (*made)->send("x", in_ms(10'000));
  EXPECT_NE(result.outcome, Outcome::kSuccess);
  EXPECT_NE(result.message.find("4317"), std::string::npos) << result.message;
}

}  // namespace
}  // namespace nuages::net
