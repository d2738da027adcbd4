#include "trace/rate_limiter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "trace/sampler.h"

namespace nuages::trace {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

int allowed(RateLimiter& limiter, uint64_t from, uint64_t to, uint64_t step) {
  int count = 0;
  for (uint64_t now = from; now < to; now += step) count += limiter.allow(now) ? 1 : 0;
  return count;
}

TEST(RateLimiterTest, ASecondsWorthAtOnceThenTheRate) {
  RateLimiter limiter(10);
  int burst = 0;
  while (limiter.allow(kSecond)) ++burst;
  EXPECT_EQ(burst, 10);
  EXPECT_EQ(allowed(limiter, kSecond, 11 * kSecond, kSecond / 1000), 99);
}

TEST(RateLimiterTest, LessThanOneASecond) {
  RateLimiter limiter(0.5);
  EXPECT_TRUE(limiter.allow(kSecond));
  EXPECT_FALSE(limiter.allow(2 * kSecond));
  EXPECT_TRUE(limiter.allow(3 * kSecond));
  EXPECT_FALSE(limiter.allow(4 * kSecond));
}

TEST(RateLimiterTest, IdleTimeFillsTheBucketOnce) {
  RateLimiter limiter(3);
  EXPECT_EQ(allowed(limiter, 0, 100, 1), 3);
  EXPECT_EQ(allowed(limiter, 1000 * kSecond, 1000 * kSecond + 100, 1), 3);
}

TEST(RateLimiterTest, OddRates) {
  for (const double rate : {0.0, -1.0, std::nan("")}) {
    RateLimiter never(rate);
    EXPECT_FALSE(never.allow(kSecond)) << rate;
  }
  for (const double rate : {1e-300, std::numeric_limits<double>::denorm_min()}) {
    RateLimiter once(rate);
    EXPECT_TRUE(once.allow(kSecond)) << rate;
    EXPECT_FALSE(once.allow(1'000'000 * kSecond)) << rate;
  }
  RateLimiter always(std::numeric_limits<double>::infinity());
  EXPECT_EQ(allowed(always, 0, 5000, 1), 5000);
}

TEST(RateLimiterTest, AClockThatGoesBackGivesNothingTwice) {
  RateLimiter limiter(1);
  EXPECT_TRUE(limiter.allow(100 * kSecond));
  EXPECT_FALSE(limiter.allow(50 * kSecond));
  EXPECT_TRUE(limiter.allow(101 * kSecond));
}

TEST(RateLimiterTest, ThreadsShareTheBucket) {
  RateLimiter limiter(1000);
  std::atomic<int> count{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10'000; ++j) count += limiter.allow(kSecond) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 1000);
}

TEST(RateLimiterTest, OnlyRootsTakeTokensUnderParentBased) {
  Sampler sampler;
  sampler.limiter = std::make_shared<RateLimiter>(1);
  SpanContext parent;
  parent.trace_id = {1, 2};
  parent.span_id = 3;
  parent.flags = kSampledFlag;
  EXPECT_EQ(sampler.decide(nullptr, {1, 2}), Decision::kRecordAndSample);
  EXPECT_EQ(sampler.decide(nullptr, {1, 2}), Decision::kDrop);
  EXPECT_EQ(sampler.decide(&parent, {1, 2}), Decision::kRecordAndSample);
  sampler.parent_based = false;
  EXPECT_EQ(sampler.decide(&parent, {1, 2}), Decision::kDrop);
}

}  // namespace
}  // namespace nuages::trace
