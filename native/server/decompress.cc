#include "server/decompress.h"

#include <libdeflate.h>
#include <zstd.h>

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
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

libdeflate_decompressor* thread_decompressor() {
  static thread_local const std::unique_ptr<libdeflate_decompressor, Free> decompressor(
      libdeflate_alloc_decompressor());
  return decompressor.get();
}

// Encoders that serve HTTP stay below 8 MB (RFC 8878); one more step costs little.
constexpr int kMaxZstdWindowLog = 24;

ZSTD_DCtx* thread_zstd() {
  static thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
  if (context != nullptr) {
    ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
    ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  }
  return context.get();
}

Error too_large(const std::string& name, size_t limit) {
  return {ErrorCode::kExhausted, "the " + name + " body is larger than the limit of " +
                                     std::to_string(limit) + " bytes when decompressed"};
}

size_t first_guess(std::string_view data, Compression kind, size_t limit) {
  size_t guess = data.size() * 4;
  if (kind == Compression::kGzip && data.size() >= 18) {
    uint32_t size = 0;  // the gzip trailer: size of the last member modulo 2^32
    std::memcpy(&size, data.data() + data.size() - 4, sizeof size);
    guess = std::max<size_t>(size, 64);
  }
  constexpr size_t kMostDeflateHolds = 1032;  // bytes for each of its own
  guess = std::min(guess, data.size() * kMostDeflateHolds);
  return std::clamp<size_t>(guess, 64, std::max<size_t>(limit, 64));
}

Result<std::string> decompress_zstd(std::string_view data, size_t limit) {
  ZSTD_DCtx* context = thread_zstd();
  if (context == nullptr) return Error{ErrorCode::kExhausted, "out of memory"};
  const unsigned long long stated = ZSTD_getFrameContentSize(data.data(), data.size());
  size_t guess = data.size() * 4;
  if (stated != ZSTD_CONTENTSIZE_UNKNOWN && stated != ZSTD_CONTENTSIZE_ERROR) {
    if (stated > limit) return too_large("zstd", limit);
    guess = std::min<size_t>(stated, data.size() * 64);  // more only as it comes
  }
  std::string out(std::clamp<size_t>(guess, 64, std::max<size_t>(limit, 64)), '\0');
  ZSTD_inBuffer in{data.data(), data.size(), 0};
  ZSTD_outBuffer buffer{out.data(), out.size(), 0};
  size_t left = 1;  // of the frame; 0 at its end
  while (in.pos < in.size || (left != 0 && buffer.pos == buffer.size)) {
    if (buffer.pos == buffer.size) {
      if (out.size() > limit) return too_large("zstd", limit);
      out.resize(std::min(limit + 1, out.size() * 2));  // one more: then it is too large
      buffer.dst = out.data();
      buffer.size = out.size();
    }
    left = ZSTD_decompressStream(context, &buffer, &in);
    if (ZSTD_isError(left) != 0) {
      return Error{ErrorCode::kInvalid,
                   std::string("the body is not valid zstd data: ") + ZSTD_getErrorName(left)};
    }
  }
  if (buffer.pos > limit) return too_large("zstd", limit);
  if (left != 0 || data.empty()) {
    return Error{ErrorCode::kInvalid, "the body is not valid zstd data: it ends too early"};
  }
  out.resize(buffer.pos);
  return out;
}

}  // namespace

std::optional<Compression> compression_named(std::string_view name) {
  if (name == "gzip") return Compression::kGzip;
  if (name == "deflate") return Compression::kZlib;
  if (name == "zstd") return Compression::kZstd;
  return std::nullopt;
}

Result<std::string> decompress(std::string_view data, Compression kind, size_t limit) {
  if (kind == Compression::kZstd) return decompress_zstd(data, limit);
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
        return too_large(name, limit);
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
    return too_large(name, limit);
  }
  out.resize(filled);
  return out;
}

}  // namespace nuages::server
