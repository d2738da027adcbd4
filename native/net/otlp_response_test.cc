#include "net/otlp_response.h"

#include <curl/curl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/peer_probe.h"
#include "wire/grpc_frame.h"
#include "wire/protobuf_writer.h"

namespace nuages::net {
namespace {

using ::testing::HasSubstr;

const Endpoint kEndpoint{"http://host:4317/x", "", "host", 4317, false, ""};
const Endpoint kTlsEndpoint{"https://host:4317/x", "", "host", 4317, true, ""};

std::string partial_success(uint64_t rejected, std::string_view message) {
  wire::ProtobufWriter out;
  const auto partial = out.begin(1);
  if (rejected != 0) out.varint(1, rejected);
  if (!message.empty()) out.string(2, message);
  out.end(partial);
  return std::string(out.view());
}

std::string framed(std::string_view message) {
  std::string out(5, '\0');
  wire::write_grpc_frame_header(out.data(), message.size(), false);
  return out.append(message);
}

SendResult grpc(const char* status, const char* message = "", const char* details = "",
                std::string_view body = {}, int http = 200) {
  Response response;
  response.add_header("HTTP/2 200\r\n");
  if (*status != '\0') response.add_header("Grpc-Status: " + std::string(status) + "\r\n");
  response.add_header("grpc-message: " + std::string(message) + "\r\n");
  response.add_header("grpc-status-details-bin: " + std::string(details) + "\r\n");
  response.body = body;
  SendResult result;
  judge_grpc(response, http, kEndpoint, result);
  return result;
}

SendResult http(int status, const char* retry_after = "", const std::string& body = "") {
  Response response;
  response.add_header("retry-after: " + std::string(retry_after));
  response.add_header("content-type: application/x-protobuf");
  response.body = body;
  SendResult result;
  judge_http(response, status, kEndpoint, result);
  return result;
}

TEST(GrpcAnswerTest, EveryCodeIsRetriedOrNotAsTheSpecificationSays) {
  const Outcome kExpected[] = {Outcome::kSuccess,   Outcome::kRetry,     Outcome::kPermanent,
                               Outcome::kPermanent, Outcome::kRetry,     Outcome::kPermanent,
                               Outcome::kPermanent, Outcome::kPermanent, Outcome::kPermanent,
                               Outcome::kPermanent, Outcome::kRetry,     Outcome::kRetry,
                               Outcome::kPermanent, Outcome::kPermanent, Outcome::kRetry,
                               Outcome::kRetry,     Outcome::kPermanent};
  for (int code = 0; code <= 16; ++code) {
    EXPECT_EQ(grpc(std::to_string(code).c_str()).outcome, kExpected[code]) << code;
  }
  EXPECT_EQ(grpc("99").outcome, Outcome::kPermanent);
}

TEST(GrpcAnswerTest, RetryInfoMakesResourceExhaustedRetryable) {
  wire::ProtobufWriter status;
  status.varint(1, 8);
  const auto any = status.begin(3);
  status.string(1, "type.googleapis.com/google.rpc.RetryInfo");
  const auto info = status.begin(2);
  const auto delay = status.begin(1);
  status.varint(1, 4);
  status.end(delay);
  status.end(info);
  status.end(any);
  // base64, without padding as gRPC sends it
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string encoded;
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : status.view()) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    for (count += 8; count >= 6;) {
      count -= 6;
      encoded.push_back(kDigits[bits >> count & 63]);
    }
  }
  if (count != 0) encoded.push_back(kDigits[bits << (6 - count) & 63]);
  const SendResult result = grpc("8", "busy", encoded.c_str());
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  EXPECT_EQ(result.retry_after_ms, 4000U);
  EXPECT_EQ(grpc("8", "busy", "!!!").outcome, Outcome::kPermanent);
}

