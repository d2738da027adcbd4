#include "wire/gzip.h"

#include <zlib.h>

namespace nuages::wire {
namespace {

int window(Packing packing) { return packing == Packing::kGzip ? 15 + 16 : 15; }

}  // namespace

struct Gzip::Stream {
  z_stream z{};
  bool ready = false;
};

Gzip::Gzip(Packing packing, int level) : stream_(std::make_unique<Stream>()) {
  stream_->ready =
      deflateInit2(&stream_->z, level, Z_DEFLATED, window(packing), 8, Z_DEFAULT_STRATEGY) == Z_OK;
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

bool decompress(Packing packing, std::string_view in, size_t size, std::string& out) {
  z_stream z{};
  if (inflateInit2(&z, window(packing)) != Z_OK) return false;
  out.resize(size);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  char none = 0;  // zlib wants an address also for nothing
  z.next_out = reinterpret_cast<Bytef*>(size == 0 ? &none : out.data());
  z.avail_out = static_cast<uInt>(size);
  const bool done = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0;
  inflateEnd(&z);
  return done;
}

}  // namespace nuages::wire
