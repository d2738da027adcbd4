#include "export/pipeline.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "net/test_receiver.h"
#include "trace/span.h"
#include "wire/otlp_reader.h"

namespace nuages::exporter {
namespace {

using nuages::testing::refused_url;
using nuages::testing::Reply;
using nuages::testing::Request;
using nuages::testing::TestReceiver;

constexpr uint32_t kMinute = 60'000;

struct Names {
  std::vector<std::string> names;
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span& span) { names.emplace_back(span.name); }
};

std::vector<std::string> names_in(const std::vector<Request>& requests) {
  Names names;
  for (const Request& request : requests) {
    const auto stats = wire::read_export_trace_request(request.body, {}, names);
    EXPECT_TRUE(stats.ok());
  }
  return names.names;
}

PipelineConfig config_for(const std::string& url) {
  PipelineConfig config;
  config.client.endpoint = url;
  config.client.protocol = net::Protocol::kHttpProtobuf;
  config.schedule_delay_ms = 10 * kMinute;  // nothing goes by time unless a test says so
  return config;
}

void record(Pipeline& pipeline, const std::string& name) {
  const auto span = trace::Span::start({.name = name});
  span->end();
  span->publish(pipeline);
}

TestReceiver::Responder first_unanswered() {
  auto seen = std::make_shared<std::atomic<int>>(0);
  return [seen](const Request&) -> std::optional<Reply> {
    if (seen->fetch_add(1) == 0) return std::nullopt;
    return Reply{};
  };
}

TEST(PipelineTest, FlushDeliversWhatWasPublished) {
  TestReceiver receiver;
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  EXPECT_TRUE(pipeline->force_flush(0)) << "nothing to do";
  for (int i = 0; i < 3; ++i) record(*pipeline, "span " + std::to_string(i));
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(names_in(receiver.requests()),
            (std::vector<std::string>{"span 0", "span 1", "span 2"}));
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.enqueued, 3U);
  EXPECT_EQ(counters.exported, 3U);
  EXPECT_EQ(counters.batches, 1U);
  EXPECT_EQ(counters.failed + counters.dropped_full + counters.retries, 0U);
  EXPECT_EQ(counters.bytes, receiver.requests()[0].body.size());
  EXPECT_EQ(counters.last_error, "");
}

TEST(PipelineTest, AFullBatchGoesAtOnceAndBatchesAreBounded) {
  TestReceiver receiver;
  PipelineConfig config = config_for(receiver.url());
  config.max_export_batch_size = 4;
  config.max_queue_size = 100;
  const auto pipeline = Pipeline::create(config);
  for (int i = 0; i < 10; ++i) record(*pipeline, std::to_string(i));
  const auto requests = receiver.wait_for(2);  // without flush, far before the delay
  EXPECT_LE(names_in({requests[0]}).size(), 4U);
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(names_in(receiver.requests()).size(), 10U);
  EXPECT_GE(receiver.requests().size(), 3U);
}

TEST(PipelineTest, TheScheduleDelaySendsWhatIsThere) {
  TestReceiver receiver;
  PipelineConfig config = config_for(receiver.url());
  config.schedule_delay_ms = 1;
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "first");
  receiver.wait_for(1);
  record(*pipeline, "after idling");
  EXPECT_EQ(names_in(receiver.wait_for(2)).size(), 2U);
}

TEST(PipelineTest, BatchesAreBoundedInBytes) {
  TestReceiver receiver;
  PipelineConfig config = config_for(receiver.url());
  config.max_request_bytes = 10'000;
  const auto pipeline = Pipeline::create(config);
  for (int i = 0; i < 6; ++i) record(*pipeline, std::string(4000, 'n'));
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(receiver.requests().size(), 3U);
}

TEST(PipelineTest, RetriesAreCountedAndRetryAfterIsHonoured) {
  std::atomic<int> calls{0};
  TestReceiver receiver([&](const Request&) {
    return calls.fetch_add(1) == 0 ? Reply{503, "Retry-After: 1\r\n", ""} : Reply{};
  });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "again");
  const uint64_t before = steady_now();
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_GE(steady_now() - before, 1'000'000'000U);
  EXPECT_EQ(pipeline->counters().retries, 1U);
  EXPECT_EQ(pipeline->counters().exported, 1U);
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].body, requests[1].body);
}

