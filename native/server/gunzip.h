// gzip and zlib bodies, decompressed whole and with a limit.
//
// A client states no size that could be trusted, so the output buffer starts from the gzip
// trailer's hint (never above the limit) and doubles; a body that would pass the limit is an error
// before the memory is taken. Several gzip members in a row are one body. Threading: one
// decompressor per thread, kept. Cost: about 2 GB/s of output.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace nuages::server {

enum class Compression { kGzip, kZlib };

// Errors: kInvalid when the data is damaged, kExhausted when the output passes `limit` bytes.
Result<std::string> decompress(std::string_view data, Compression kind, size_t limit);

}  // namespace nuages::server
