// The bytes of a write-ahead log segment, and reading them back.
//
// A segment is a header (magic, version, number, creation time, checksum) and records. A record is
// a request body as it was acknowledged: marker, checksum, sizes, receive time, 128-bit hash of the
// body, number of spans accepted from it, codec, then the body, lz4-compressed where that makes it
// smaller. The checksum (XXH3) covers everything behind itself and is seeded with the segment's
// number and time, so bytes of another segment never pass for a record of this one.
//
// Reading never trusts a length before its checksum holds. A damaged end (a crash while writing:
// nothing there was acknowledged) is reported as `cut_bytes`; damage between good records (a bad
// disk) is skipped and reported as `damaged_bytes`, and so is what the disk refuses to read.
// Little-endian only, as the build asserts. Threading: pure functions. Cost: read speed of the disk
// cache plus lz4 (about 2 GB/s out).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace nuages::store {

struct BodyHash {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const BodyHash&, const BodyHash&) = default;
};
BodyHash hash_body(std::string_view body);

struct SegmentId {
  uint64_t number = 0;
  uint64_t created_ns = 0;

  std::string file_name() const;  // 00000000000000000042.wal
  // The store's deduplication token. Holds the time too: numbers start again in an emptied folder.
  std::string token() const;
  uint64_t seed() const { return number * 0x9E3779B97F4A7C15ULL ^ created_ns; }
};

inline constexpr size_t kSegmentHeaderSize = 40;
inline constexpr size_t kRecordHeaderSize = 56;
inline constexpr size_t kMaxBodySize = size_t{1} << 30;

// A record before it has a segment: everything but the checksum. `payload` is what goes to disk.
struct WalRecord {
  uint64_t receive_ns = 0;
  BodyHash hash;
  uint32_t rows = 0;
  uint32_t raw_size = 0;
  uint8_t codec = 0;  // 0: as is, 1: lz4
  std::string payload;

  size_t disk_size() const { return kRecordHeaderSize + payload.size(); }
};

// Compresses `body` into a record; the caller's thread pays, not the one that writes.
WalRecord make_record(std::string_view body, BodyHash hash, uint64_t receive_ns, uint32_t rows);
// The body of a record; an error only if the payload does not decompress.
Result<std::string> record_body(const WalRecord& record);

std::string encode_segment_header(const SegmentId& id);
// The bytes in front of the payload.
std::string encode_record_header(const WalRecord& record, const SegmentId& id);

struct SegmentScan {
  SegmentId id;
  uint64_t records = 0;
  uint64_t rows = 0;
  uint64_t good_bytes = 0;        // up to here the file is worth keeping
  uint64_t cut_bytes = 0;         // damaged end
  uint64_t damaged_bytes = 0;     // damage between good records
  uint64_t unreadable_bytes = 0;  // the disk gave an error; they count as damage or end too
};

// Calls `visit` for each good record in order. Errors: the file cannot be read, or its header is
// not a segment's (kInvalid).
Result<SegmentScan> scan_segment(const std::string& path,
                                 const std::function<void(const WalRecord&)>& visit);

// Tests only: what segments are read with instead of pread, a disk with errors for example.
using ReadAt = ssize_t (*)(int fd, void* buffer, size_t size, off_t offset);
void set_segment_reader(ReadAt read);

}  // namespace nuages::store
