// Compression by zlib with a reused stream: level 1, because on span data higher levels cost two to
// four times the CPU for 5 to 10 % fewer bytes (figures: docs/design/export.md).
//
// One object per thread. compress() replaces `out`; its memory is reused by the caller.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace nuages::wire {

enum class Packing : uint8_t { kGzip, kZlib };  // kZlib is what HTTP and gRPC call "deflate"

class Gzip {
 public:
  explicit Gzip(Packing packing = Packing::kGzip, int level = 1);
  ~Gzip();
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  // False only when zlib cannot get memory; then `out` is not usable.
  bool compress(std::string_view in, std::string& out);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

// What compress() made of exactly `size` bytes. False: it is not that, or no memory.
bool decompress(Packing packing, std::string_view in, size_t size, std::string& out);

}  // namespace nuages::wire
