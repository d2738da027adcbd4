#include "wire/gzip.h"

#include <gtest/gtest.h>

#include <random>

namespace nuages::wire {
namespace {

std::string inflate_all(std::string_view packed, size_t size, Packing packing = Packing::kGzip) {
  std::string out;
  return decompress(packing, packed, size, out) ? out : "not a packed text of that size";
}

TEST(GzipTest, RoundTripsWithOneStream) {
  Gzip gzip;
  std::mt19937 random(7);
  std::string packed;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{300'000}}) {
    std::string text(size, 'a');
    EXPECT_TRUE(gzip.compress(text, packed));
    EXPECT_EQ(inflate_all(packed, size), text);
    for (char& c : text) c = static_cast<char>(random());
    EXPECT_TRUE(gzip.compress(text, packed));
    EXPECT_EQ(inflate_all(packed, size), text);
  }
}

TEST(GzipTest, DeflateIsAnotherFormat) {
  Gzip zlib(Packing::kZlib);
  std::string packed;
  ASSERT_TRUE(zlib.compress("some text", packed));
  EXPECT_EQ(inflate_all(packed, 9, Packing::kZlib), "some text");
  EXPECT_NE(inflate_all(packed, 9, Packing::kGzip), "some text");
}

TEST(GzipTest, DamageAndWrongSizesAreSeen) {
  Gzip gzip;
  std::string packed;
  std::string out;
  ASSERT_TRUE(gzip.compress("some text", packed));
  EXPECT_FALSE(decompress(Packing::kGzip, packed, 8, out));
  EXPECT_FALSE(decompress(Packing::kGzip, packed, 10, out));
  EXPECT_FALSE(decompress(Packing::kGzip, packed.substr(0, packed.size() - 1), 9, out));
  packed[packed.size() / 2] = static_cast<char>(packed[packed.size() / 2] ^ 0x55);
  EXPECT_FALSE(decompress(Packing::kGzip, packed, 9, out));
}

TEST(GzipTest, CompressesWhatRepeats) {
  Gzip gzip;
  std::string packed;
  ASSERT_TRUE(gzip.compress(std::string(100'000, 's'), packed));
  EXPECT_LT(packed.size(), 2000U);
}

}  // namespace
}  // namespace nuages::wire
