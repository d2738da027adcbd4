#include "export/outage_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace nuages::exporter {
namespace {

struct Memory {
  explicit Memory(size_t capacity)
      : bytes(OutageBuffer::required_bytes(capacity)), words(bytes / 8 + 1) {}
  size_t bytes;
  std::vector<uint64_t> words;
};

TEST(OutageBufferTest, WithoutMemoryItIsEmptyAndFull) {
  OutageBuffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_FALSE(buffer.push({"x", 1, 1}));
  EXPECT_FALSE(buffer.front());
  buffer.pop();
  buffer.reset();
  EXPECT_EQ(buffer.spans() + buffer.bytes(), 0U);
}

TEST(OutageBufferTest, AnythingGoesInAndComesOutInOrderWithinTheBound) {
  constexpr size_t kCapacity = 1000;
  Memory memory(kCapacity);
  auto buffer = OutageBuffer::create(memory.words.data(), kCapacity);
  std::mt19937 random(3);
  std::deque<std::string> expected;
  uint32_t refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const std::string text(random() % 300, static_cast<char>('a' + step % 26));
      if (buffer.push({text, static_cast<uint32_t>(text.size()), 7})) {
        expected.push_back(text);
      } else {
        ++refused;
        EXPECT_FALSE(expected.empty()) << "an empty buffer has room for a third of itself";
      }
    } else if (!expected.empty()) {
      const auto batch = buffer.front();
      ASSERT_TRUE(batch);
      EXPECT_EQ(batch->packed, expected.front());
      EXPECT_EQ(batch->spans, expected.front().size());
      EXPECT_EQ(batch->size, 7U);
      buffer.pop();
      expected.pop_front();
    }
    ASSERT_EQ(buffer.empty(), expected.empty());
    ASSERT_LE(buffer.bytes(), kCapacity);
  }
  EXPECT_GT(refused, 0U);
}

TEST(OutageBufferTest, AnotherProcessReadsOn) {
  Memory memory(4096);
  auto mine = OutageBuffer::create(memory.words.data(), 4096);
  ASSERT_TRUE(mine.push({"first", 1, 50}));
  ASSERT_TRUE(mine.push({"second", 2, 60}));
  auto adopted = OutageBuffer::attach(memory.words.data(), memory.bytes);
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->spans(), 3U);
  EXPECT_EQ(adopted->front()->packed, "first");
  adopted->pop();
  EXPECT_EQ(adopted->front()->packed, "second");
  adopted->pop();
  EXPECT_TRUE(adopted->empty());
}

TEST(OutageBufferTest, DamagedMemoryIsRefusedOrReadsAsEmpty) {
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    Memory memory(512);
    auto buffer = OutageBuffer::create(memory.words.data(), 512);
    while (buffer.push({std::string(random() % 90, 'x'), 1, 1})) {
    }
    auto* bytes = reinterpret_cast<char*>(memory.words.data());
    for (int i = 0; i < 3; ++i) bytes[random() % memory.bytes] = static_cast<char>(random());
    auto adopted = OutageBuffer::attach(memory.words.data(), memory.bytes);
    if (!adopted) continue;
    for (int i = 0; i < 100 && !adopted->empty(); ++i) {
      if (const auto batch = adopted->front()) {
        EXPECT_GE(batch->packed.data(), bytes);
        EXPECT_LE(batch->packed.data() + batch->packed.size(), bytes + memory.bytes);
        adopted->pop();
      }
    }
  }
  char nothing[16] = {};
  EXPECT_FALSE(OutageBuffer::attach(nothing, sizeof nothing));
}

}  // namespace
}  // namespace nuages::exporter
