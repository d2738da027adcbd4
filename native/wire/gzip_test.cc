#include "wire/gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

namespace nuages::wire {
namespace {

std::string inflate_all(std::string_view packed, size_t size) {
  std::string out(size + 1, '\0');
  z_stream z{};
  inflateInit2(&z, 15 + 16);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  z.avail_in = static_cast<uInt>(packed.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  inflateEnd(&z);
  return result == Z_STREAM_END ? out : "not a gzip stream";
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

TEST(GzipTest, CompressesWhatRepeats) {
  Gzip gzip;
  std::string packed;
  ASSERT_TRUE(gzip.compress(std::string(100'000, 's'), packed));
  EXPECT_LT(packed.size(), 2000U);
}

}  // namespace
}  // namespace nuages::wire
