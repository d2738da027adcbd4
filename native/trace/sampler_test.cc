#include "trace/sampler.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nuages::trace {
namespace {

SpanContext parent(bool remote, bool sampled) {
  SpanContext context;
  context.trace_id = {1, ~0ULL};
  context.span_id = 7;
  context.remote = remote;
  context.flags = sampled ? kSampledFlag : 0;
  return context;
}

// Bounds as `round(rate * 2**64)` gives them in Python.
TEST(SamplerTest, RatioHasPythonsBounds) {
  const struct {
    double rate;
    uint64_t bound;
  } kVectors[] = {
      {0.1, 0x1999999999999a00},
      {0.5, 0x8000000000000000},
      {0.01, 0x28f5c28f5c28f60},
      {0.001, 0x4189374bc6a7f0},
      {1.0 / 3, 0x5555555555555400},
      {0.9999999999999999, 0xfffffffffffff800},
      {5e-20, 1},
      {1e-19, 2},
      {0x1p-64, 1},
      {0x1p-65, 0},  // a half goes to even: 0 ...
      {0x3p-65, 2},  // ... and one and a half to 2
      {0.25, 0x4000000000000000},
  };
  for (const auto& [rate, bound] : kVectors) {
    const RootSampler sampler = RootSampler::ratio(rate);
    EXPECT_EQ(sampler.decide({5, bound}), Decision::kDrop) << rate;
    if (bound != 0) {
      EXPECT_EQ(sampler.decide({5, bound - 1}), Decision::kRecordAndSample) << rate;
    }
    EXPECT_EQ(sampler.decide({5, ~0ULL}), Decision::kDrop) << rate;
  }
}

TEST(SamplerTest, TheHighHalfOfTheIdDoesNotCount) {
  const RootSampler sampler = RootSampler::ratio(0.5);
  EXPECT_EQ(sampler.decide({0, 1}), Decision::kRecordAndSample);
  EXPECT_EQ(sampler.decide({~0ULL, 1}), Decision::kRecordAndSample);
}

TEST(SamplerTest, EndsOfTheRangeAndNonsense) {
  EXPECT_EQ(RootSampler::ratio(1).decide({~0ULL, ~0ULL}), Decision::kRecordAndSample);
  EXPECT_EQ(RootSampler::ratio(0).decide({0, 0}), Decision::kDrop);
  EXPECT_EQ(RootSampler::ratio(7).decide({1, ~0ULL}), Decision::kRecordAndSample);
  EXPECT_EQ(RootSampler::ratio(-1).decide({1, 0}), Decision::kDrop);
  EXPECT_EQ(RootSampler::ratio(std::nan("")).decide({1, 0}), Decision::kDrop);
}

TEST(SamplerTest, ParentBasedFollowsTheParent) {
  Sampler sampler;
  sampler.root = RootSampler::always_off();
  const TraceId id{1, ~0ULL};
  EXPECT_EQ(sampler.decide(nullptr, id), Decision::kDrop);
  for (const bool remote : {false, true}) {
    const SpanContext sampled = parent(remote, true);
    const SpanContext not_sampled = parent(remote, false);
    EXPECT_EQ(sampler.decide(&sampled, id), Decision::kRecordAndSample);
    EXPECT_EQ(sampler.decide(&not_sampled, id), Decision::kDrop);
  }
  const SpanContext invalid;
  sampler.root = RootSampler::always_on();
  EXPECT_EQ(sampler.decide(&invalid, id), Decision::kRecordAndSample);
}

TEST(SamplerTest, EveryDelegateIsAskedForItsOwnCase) {
  const TraceId id{1, 1};
  for (int chosen = 0; chosen < 4; ++chosen) {
    Sampler sampler;
    sampler.root = RootSampler::always_off();
    const auto one = [chosen](int index) {
      return index == chosen ? RootSampler::always_on() : RootSampler::always_off();
    };
    sampler.remote_sampled = one(0);
    sampler.remote_not_sampled = one(1);
    sampler.local_sampled = one(2);
    sampler.local_not_sampled = one(3);
    int index = 0;
    for (const bool remote : {true, false}) {
      for (const bool sampled : {true, false}) {
        const SpanContext context = parent(remote, sampled);
        EXPECT_EQ(sampler.decide(&context, id) == Decision::kRecordAndSample, index == chosen);
        ++index;
      }
    }
  }
}

TEST(SamplerTest, WithoutParentBasedTheRootDecidesForAll) {
  Sampler sampler;
  sampler.parent_based = false;
  sampler.root = RootSampler::ratio(0.5);
  const SpanContext sampled = parent(true, true);
  EXPECT_EQ(sampler.decide(&sampled, {1, ~0ULL}), Decision::kDrop);
  EXPECT_EQ(sampler.decide(&sampled, {1, 1}), Decision::kRecordAndSample);
}

}  // namespace
}  // namespace nuages::trace
