#include "trace/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "base/clock.h"

namespace nuages::trace {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

class Memory {
 public:
  explicit Memory(const QueueOptions& options) {
    const size_t bytes = RecordQueue::required_bytes(options);
    memory_.reset(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
    std::memset(memory_.get(), 0, bytes);
    queue = RecordQueue::create(memory_.get(), options);
  }
  void* raw() const { return memory_.get(); }
  RecordQueue queue;

 private:
  std::unique_ptr<void, Free> memory_;
};

// With producers that keep themselves apart and with those that a lock keeps apart.
class QueueTest : public testing::TestWithParam<bool> {
 protected:
  static bool serialised() { return GetParam(); }
  static QueueOptions options(uint32_t records, size_t bytes = 4096) {
    QueueOptions result;
    result.max_records = records;
    result.ring_bytes = bytes;
    result.batch_records = 4;
    result.serialised = serialised();
    return result;
  }
};

INSTANTIATE_TEST_SUITE_P(, QueueTest, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Serialised" : "Concurrent"; });

std::vector<std::string> take(RecordQueue& queue, size_t max) {
  std::vector<std::string_view> views;
  queue.peek(views, max, SIZE_MAX);
  std::vector<std::string> copies(views.begin(), views.end());
  queue.pop(views.size());
  return copies;
}

// Every record size with every number of records, round and round: order, content and wrap-around.
TEST_P(QueueTest, ExhaustiveSmallSizesKeepOrderAcrossTheEnd) {
  for (size_t size = 0; size <= 200; ++size) {
    Memory memory(options(8));
    RecordQueue& queue = memory.queue;
    uint32_t pushed = 0;
    uint32_t popped = 0;
    const auto content = [size](uint32_t number) {
      std::string text(size, static_cast<char>('a' + number % 26));
      if (size >= 4) std::memcpy(text.data(), &number, 4);
      return text;
    };
    for (uint32_t round = 0; round < 60; ++round) {
      const uint32_t count = round % 9;
      for (uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ(queue.push(content(pushed)), RecordQueue::Push::kPushed) << size;
        ++pushed;
      }
      ASSERT_EQ(queue.pending(), count);
      for (const std::string& each : take(queue, 8)) ASSERT_EQ(each, content(popped++)) << size;
      ASSERT_EQ(popped, pushed);
      ASSERT_EQ(queue.tail(), queue.head());
    }
  }
}

TEST_P(QueueTest, DropsTheNewestAboveTheRecordLimitAndCounts) {
  Memory memory(options(3));
  for (const char* text : {"a", "b", "c", "d", "e"}) memory.queue.push(text);
  EXPECT_EQ(memory.queue.dropped(), 2U);
  EXPECT_EQ(memory.queue.pushed(), 3U);
  EXPECT_EQ(take(memory.queue, 9), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(memory.queue.push("f"), RecordQueue::Push::kPushed);
  EXPECT_EQ(take(memory.queue, 9), std::vector<std::string>{"f"});
}

TEST_P(QueueTest, IsBoundedInBytes) {
  Memory memory(options(1000));
  const std::string record(500, 'x');
  int pushed = 0;
  while (memory.queue.push(record) == RecordQueue::Push::kPushed) ++pushed;
  EXPECT_EQ(pushed, 4096 / 512);  // 500 bytes and the slot's header round to 508 -> 512
  EXPECT_EQ(memory.queue.pending(), 8U);
  EXPECT_EQ(memory.queue.push(std::string(4096, 'y')), RecordQueue::Push::kFull);
  EXPECT_EQ(memory.queue.dropped(), 2U);
  EXPECT_EQ(take(memory.queue, 100).size(), 8U);
  EXPECT_EQ(memory.queue.push(std::string(memory.queue.max_record_bytes(), 'z')),
            RecordQueue::Push::kPushed);
}

TEST_P(QueueTest, AnEmptyQueueTakesTheLargestRecordAtEveryOffset) {
  Memory memory(options(10));
  const std::string large(memory.queue.max_record_bytes(), 'L');
  for (size_t step = 0; step < 600; ++step) {
    ASSERT_EQ(memory.queue.push(std::string(step % 64, 's')), RecordQueue::Push::kPushed);
    ASSERT_EQ(take(memory.queue, 1).size(), 1U);
    ASSERT_EQ(memory.queue.push(large), RecordQueue::Push::kPushed) << step;
    ASSERT_EQ(take(memory.queue, 1), std::vector<std::string>{large});
  }
}

TEST_P(QueueTest, PeekHonoursItsLimits) {
  Memory memory(options(10));
  for (int i = 0; i < 6; ++i) memory.queue.push(std::string(100, 'x'));
  std::vector<std::string_view> views;
  memory.queue.peek(views, 4, SIZE_MAX);
  EXPECT_EQ(views.size(), 4U);
  memory.queue.peek(views, 10, 250);
  EXPECT_EQ(views.size(), 2U);
  memory.queue.peek(views, 10, 1);
  EXPECT_EQ(views.size(), 1U) << "one record always fits";
}

// Against a model with random sizes, drops included.
TEST_P(QueueTest, BehavesAsAModel) {
  std::mt19937 random(42);
  Memory memory(options(20));
  std::deque<std::string> model;
  size_t drops = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 3 != 0) {
      std::string record(random() % 300, static_cast<char>('a' + step % 26));
      if (memory.queue.push(record) == RecordQueue::Push::kPushed) {
        model.push_back(record);
      } else {
        ++drops;
        // Full means full: twenty records, or no room for this one even with padding.
        ASSERT_TRUE(model.size() == 20 ||
                    memory.queue.head() - memory.queue.tail() + 2 * (record.size() + 16) > 4096);
      }
    } else {
      for (const std::string& each : take(memory.queue, random() % 5)) {
        ASSERT_FALSE(model.empty());
        ASSERT_EQ(each, model.front());
        model.pop_front();
      }
    }
    ASSERT_EQ(memory.queue.pending(), model.size());
  }
  EXPECT_GT(drops, 0U);
  EXPECT_EQ(memory.queue.dropped(), drops);
}

TEST_P(QueueTest, ManyProducersOneConsumerLoseNothingTheyWereTold) {
  constexpr int kProducers = 4;
  constexpr uint32_t kEach = 20'000;
  Memory memory(options(64, 16384));
  std::atomic<uint64_t> accepted{0};
  std::atomic<int> running{kProducers};
  std::mutex lock;
  std::vector<std::thread> producers;
  for (int id = 0; id < kProducers; ++id) {
    producers.emplace_back([&, id] {
      RecordQueue queue = RecordQueue::attach(memory.raw());
      for (uint32_t i = 0; i < kEach; ++i) {
        std::string record(8 + (i * 37) % 300, static_cast<char>('A' + id));
        std::memcpy(record.data(), &id, 4);
        std::memcpy(record.data() + 4, &i, 4);
        std::unique_lock guard(lock, std::defer_lock);
        if (serialised()) guard.lock();
        const RecordQueue::Push answer = queue.push(record);
        if (serialised()) guard.unlock();
        if (answer == RecordQueue::Push::kPushed) {
          accepted.fetch_add(1);
        } else {
          std::this_thread::yield();
        }
      }
      running.fetch_sub(1);
      queue.wake();
    });
  }
  uint64_t received = 0;
  int64_t last[kProducers] = {-1, -1, -1, -1};
  std::vector<std::string_view> views;
  for (;;) {
    memory.queue.arm(RecordQueue::WaitFor::kAny);
    if (memory.queue.pending() == 0 && running.load() != 0) {
      memory.queue.sleep(UINT64_MAX);
    } else {
      memory.queue.disarm();
    }
    const bool finished = running.load() == 0;
    memory.queue.peek(views, 32, SIZE_MAX);
    for (const std::string_view view : views) {
      int id = 0;
      uint32_t number = 0;
      std::memcpy(&id, view.data(), 4);
      std::memcpy(&number, view.data() + 4, 4);
      ASSERT_LT(id, kProducers);
      ASSERT_GT(static_cast<int64_t>(number), last[id]) << "out of order";
      last[id] = number;
      ASSERT_EQ(view.size(), 8 + (number * 37) % 300);
      ASSERT_EQ(view.find_first_not_of(static_cast<char>('A' + id), 8), std::string_view::npos);
    }
    received += views.size();
    memory.queue.pop(views.size());
    if (finished && memory.queue.pending() == 0) break;
  }
  for (auto& thread : producers) thread.join();
  EXPECT_EQ(received, accepted.load());
  EXPECT_EQ(memory.queue.pushed(), accepted.load());
  EXPECT_EQ(memory.queue.pushed() + memory.queue.dropped(), uint64_t{kProducers} * kEach);
}

TEST_P(QueueTest, AWaitForABatchIsFulfilledByTheLastRecordOfIt) {
  Memory memory(options(100));
  memory.queue.arm(RecordQueue::WaitFor::kBatch);
  for (int i = 0; i < 3; ++i) memory.queue.push("x");
  EXPECT_FALSE(memory.queue.batch_ready());
  std::thread producer([&] { memory.queue.push("x"); });
  memory.queue.sleep(UINT64_MAX);  // hangs for ever without the wake-up
  producer.join();
  EXPECT_TRUE(memory.queue.batch_ready());
}

TEST_P(QueueTest, HalfOfTheBytesAreABatchToo) {
  Memory memory(options(100));
  memory.queue.push(std::string(1000, 'x'));
  EXPECT_FALSE(memory.queue.batch_ready());
  memory.queue.push(std::string(1200, 'x'));
  EXPECT_TRUE(memory.queue.batch_ready());
}

TEST_P(QueueTest, SleepEndsAtItsTimeAndAtWake) {
  Memory memory(options(10));
  memory.queue.arm(RecordQueue::WaitFor::kAny);
  const uint64_t before = steady_now();
  memory.queue.sleep(2'000'000);
  EXPECT_GE(steady_now() - before, 1'000'000U);
  memory.queue.arm(RecordQueue::WaitFor::kBatch);
  memory.queue.wake();
  memory.queue.sleep(UINT64_MAX);  // already woken: returns at once
}

TEST_P(QueueTest, HeaderHoldsResourceAndScopesWhereverTheMemoryIsMapped) {
  Memory memory(options(10));
  EXPECT_TRUE(memory.queue.set_resource("resource one"));
  memory.queue.add_scope("scope 0");
  memory.queue.add_scope("scope 1");
  memory.queue.push("record");
  // Another process sees the same bytes at another address.
  const QueueOptions same = options(10);
  Memory other(same);
  std::memcpy(other.raw(), memory.raw(), RecordQueue::required_bytes(same));
  RecordQueue attached = RecordQueue::attach(other.raw());
  EXPECT_EQ(attached.resource(), "resource one");
  EXPECT_EQ(attached.scope_count(), 2U);
  EXPECT_EQ(attached.scope(1), "scope 1");
  EXPECT_EQ(attached.scope(2), "");
  EXPECT_EQ(take(attached, 5), std::vector<std::string>{"record"});
}

TEST_P(QueueTest, DescriptionsThatDoNotFitAreRefused) {
  QueueOptions small = options(10);
  small.description_bytes = 100;
  Memory memory(small);
  EXPECT_TRUE(memory.queue.set_resource(std::string(60, 'r')));
  EXPECT_FALSE(memory.queue.set_resource(std::string(60, 'q')));
  EXPECT_EQ(memory.queue.resource(), std::string(60, 'r'));
  memory.queue.add_scope(std::string(60, 's'));
  EXPECT_EQ(memory.queue.scope_count(), 1U);
  EXPECT_EQ(memory.queue.scope(0), "");
}

TEST_P(QueueTest, WhatIsTakenStaysInTheRingUntilItIsReleased) {
  Memory memory(options(4));
  for (const char* text : {"a", "b", "c", "d"}) memory.queue.push(text);
  std::vector<std::string_view> views;
  memory.queue.peek(views, 2, SIZE_MAX);
  memory.queue.take(2);
  EXPECT_EQ(memory.queue.pending(), 2U) << "what is on its way leaves its place to others";
  EXPECT_EQ(memory.queue.push("e"), RecordQueue::Push::kPushed);
  EXPECT_EQ(views[0], "a");
  EXPECT_EQ(memory.queue.tail(), 0U);
  EXPECT_GT(memory.queue.taken(), 0U);
  memory.queue.release();
  EXPECT_EQ(memory.queue.tail(), memory.queue.taken());
  EXPECT_EQ(take(memory.queue, 9), (std::vector<std::string>{"c", "d", "e"}));
}

TEST_P(QueueTest, ARingFullOfTakenRecordsIsNotReadAgain) {
  Memory memory(options(1000));
  while (memory.queue.push(std::string(504, 'x')) == RecordQueue::Push::kPushed) {
  }
  std::vector<std::string_view> views;
  memory.queue.peek(views, 1000, SIZE_MAX);
  ASSERT_EQ(views.size(), 8U);
  memory.queue.take(8);
  EXPECT_FALSE(memory.queue.readable());
  memory.queue.peek(views, 1000, SIZE_MAX);
  EXPECT_TRUE(views.empty());
  EXPECT_EQ(memory.queue.push("y"), RecordQueue::Push::kFull) << "their bytes are still in use";
  memory.queue.release();
  EXPECT_EQ(memory.queue.push("y"), RecordQueue::Push::kPushed);
  EXPECT_TRUE(memory.queue.readable());
}

}  // namespace
}  // namespace nuages::trace