TEST(PipelineTest, ARefusalForGoodIsNotRetriedAndFlushSaysSo) {
  TestReceiver receiver([](const Request&) { return Reply{401, "", ""}; });
  PipelineConfig config = config_for(receiver.url());
  config.client.headers = {{"authorization", "Bearer s3cret"}};
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "denied");
  EXPECT_FALSE(pipeline->force_flush(kMinute));
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.failed, 1U);
  EXPECT_EQ(counters.retries, 0U);
  EXPECT_NE(counters.last_error.find("401"), std::string::npos);
  EXPECT_EQ(counters.last_error.find("s3cret"), std::string::npos);
  EXPECT_EQ(receiver.requests().size(), 1U);
  EXPECT_TRUE(pipeline->force_flush(kMinute)) << "an old loss is not this flush's";
}

TEST(PipelineTest, WithoutAnOutageBufferABatchIsGivenUpAtItsExportTimeout) {
  PipelineConfig config = config_for(refused_url());
  config.export_timeout_ms = 20;
  config.max_outage_bytes = 0;
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "lost");
  EXPECT_FALSE(pipeline->force_flush(kMinute));
  EXPECT_EQ(pipeline->counters().failed, 1U);
}

TEST(PipelineTest, AFlushGivesUpAtTheExportTimeoutTheSpansStay) {
  std::atomic<bool> up{false};
  TestReceiver receiver([&](const Request&) { return Reply{up ? 200 : 503, "", ""}; });
  PipelineConfig config = config_for(receiver.url());
  config.export_timeout_ms = 1;
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "kept");
  EXPECT_FALSE(pipeline->force_flush(60 * kMinute));
  EXPECT_EQ(pipeline->counters().failed, 0U);
  EXPECT_EQ(pipeline->counters().outage_spans, 1U);
  up = true;
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(pipeline->counters().exported, 1U);
  EXPECT_EQ(pipeline->counters().outage_spans, 0U);
}

TEST(PipelineTest, AnOutageLongerThanTheQueueLosesNothing) {
  std::atomic<bool> up{false};
  TestReceiver receiver([&](const Request&) { return Reply{up ? 200 : 503, "", ""}; });
  PipelineConfig config = config_for(receiver.url());
  config.max_queue_size = 20;
  config.max_export_batch_size = 10;
  const auto pipeline = Pipeline::create(config);
  std::vector<std::string> expected;
  for (int i = 0; i < 2000; ++i) {
    while (pipeline->counters().enqueued - pipeline->counters().outage_spans >= 20) {
      std::this_thread::yield();  // the thread is putting a batch by
    }
    expected.push_back(std::to_string(i));
    record(*pipeline, expected.back());
  }
  EXPECT_EQ(pipeline->counters().dropped_full, 0U);
  up = true;
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.exported, 2000U);
  EXPECT_EQ(counters.failed, 0U);
  std::vector<Request> accepted = receiver.requests();
  accepted.erase(accepted.begin(), accepted.begin() + static_cast<ptrdiff_t>(counters.retries));
  EXPECT_EQ(names_in(accepted), expected) << "in order, each once";
}

TEST(PipelineTest, AFullOutageBufferKeepsTheOldestAndTheQueueDropsAndCounts) {
  std::atomic<bool> up{false};
  TestReceiver receiver([&](const Request&) { return Reply{up ? 200 : 503, "", ""}; });
  PipelineConfig config = config_for(receiver.url());
  config.max_queue_size = 20;
  config.max_export_batch_size = 10;
  config.max_outage_bytes = 2000;
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "first");
  EXPECT_FALSE(pipeline->force_flush(1));
  uint64_t made = 1;
  while (pipeline->counters().dropped_full < 100 || pipeline->counters().outage_spans < 11) {
    record(*pipeline, "more");
    ++made;
    std::this_thread::yield();
  }
  up = true;
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.exported + counters.dropped_full, made);
  EXPECT_EQ(counters.failed, 0U);
}

TEST(PipelineTest, ShutdownDuringAnOutageCountsWhatItCouldNotSend) {
  TestReceiver receiver([](const Request&) { return Reply{503, "", ""}; });
  PipelineConfig config = config_for(receiver.url());
  config.max_export_batch_size = 10;
  const auto pipeline = Pipeline::create(config);
  for (int i = 0; i < 100; ++i) record(*pipeline, "x");
  receiver.wait_for(1);
  EXPECT_FALSE(pipeline->shutdown(60 * kMinute)) << "nobody was ever reached: no need to wait";
  EXPECT_EQ(pipeline->counters().failed, 100U);
  EXPECT_EQ(pipeline->counters().outage_spans, 0U);
}

