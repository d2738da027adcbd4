#include "server/gunzip.h"

#include <gtest/gtest.h>
#include <libdeflate.h>

#include "server/memory_budget.h"

namespace nuages::server {
namespace {

std::string compress(const std::string& text, Compression kind = Compression::kGzip) {
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(6);
  std::string out(text.size() + 1000, '\0');
  const auto run = kind == Compression::kGzip ? libdeflate_gzip_compress : libdeflate_zlib_compress;
  out.resize(run(compressor, text.data(), text.size(), out.data(), out.size()));
  libdeflate_free_compressor(compressor);
  return out;
}

TEST(Gunzip, GivesBackWhatWasCompressed) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{100'000}}) {
    const std::string text(size, 'n');
    for (const Compression kind : {Compression::kGzip, Compression::kZlib}) {
      const Result<std::string> out = decompress(compress(text, kind), kind, 1 << 20);
      ASSERT_TRUE(out.ok()) << out.error().message;
      EXPECT_EQ(*out, text);
    }
  }
}

TEST(Gunzip, SeveralMembersAreOneBody) {
  const Result<std::string> out =
      decompress(compress("one ") + compress("two"), Compression::kGzip, 100);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(*out, "one two");
}

TEST(Gunzip, TheLimitIsExact) {
  const std::string data = compress(std::string(1000, 'x'));
  EXPECT_TRUE(decompress(data, Compression::kGzip, 1000).ok());
  const Result<std::string> out = decompress(data, Compression::kGzip, 999);
  ASSERT_FALSE(out.ok());
  EXPECT_EQ(out.error().code, ErrorCode::kExhausted);
  EXPECT_NE(out.error().message.find("999 bytes"), std::string::npos);
  EXPECT_FALSE(decompress(compress("twenty bytes of text"), Compression::kGzip, 10).ok());
}

TEST(Gunzip, ABombIsRefusedWithoutItsMemory) {
  const std::string bomb = compress(std::string(64 << 20, '\0'));
  const Result<std::string> out = decompress(bomb, Compression::kGzip, 1 << 20);
  ASSERT_FALSE(out.ok());
  EXPECT_EQ(out.error().code, ErrorCode::kExhausted);
}

TEST(Gunzip, EveryCutAndDamagedByteIsAnErrorOrTheText) {
  const std::string text = "some text that repeats, some text that repeats";
  const std::string data = compress(text);
  for (size_t size = 1; size < data.size(); ++size) {
    EXPECT_FALSE(decompress(data.substr(0, size), Compression::kGzip, 1000).ok()) << size;
  }
  for (size_t at = 0; at < data.size(); ++at) {
    std::string damaged = data;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xFF);
    const Result<std::string> out = decompress(damaged, Compression::kGzip, 1000);
    EXPECT_TRUE(!out.ok() || *out == text) << at;
  }
}

TEST(MemoryBudget, SharesGiveBackWhatTheyTook) {
  MemoryBudget budget(100);
  {
    MemoryBudget::Share one(budget);
    MemoryBudget::Share two(budget);
    EXPECT_TRUE(one.grow_to(60));
    EXPECT_FALSE(two.grow_to(41));
    EXPECT_TRUE(two.grow_to(40));
    EXPECT_FALSE(one.grow_to(61));
    one.release();
    EXPECT_TRUE(two.grow_to(100));
  }
  EXPECT_TRUE(budget.take(100));
  EXPECT_FALSE(budget.take(1));
}

}  // namespace
}  // namespace nuages::server