TEST(GrpcAnswerTest, MessagesAreDecodedNamedAndTamed) {
  const SendResult result = grpc("16", "bad%20key%0Ahere");
  EXPECT_EQ(result.message,
            "http://host:4317/x answered UNAUTHENTICATED: bad key here; check the key in "
            "OTEL_EXPORTER_OTLP_HEADERS");
  EXPECT_LT(grpc("13", std::string(100'000, 'x').c_str()).message.size(), 1000U);
}

TEST(GrpcAnswerTest, PartialSuccessIsSuccessWithACount) {
  const std::string body = framed(partial_success(3, "no id"));
  const SendResult result = grpc("0", "", "", body);
  EXPECT_EQ(result.outcome, Outcome::kSuccess);
  EXPECT_EQ(result.rejected_spans, 3U);
  EXPECT_EQ(result.message, "no id");
  EXPECT_EQ(grpc("0", "", "", framed("")).rejected_spans, 0U);
  EXPECT_EQ(grpc("0", "", "", "garbage").outcome, Outcome::kSuccess);
}

TEST(GrpcAnswerTest, AnAnswerWithoutGrpcStatus) {
  EXPECT_EQ(grpc("", "", "", "", 503).outcome, Outcome::kRetry);
  EXPECT_EQ(grpc("", "", "", "", 404).outcome, Outcome::kPermanent);
  const SendResult garbage = grpc("", "", "", "<html>", 200);
  EXPECT_EQ(garbage.outcome, Outcome::kPermanent);
  EXPECT_NE(garbage.message.find("4317"), std::string::npos);
}

TEST(HttpAnswerTest, OnlyFourCodesAreRetried) {
  for (int status = 200; status < 600; ++status) {
    const Outcome expected = status < 300 ? Outcome::kSuccess
                             : status == 429 || status == 502 || status == 503 || status == 504
                                 ? Outcome::kRetry
                                 : Outcome::kPermanent;
    EXPECT_EQ(http(status).outcome, expected) << status;
  }
  EXPECT_EQ(http(429, "7").retry_after_ms, 7000U);
  EXPECT_EQ(http(400, "7").retry_after_ms, 0U);
  EXPECT_EQ(http(200, "", partial_success(2, "m")).rejected_spans, 2U);
}

TEST(GrpcAnswerTest, AnAnswerWithoutItsTrailersCountsOnlyWithItsMessage) {
  Response response;
  response.content_type = "application/grpc";
  SendResult result;
  judge_grpc(response, 200, kEndpoint, result);
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  EXPECT_THAT(result.message, HasSubstr("cut off"));
  response.body = framed(partial_success(2, "no"));
  result = {};
  judge_grpc(response, 200, kEndpoint, result);
  EXPECT_EQ(result.outcome, Outcome::kSuccess);
  EXPECT_EQ(result.rejected_spans, 2U);
  response.body.pop_back();
  judge_grpc(response, 200, kEndpoint, result);
  EXPECT_EQ(result.outcome, Outcome::kRetry);
}

TEST(HttpAnswerTest, RetryAfterAsSecondsOrDate) {
  EXPECT_EQ(retry_after_ms("120", 0), 120'000U);
  EXPECT_EQ(retry_after_ms("", 0), 0U);
  EXPECT_EQ(retry_after_ms("soon", 0), 0U);
  const int64_t date = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", date - 5), 5000U);
  EXPECT_EQ(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", date + 5), 0U);
  EXPECT_EQ(retry_after_ms("99999999999999", 0), 1'000'000'000U);
}

TEST(TransportErrorTest, OwnFilesAreAtFaultForGoodEverythingElseMayHeal) {
  OtlpClientConfig config;
  SendResult result;
  const auto explain = [&](int code, std::string_view detail, std::string_view diagnosis = "") {
    result = {};
    explain_transport_error(code, detail, kEndpoint, config, diagnosis, result);
    return result.message;
  };
  EXPECT_THAT(explain(CURLE_PEER_FAILED_VERIFICATION, "self-signed"),
              HasSubstr("OTEL_EXPORTER_OTLP_CERTIFICATE"));
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  explain(CURLE_COULDNT_CONNECT, "");
  EXPECT_EQ(result.outcome, Outcome::kRetry);
  EXPECT_THAT(explain(CURLE_HTTP2, ""), HasSubstr("HTTP/2"));
  EXPECT_THAT(explain(CURLE_HTTP2, "x", "it speaks TLS"), HasSubstr(": it speaks TLS"));
  EXPECT_THAT(explain(CURLE_SSL_CONNECT_ERROR, "wrong version number"), HasSubstr("http://"));
  EXPECT_THAT(explain(CURLE_RECV_ERROR, "CONNECT tunnel failed, response 407"),
              HasSubstr("no_proxy"));
  EXPECT_THAT(explain(CURLE_RECV_ERROR, "tlsv13 alert certificate required"),
              HasSubstr("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"));
  // The same receiver, when the cut is read before its alert: any of these, by chance.
  for (const int code :
       {CURLE_HTTP2, CURLE_HTTP2_STREAM, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_GOT_NOTHING}) {
    result = {};
    explain_transport_error(code, "stream 1 was not closed cleanly", kTlsEndpoint, config, "",
                            result);
    EXPECT_THAT(result.message, HasSubstr("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")) << code;
  }
  explain(CURLE_SSL_CERTPROBLEM, "could not load");
  EXPECT_EQ(result.outcome, Outcome::kPermanent);
}

TEST(PeerTest, TheFirstBytesTellTheProtocol) {
  EXPECT_EQ(peer_from_answer(""), Peer::kUnknown);
  EXPECT_EQ(peer_from_answer("HTTP/1.1 404 Not Found\r\n\r\n"), Peer::kHttp1);
  EXPECT_EQ(peer_from_answer("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an "
                             "HTTPS server.\n"),
            Peer::kTls);
  EXPECT_EQ(peer_from_answer(std::string_view("\x15\x03\x01\x00\x02\x02\x46", 7)), Peer::kTls);
  EXPECT_EQ(peer_from_answer(std::string_view("\0\0\x12\x04\0\0\0\0\0", 9)), Peer::kHttp2);
  EXPECT_EQ(peer_from_answer("SSH-2.0-OpenSSH_9.2p1"), Peer::kUnknown);
}

}  // namespace
}  // namespace nuages::net