TEST(PipelineTest, AReceiverThatSaysWhenIsNotAskedEarlierByAFlush) {
  TestReceiver receiver([](const Request&) { return Reply{503, "Retry-After: 3600\r\n", ""}; });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "x");
  EXPECT_FALSE(pipeline->force_flush(60 * kMinute)) << "an hour is more than a flush waits";
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(pipeline->force_flush(1));
  EXPECT_FALSE(pipeline->shutdown(kMinute));
  EXPECT_EQ(receiver.requests().size(), 1U);
}

TEST(PipelineTest, TroubleIsSaidOnceAndSoIsItsEnd) {
  static std::mutex mutex;
  static std::vector<std::string> lines;
  set_log_sink([](LogLevel, std::string_view, std::string_view text) {
    std::lock_guard lock(mutex);
    lines.emplace_back(text);
  });
  std::atomic<bool> up{false};
  TestReceiver receiver([&](const Request&) { return Reply{up ? 200 : 503, "", ""}; });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "x");
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(pipeline->force_flush(1));
  receiver.wait_for(3);
  up = true;
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  set_log_sink(nullptr);
  std::lock_guard lock(mutex);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[0].find("HTTP 503; trying again"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("answers again"), std::string::npos) << lines[1];
}

TEST(PipelineTest, PartialSuccessIsCountedAndNotRetried) {
  // ExportTraceServiceResponse{partial_success{rejected_spans: 1, error_message: "no"}}
  const std::string body("\x0a\x06\x08\x01\x12\x02no", 8);
  TestReceiver receiver(
      [&](const Request&) { return Reply{200, "Content-Type: application/x-protobuf\r\n", body}; });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "a");
  record(*pipeline, "b");
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(pipeline->counters().rejected, 1U);
  EXPECT_NE(pipeline->counters().last_error.find("no"), std::string::npos);
  EXPECT_EQ(receiver.requests().size(), 1U);
}

TEST(PipelineTest, AFullQueueDropsCountsAndNeverBlocks) {
  TestReceiver receiver([](const Request&) { return std::nullopt; });
  PipelineConfig config = config_for(receiver.url());
  config.max_queue_size = 10;
  config.max_export_batch_size = 5;
  const auto pipeline = Pipeline::create(config);
  for (int i = 0; i < 5; ++i) record(*pipeline, "in flight");
  receiver.wait_for(1);  // taken out of the queue, never answered
  for (int i = 0; i < 25; ++i) record(*pipeline, "queued or dropped");
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.enqueued, 15U);
  EXPECT_EQ(counters.dropped_full, 15U);
}

TEST(PipelineTest, FlushAndShutdownKeepTheirDeadlinesWithASilentReceiver) {
  TestReceiver receiver([](const Request&) { return std::nullopt; });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "unanswered");
  EXPECT_FALSE(pipeline->force_flush(50));
  EXPECT_FALSE(pipeline->shutdown(50));
  EXPECT_EQ(pipeline->counters().failed, 1U);
  EXPECT_FALSE(pipeline->shutdown(kMinute)) << "the first answer stands";
}

TEST(PipelineTest, FlushAndShutdownKeepTheirDeadlinesWithARefusedPort) {
  const auto pipeline = Pipeline::create(config_for(refused_url()));
  for (int i = 0; i < 600; ++i) record(*pipeline, "refused");
  EXPECT_FALSE(pipeline->force_flush(500));
  EXPECT_FALSE(pipeline->shutdown(500));
  const Counters counters = pipeline->counters();
  EXPECT_EQ(counters.failed, 600U);
  EXPECT_NE(counters.last_error.find("127.0.0.1"), std::string::npos);
}

TEST(PipelineTest, AProcessThatNeverReachedItsReceiverExitsWithoutTheWholeDeadline) {
  const auto pipeline = Pipeline::create(config_for(refused_url()));
  record(*pipeline, "refused");
  EXPECT_FALSE(pipeline->shutdown(60 * kMinute));  // or this test takes an hour
}

