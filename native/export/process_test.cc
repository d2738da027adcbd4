// The process exits while exporter threads work, end, or have been left behind.
#include "export/process.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "export/pipeline.h"
#include "net/test_receiver.h"
#include "trace/span.h"

namespace nuages::exporter {
namespace {

using nuages::testing::refused_url;
using ::testing::ExitedWithCode;

// Threads that end one by one while the process exits: the window in which OpenSSL once freed the
// state of an ending thread a second time is about a microsecond wide.
constexpr int kPipelines = 8;
constexpr int kExits = 8;

std::shared_ptr<Pipeline> working_pipeline() {
  PipelineConfig config;
  config.client.endpoint = refused_url();
  config.client.protocol = net::Protocol::kHttpProtobuf;
  config.export_timeout_ms = 1;
  auto pipeline = Pipeline::create(config);
  const auto span = trace::Span::start({.name = "lost"});
  span->end();
  span->publish(*pipeline);
  pipeline->force_flush(60'000);
  return pipeline;
}

[[noreturn]] void exit_while_threads_end() {
  std::vector<std::shared_ptr<Pipeline>> pipelines;
  for (int i = 0; i < kPipelines; ++i) pipelines.push_back(working_pipeline());
  pipelines.clear();
  std::exit(0);
}

[[noreturn]] void exit_with_a_pipeline_in_a_static() {
  static std::shared_ptr<Pipeline> kept;  // destroyed after the exit handler has run
  kept = working_pipeline();
  const auto span = trace::Span::start({.name = "queued"});
  span->end();
  span->publish(*kept);
  std::exit(0);
}

class ExitDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ExitDeathTest, ThreadsMayBeEnding) {
  for (int i = 0; i < kExits; ++i) EXPECT_EXIT(exit_while_threads_end(), ExitedWithCode(0), "");
}

TEST_F(ExitDeathTest, APipelineMayBeDestroyedByAStaticDestructor) {
  EXPECT_EXIT(exit_with_a_pipeline_in_a_static(), ExitedWithCode(0), "");
}

}  // namespace
}  // namespace nuages::exporter
