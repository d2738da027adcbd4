#include "gateway/config.h"

#include <gtest/gtest.h>

#include "gateway/processing.h"
#include "gateway/request_builder.h"
#include "wire/otlp_reader_testing.h"

namespace nuages::gateway {
namespace {

using wire::testing::Message;

constexpr const char* kGood = R"(
receivers: {otlp: {protocols: {grpc: , http: {endpoint: "0.0.0.0:4318"}}}}
processors:
  batch/a: {timeout: 1m1.5s, send_batch_size: 7}
  memory_limiter: {limit_mib: 100}
  attributes: {actions: [{key: n, value: 7, action: insert}, {key: s, value: "7", action: upsert}]}
  filter: {traces: {span: ['name == "x"']}}
exporters:
  otlp/2:
    endpoint: https://backend:4317
    headers: {X-Key: "${env:KEY}", dollars: "$${env:KEY}"}
    auth: {authenticator: bearertokenauth/x}
  otlphttp: {endpoint: http://b:4318, traces_endpoint: http://c/in, compression: none, timeout: 3s}
  nuages: {path: "/data", ui: 127.0.0.1:1}
extensions: {bearertokenauth/x: {token: t}, file_storage: {directory: /q}}
service:
  extensions: [bearertokenauth/x]
  telemetry: {logs: {level: debug}, metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], processors: [filter, batch/a], exporters: [otlp/2, nuages]}
    logs/1: {receivers: [otlp], exporters: [otlphttp]}
)";

Config parse(const std::string& text, std::vector<Problem>& problems) {
  YamlContext context;
  context.environment = [](const std::string& name) {
    return name == "KEY" ? std::optional<std::string>("secret") : std::nullopt;
  };
  Config config = parse_config(text, context);
  problems = context.problems;
  return config;
}

TEST(Config, ReadsWhatACollectorReads) {
  std::vector<Problem> problems;
  const Config config = parse(kGood, problems);
  EXPECT_EQ(problem_text("f", problems), "");
  EXPECT_EQ(config.receiver.grpc, "localhost:4317");
  EXPECT_EQ(config.receiver.http, "0.0.0.0:4318");
  EXPECT_EQ(config.data, "/data");
  EXPECT_EQ(config.log_level, "debug");
  EXPECT_TRUE(config.stores());
  const BatchConfig& batch = config.processors.at("batch/a").batch;
  EXPECT_EQ(batch.timeout_ns, 61'500'000'000U);
  EXPECT_EQ(batch.size, 7U);
  const auto& actions = config.processors.at("attributes").actions;
  EXPECT_EQ(actions[0].value, Message().varint(3, 7).text());
  EXPECT_EQ(actions[1].value, Message().bytes(1, "7").text());
  const auto& headers = config.exporters.at("otlp/2").forward.client.headers;
  const std::vector<std::pair<std::string, std::string>> expected{
      {"x-key", "secret"}, {"dollars", "${env:KEY}"}, {"authorization", "Bearer t"}};
  EXPECT_EQ(headers, expected);
  const ForwardConfig& http = config.exporters.at("otlphttp").forward;
  EXPECT_EQ(http.urls[0], "http://c/in");
  EXPECT_EQ(http.client.compression, net::Compression::kNone);
  ASSERT_EQ(config.pipelines.size(), 2U);
  EXPECT_EQ(config.pipelines[1].signal, wire::Signal::kLogs);
}

TEST(Config, EveryCutAndEveryLeftOutLineEndsWithProblemsOrAConfig) {
  const std::string good = kGood;
  std::vector<Problem> problems;
  for (size_t i = 0; i < good.size(); i += 3) parse(good.substr(0, i), problems);
  for (size_t at = 0; at < good.size();) {
    const size_t end = good.find('\n', at) + 1;
    std::string text = good;
    parse(text.erase(at, end - at), problems);
    at = end;
  }
}

TEST(Config, AliasesDoNotMultiply) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last + ", " + last +
            ", " + last + "]\n";
  }
  std::vector<Problem> problems;
  parse(text, problems);
  EXPECT_FALSE(problems.empty());
}

TEST(RequestBuilder, SplitsAndKeepsResourcesAndScopes) {
  const std::string body =
      wire::testing::request({wire::testing::span(1, 1), wire::testing::span(1, 2)}) +
      wire::testing::request({wire::testing::span(1, 3)});
  const auto parts = split_request(body, 2);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].items, 2U);
  struct Counter {
    size_t services = 0, scopes = 0, spans = 0;
    void on_resource(const wire::Resource& resource) { services += resource.attributes.size(); }
    void on_scope(const wire::Scope& scope) { scopes += scope.name == "scope" ? 1 : 0; }
    void on_span(const wire::Span&) { ++spans; }
  } counter;
  for (const auto& part : parts) {
    ASSERT_TRUE(wire::read_export_trace_request(part.body, wire::Limits{}, counter).ok());
  }
  EXPECT_EQ(counter.spans, 3U);
  EXPECT_EQ(counter.services, parts.size());
  EXPECT_EQ(counter.scopes, parts.size());
  EXPECT_EQ(split_request("\x0a\x05", 1)[0].body, "\x0a\x05");
}

TEST(Processing, LeavesOutWhatIsNotAcceptable) {
  const Processing processing(wire::Signal::kTraces, {});
  const std::string good = wire::testing::request({wire::testing::span(1, 1)});
  auto same = processing.apply(good);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->body, good);
  auto part = processing.apply(
      wire::testing::request({wire::testing::span(1, 1), wire::testing::span(0, 2)}));
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(part->items, 1U);
  EXPECT_EQ(part->refused.rejected, 1U);
  EXPECT_FALSE(processing.apply("hello").ok());
}

}  // namespace
}  // namespace nuages::gateway