TEST(PipelineTest, ShutdownDeliversAndThenRefuses) {
  TestReceiver receiver;
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "last");
  EXPECT_TRUE(pipeline->shutdown(kMinute));
  EXPECT_EQ(names_in(receiver.requests()), std::vector<std::string>{"last"});
  record(*pipeline, "too late");
  EXPECT_EQ(pipeline->counters().dropped_full, 1U);
  EXPECT_TRUE(pipeline->force_flush(0));
  EXPECT_TRUE(pipeline->shutdown(0));
}

TEST(PipelineTest, ShutdownWithoutAnySpanStartsNothing) {
  const auto pipeline = Pipeline::create(config_for(refused_url()));
  EXPECT_TRUE(pipeline->shutdown(0));
}

TEST(PipelineTest, PauseKeepsRecordsAndEvenTheBatchInFlight) {
  TestReceiver receiver(first_unanswered());
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "in flight");
  EXPECT_FALSE(pipeline->force_flush(20));
  receiver.wait_for(1);
  EXPECT_TRUE(pipeline->pause(kMinute));
  record(*pipeline, "queued");
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  const auto all = names_in(receiver.requests());
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()),
            (std::set<std::string>{"in flight", "queued"}));
  EXPECT_EQ(pipeline->counters().exported, 2U);
  EXPECT_EQ(pipeline->counters().failed, 0U);
}

TEST(PipelineTest, ManyThreadsPublishWhileOthersFlush) {
  TestReceiver receiver;
  PipelineConfig config = config_for(receiver.url());
  config.max_queue_size = 100'000;
  config.schedule_delay_ms = 1;
  const auto pipeline = Pipeline::create(config);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        record(*pipeline, std::to_string(t) + "/" + std::to_string(i));
        if (i % 100 == t) {
          EXPECT_TRUE(pipeline->force_flush(kMinute));
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(pipeline->shutdown(kMinute));
  const auto all = names_in(receiver.requests());
  EXPECT_EQ(all.size(), 1500U);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 1500U);
}

TEST(PipelineTest, OneLineSaysHowManyWereLostAndWhy) {
  static std::mutex mutex;
  static std::vector<std::string> lines;
  set_log_sink([](LogLevel, std::string_view, std::string_view text) {
    std::lock_guard lock(mutex);
    lines.emplace_back(text);
  });
  TestReceiver receiver([](const Request&) { return Reply{400, "", ""}; });
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  for (int i = 0; i < 3; ++i) {
    record(*pipeline, "x");
    EXPECT_FALSE(pipeline->force_flush(kMinute));
  }
  EXPECT_TRUE(pipeline->shutdown(kMinute));
  set_log_sink(nullptr);
  std::lock_guard lock(mutex);
  ASSERT_EQ(lines.size(), 2U) << "the first loss at once, the rest at the end";
  EXPECT_NE(lines[0].find("1 spans were lost"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("HTTP 400"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("2 spans were lost since the last report"), std::string::npos)
      << lines[1];
}

TEST(PipelineTest, ABadEndpointIsOneErrorAndNoCrash) {
  PipelineConfig config;
  config.client.endpoint = "ftp://x";
  const auto pipeline = Pipeline::create(config);
  EXPECT_NE(pipeline->counters().last_error.find("ftp"), std::string::npos);
  record(*pipeline, "x");
  EXPECT_FALSE(pipeline->force_flush(kMinute));
  EXPECT_EQ(pipeline->counters().failed, 1U);
}

TEST(PipelineTest, SignalsOfTheHostNeverRunOnTheExporterThread) {
  TestReceiver receiver;
  static std::atomic<bool> on_exporter{false};
  static std::atomic<int> handled{0};
  struct sigaction action = {};
  action.sa_handler = [](int) {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (std::string_view(name) == "nuages-export") on_exporter = true;
    handled.fetch_add(1);
  };
  struct sigaction before = {};
  sigaction(SIGUSR1, &action, &before);
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "x");
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  for (int i = 0; i < 20; ++i) kill(getpid(), SIGUSR1);
  EXPECT_GE(handled.load(), 1);
  EXPECT_FALSE(on_exporter);
  sigaction(SIGUSR1, &before, nullptr);
}

#ifndef __SANITIZE_THREAD__
template <typename F>
bool in_child(F&& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(120);  // a deadlock is a failure, not a hang
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Under the address sanitizer a child now and then waits for ever in the sanitizer's own allocator:
// gcc 12's keeps the lock that another thread (the exporter's, the receiver's) held at fork, where
// glibc's allocator has its fork handlers. The release build runs these tests.
class PipelineForkTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "gcc 12's sanitizer allocator keeps locks that other threads held at fork";
#endif
  }
};

