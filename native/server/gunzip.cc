#include "server/gunzip.h"

#include <libdeflate.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

namespace nuages::server {
namespace {

struct Free {
  void operator()(libdeflate_decompressor* decompressor) const {
    libdeflate_free_decompressor(decompressor);
  }
};

libdeflate_decompressor* thread_decompressor() {
  static thread_local const std::unique_ptr<libdeflate_decompressor, Free> decompressor(
      libdeflate_alloc_decompressor());
  return decompressor.get();
}

size_t first_guess(std::string_view data, Compression kind, size_t limit) {
  size_t guess = data.size() * 4;
  if (kind == Compression::kGzip && data.size() >= 18) {
    uint32_t size = 0;  // the gzip trailer: size of the last member modulo 2^32
    std::memcpy(&size, data.data() + data.size() - 4, sizeof size);
    guess = std::max<size_t>(size, 64);
  }
  return std::clamp<size_t>(guess, 64, std::max<size_t>(limit, 64));
}

}  // namespace

Result<std::string> decompress(std::string_view data, Compression kind, size_t limit) {
  const std::string name = kind == Compression::kGzip ? "gzip" : "deflate";
  libdeflate_decompressor* decompressor = thread_decompressor();
  if (decompressor == nullptr) return Error{ErrorCode::kExhausted, "out of memory"};
  std::string out(first_guess(data, kind, limit), '\0');
  size_t filled = 0;
  while (!data.empty()) {
    size_t used = 0;
    size_t made = 0;
    const auto run =
        kind == Compression::kGzip ? libdeflate_gzip_decompress_ex : libdeflate_zlib_decompress_ex;
    const libdeflate_result result = run(decompressor, data.data(), data.size(),
                                         out.data() + filled, out.size() - filled, &used, &made);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
      if (out.size() >= limit) {
        return Error{ErrorCode::kExhausted, "the " + name + " body is larger than the limit of " +
                                                std::to_string(limit) + " bytes when decompressed"};
      }
      out.resize(std::min(limit, out.size() * 2));
      continue;
    }
    if (result != LIBDEFLATE_SUCCESS) {
      return Error{ErrorCode::kInvalid, "the body is not valid " + name + " data"};
    }
    filled += made;
    data.remove_prefix(used);
  }
  if (filled > limit) {
    return Error{ErrorCode::kExhausted, "the " + name + " body is larger than the limit of " +
                                            std::to_string(limit) + " bytes when decompressed"};
  }
  out.resize(filled);
  return out;
}

}  // namespace nuages::server
