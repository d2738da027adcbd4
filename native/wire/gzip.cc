#include "wire/gzip.h"

#include <zlib.h>

namespace nuages::wire {

struct Gzip::Stream {
  z_stream z{};
  bool ready = false;
};

Gzip::Gzip(int level) : stream_(std::make_unique<Stream>()) {
  constexpr int kGzipWindow = 15 + 16;
  stream_->ready =
      deflateInit2(&stream_->z, level, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK;
}

Gzip::~Gzip() {
  if (stream_->ready) deflateEnd(&stream_->z);
}

bool Gzip::compress(std::string_view in, std::string& out) {
  z_stream& z = stream_->z;
  if (!stream_->ready || deflateReset(&z) != Z_OK) return false;
  out.resize(deflateBound(&z, in.size()));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool done = deflate(&z, Z_FINISH) == Z_STREAM_END;
  out.resize(out.size() - z.avail_out);
  return done;
}

}  // namespace nuages::wire
