#include <gtest/gtest.h>

#include "net/otlp_client.h"

namespace nuages::net {
namespace {

constexpr char kGrpc[] = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

struct Case {
  const char* endpoint;
  bool insecure;
  std::string url;
};

TEST(EndpointTest, GrpcForms) {
  const std::string path = kGrpc;
  const Case kTable[] = {
      {"http://localhost:4317", false,
       "http://localhost:4317" + path},  // scheme wins over insecure
      {"https://collector:4317", true, "https://collector:4317" + path},
      {"HTTPS://Collector.example:4317/", false, "https://Collector.example:4317" + path},
      {"localhost:4317", true, "http://localhost:4317" + path},
      {"localhost:4317", false, "https://localhost:4317" + path},
      {"localhost", true, "http://localhost:4317" + path},
      {"http://localhost", false, "http://localhost:4317" + path},
      {"https://api.honeycomb.io", false, "https://api.honeycomb.io:443" + path},
      {"http://localhost:4317/", false, "http://localhost:4317" + path},
      {"http://localhost:4317/ignored/path?x=1", false, "http://localhost:4317" + path},
      {"  http://localhost:4317\n", false, "http://localhost:4317" + path},
      {"http://[::1]:4317", false, "http://[::1]:4317" + path},
      {"http://[::1]", false, "http://[::1]:4317" + path},
      {"[::1]:4317", true, "http://[::1]:4317" + path},
      {"::1", true, "http://[::1]:4317" + path},
      {"http://otel_collector:4317", false, "http://otel_collector:4317" + path},
  };
  for (const Case& test : kTable) {
    OtlpClientConfig config;
    config.endpoint = test.endpoint;
    config.insecure = test.insecure;
    const auto endpoint = parse_endpoint(config);
    ASSERT_TRUE(endpoint.ok()) << test.endpoint << ": " << endpoint.error().message;
    EXPECT_EQ(endpoint->url, test.url) << test.endpoint;
    EXPECT_EQ(endpoint->tls, test.url.starts_with("https")) << test.endpoint;
  }
}

TEST(EndpointTest, HttpForms) {
  const struct {
    const char* endpoint;
    bool final;
    const char* url;
  } kTable[] = {
      {"http://localhost:4318", false, "http://localhost:4318/v1/traces"},
      {"http://localhost:4318/", false, "http://localhost:4318/v1/traces"},
      {"http://localhost:4318/base", false, "http://localhost:4318/base/v1/traces"},
      {"http://localhost:4318/base/", false, "http://localhost:4318/base/v1/traces"},
      {"http://localhost:4318/v1/traces", true, "http://localhost:4318/v1/traces"},
      {"http://localhost:4318", true, "http://localhost:4318/"},
      {"https://otlp.example.com", false, "https://otlp.example.com/v1/traces"},
      {"localhost", false, "http://localhost:4318/v1/traces"},
      {"collector", false, "https://collector:4318/v1/traces"},
  };
  for (const auto& test : kTable) {
    OtlpClientConfig config;
    config.protocol = Protocol::kHttpProtobuf;
    config.endpoint = test.endpoint;
    config.endpoint_is_final = test.final;
    const auto endpoint = parse_endpoint(config);
    ASSERT_TRUE(endpoint.ok()) << test.endpoint;
    EXPECT_EQ(endpoint->url, test.url) << test.endpoint;
  }
}

TEST(EndpointTest, OneErrorNamesTheEndpointAndTheFix) {
  for (const char* bad :
       {"", "http://", "ftp://localhost:4317", "unix:relative", "http://localhost:99999",
        "http://localhost:0", "http://localhost:port", "http://[::1", "http://[::1]4317",
        "http://a b:1", "http://host\r\nX: y:1"}) {
    OtlpClientConfig config;
    config.endpoint = bad;
    const auto endpoint = parse_endpoint(config);
    ASSERT_FALSE(endpoint.ok()) << bad;
    EXPECT_EQ(endpoint.error().code, ErrorCode::kInvalid);
    EXPECT_NE(endpoint.error().message.find("http://host:4317"), std::string::npos);
  }
}

TEST(EndpointTest, APasswordInTheEndpointIsIgnoredAndNotRepeated) {
  OtlpClientConfig config;
  config.endpoint = "http://user:hunter2@host:4318";
  const auto endpoint = parse_endpoint(config);
  ASSERT_TRUE(endpoint.ok());
  EXPECT_EQ(endpoint->url, std::string("http://host:4318") + kGrpc);
  EXPECT_NE(endpoint->warning.find("user name"), std::string::npos);
  EXPECT_EQ(endpoint->warning.find("hunter2"), std::string::npos);
  for (const char* bad : {"ftp://user:hunter2@host", "http://user:hunter2@host:port"}) {
    config.endpoint = bad;
    const std::string message = parse_endpoint(config).error().message;
    EXPECT_EQ(message.find("hunter2"), std::string::npos) << message;
  }
}

TEST(EndpointTest, UnixSocketsAndTheNamesOfGrpc) {
  OtlpClientConfig config;
  for (const char* form : {"unix:///run/otlp.sock", "unix:/run/otlp.sock"}) {
    config.endpoint = form;
    const auto endpoint = parse_endpoint(config);
    ASSERT_TRUE(endpoint.ok());
    EXPECT_EQ(endpoint->unix_socket, "/run/otlp.sock");
    EXPECT_FALSE(endpoint->tls);
  }
  config.endpoint = "grpcs://host:4317";
  EXPECT_TRUE(parse_endpoint(config)->tls);
  EXPECT_NE(parse_endpoint(config)->warning, "");
}

TEST(EndpointTest, Warnings) {
  OtlpClientConfig config;
  config.endpoint = "http://localhost:4318";
  EXPECT_NE(parse_endpoint(config)->warning.find("4318"), std::string::npos);
  config.endpoint = "http://localhost:4317";
  EXPECT_EQ(parse_endpoint(config)->warning, "");
  config.protocol = Protocol::kHttpProtobuf;
  EXPECT_NE(parse_endpoint(config)->warning.find("4317"), std::string::npos);

  config.endpoint = "http://localhost:4318";
  config.endpoint_is_final = true;
  EXPECT_NE(parse_endpoint(config)->warning.find("/v1/traces"), std::string::npos);
  config = {};
  config.endpoint = "http://localhost:8080/v1/traces";
  EXPECT_NE(parse_endpoint(config)->warning.find("http/protobuf"), std::string::npos);

  config = {};
  config.headers = {{"Authorization", "Bearer s3cret"}};
  EXPECT_EQ(parse_endpoint(config)->warning, "") << "loopback";
  config.endpoint = "http://collector:4317";
  const std::string warning = parse_endpoint(config)->warning;
  EXPECT_NE(warning.find("\"Authorization\" travels unencrypted to collector"), std::string::npos);
  EXPECT_EQ(warning.find("s3cret"), std::string::npos);
  config.endpoint = "https://collector:4317";
  EXPECT_EQ(parse_endpoint(config)->warning, "");
}

TEST(EndpointTest, HeadersThatHttpForbidsAreRefusedWithoutTheirValue) {
  OtlpClientConfig config;
  config.headers = {{"authorization", "line\r\nbreak"}};
  const auto client = OtlpClient::create(config);
  ASSERT_FALSE(client.ok());
  EXPECT_NE(client.error().message.find("authorization"), std::string::npos);
  EXPECT_EQ(client.error().message.find("break"), std::string::npos);
}

}  // namespace
}  // namespace nuages::net
