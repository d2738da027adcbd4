// gzip compression by zlib with a reused stream: level 1, because on span data higher levels cost
// several times the CPU for the same ratio.
//
// One object per thread. compress() replaces `out`; its memory is reused by the caller.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace nuages::wire {

class Gzip {
 public:
  explicit Gzip(int level = 1);
  ~Gzip();
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  // False only when zlib cannot get memory; then `out` is not usable.
  bool compress(std::string_view in, std::string& out);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace nuages::wire