TEST_F(PipelineForkTest, TheChildExportsItsOwnSpansOnly) {
  TestReceiver receiver;
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "parent before, delivered");
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  record(*pipeline, "parent before, queued");
  EXPECT_TRUE(in_child([&] {
    const Counters fresh = pipeline->counters();
    if (fresh.enqueued + fresh.exported + fresh.bytes + fresh.batches != 0) return false;
    record(*pipeline, "child");
    return pipeline->shutdown(kMinute) && pipeline->counters().exported == 1;
  }));
  record(*pipeline, "parent after");
  EXPECT_TRUE(pipeline->shutdown(kMinute));
  auto all = names_in(receiver.requests());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<std::string>{"child", "parent after", "parent before, delivered",
                                           "parent before, queued"}));
}

TEST_F(PipelineForkTest, ForkWhileARequestIsInFlight) {
  TestReceiver receiver(first_unanswered());
  PipelineConfig config = config_for(receiver.url());
  config.client.timeout_ms = 200;
  const auto pipeline = Pipeline::create(config);
  record(*pipeline, "parent");
  EXPECT_FALSE(pipeline->force_flush(1));
  receiver.wait_for(1);
  EXPECT_TRUE(in_child([&] {
    record(*pipeline, "child");
    return pipeline->force_flush(kMinute) && pipeline->shutdown(kMinute);
  }));
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  EXPECT_EQ(pipeline->counters().exported, 1U);
  const auto all = names_in(receiver.requests());
  EXPECT_EQ(std::count(all.begin(), all.end(), "child"), 1);
  EXPECT_EQ(std::count(all.begin(), all.end(), "parent"), 2) << "the unanswered and the retried";
}

// Forks from one thread while others publish, flush and the exporter works.
TEST_F(PipelineForkTest, ForksInTheMiddleOfEverything) {
  TestReceiver receiver;
  PipelineConfig config = config_for(receiver.url());
  config.schedule_delay_ms = 0;
  config.max_queue_size = 100'000;
  const auto pipeline = Pipeline::create(config);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        for (int i = 0; i < 50; ++i) record(*pipeline, "parent");
        pipeline->force_flush(kMinute);
      }
    });
  }
  int good = 0;
  for (int i = 0; i < 30; ++i) {
    good += in_child([&] {
      record(*pipeline, "child");
      return pipeline->shutdown(kMinute) && pipeline->counters().exported == 1;
    });
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 30);
  EXPECT_TRUE(pipeline->shutdown(kMinute));
  const auto all = names_in(receiver.requests());
  EXPECT_EQ(std::count(all.begin(), all.end(), "child"), 30);
  EXPECT_EQ(static_cast<uint64_t>(std::count(all.begin(), all.end(), "parent")),
            pipeline->counters().enqueued);
  EXPECT_EQ(pipeline->counters().dropped_full, 0U);
}

TEST_F(PipelineForkTest, GrandchildrenWorkToo) {
  TestReceiver receiver;
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  EXPECT_TRUE(in_child([&] {
    record(*pipeline, "child");
    const bool grandchild = in_child([&] {
      record(*pipeline, "grandchild");
      return pipeline->shutdown(kMinute);
    });
    return grandchild && pipeline->shutdown(kMinute);
  }));
  auto all = names_in(receiver.requests());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<std::string>{"child", "grandchild"}));
}

TEST_F(PipelineForkTest, APausedParentForksWithOneThread) {
  TestReceiver receiver;
  const auto pipeline = Pipeline::create(config_for(receiver.url()));
  record(*pipeline, "before");
  EXPECT_TRUE(pipeline->pause(kMinute));
  EXPECT_TRUE(in_child([&] {
    record(*pipeline, "child");
    return pipeline->shutdown(kMinute);
  }));
  pipeline->resume();
  EXPECT_TRUE(pipeline->force_flush(kMinute));
  auto all = names_in(receiver.requests());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<std::string>{"before", "child"}));
}
#endif

}  // namespace
}  // namespace nuages::exporter
