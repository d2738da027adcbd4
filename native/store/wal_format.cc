#include "store/wal_format.h"

#include <fcntl.h>
#include <lz4.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY  // for the state type; it lives on the stack
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

namespace nuages::store {
namespace {

static_assert(std::endian::native == std::endian::little, "segments are little-endian");

constexpr char kMagic[] = "NUAGEWAL";  // 8 bytes used
constexpr uint32_t kVersion = 1;
constexpr uint32_t kMarker = 0x4345524E;  // "NREC"

// Offsets inside a record: marker 0, payload size 4, checksum 8, then what it covers.
constexpr size_t kChecksumAt = 8;
constexpr size_t kCoveredAt = 16;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename T>
T get(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

std::string system_message(int code) { return std::generic_category().message(code); }

ReadAt g_read = &::pread;

// The whole file. What the disk cannot read stays zero and is counted: a mapped file would end the
// process there, at every start.
class FileText {
 public:
  explicit FileText(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      error_ = errno;
      return;
    }
    struct stat info{};
    if (::fstat(fd, &info) != 0) {
      error_ = errno;
    } else if (!S_ISREG(info.st_mode)) {
      error_ = EINVAL;
    } else {
      text_.resize(static_cast<size_t>(info.st_size));
      read(fd);
    }
    ::close(fd);
  }

  int error() const { return error_; }
  uint64_t unreadable() const { return unreadable_; }
  std::string_view view() const { return text_; }

 private:
  void read(int fd) {
    constexpr size_t kSector = 4096;
    for (size_t at = 0; at < text_.size();) {
      const ssize_t size = g_read(fd, text_.data() + at, text_.size() - at, static_cast<off_t>(at));
      if (size > 0) {
        at += static_cast<size_t>(size);
      } else if (size == 0) {
        text_.resize(at);
      } else if (errno == EIO) {
        const size_t skipped = std::min(kSector - at % kSector, text_.size() - at);
        unreadable_ += skipped;
        at += skipped;
      } else if (errno != EINTR) {
        error_ = errno;
        return;
      }
    }
  }

  int error_ = 0;
  uint64_t unreadable_ = 0;
  std::string text_;
};

uint64_t record_checksum(uint64_t seed, uint32_t payload_size, std::string_view covered,
                         std::string_view payload) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);  // else a stale seed on the stack can keep its stale secret
  XXH3_64bits_reset_withSeed(&state, seed);
  XXH3_64bits_update(&state, &payload_size, sizeof payload_size);
  XXH3_64bits_update(&state, covered.data(), covered.size());
  XXH3_64bits_update(&state, payload.data(), payload.size());
  return XXH3_64bits_digest(&state);
}

std::string covered_fields(const WalRecord& record) {
  std::string out;
  put(out, record.receive_ns);
  put(out, record.hash.high);
  put(out, record.hash.low);
  put(out, record.rows);
  put(out, record.raw_size);
  put(out, record.codec);
  out.append(kRecordHeaderSize - kCoveredAt - out.size(), '\0');
  return out;
}

// The record that starts at the beginning of `data`, if there is a good one.
std::optional<WalRecord> parse_record(std::string_view data, uint64_t seed) {
  if (data.size() < kRecordHeaderSize || get<uint32_t>(data.data()) != kMarker) return {};
  const auto payload_size = get<uint32_t>(data.data() + 4);
  if (payload_size > data.size() - kRecordHeaderSize) return {};
  const std::string_view covered = data.substr(kCoveredAt, kRecordHeaderSize - kCoveredAt);
  const std::string_view payload = data.substr(kRecordHeaderSize, payload_size);
  if (get<uint64_t>(data.data() + kChecksumAt) !=
      record_checksum(seed, payload_size, covered, payload)) {
    return {};
  }
  WalRecord record;
  const char* at = covered.data();
  record.receive_ns = get<uint64_t>(at);
  record.hash.high = get<uint64_t>(at + 8);
  record.hash.low = get<uint64_t>(at + 16);
  record.rows = get<uint32_t>(at + 24);
  record.raw_size = get<uint32_t>(at + 28);
  record.codec = get<uint8_t>(at + 32);
  record.payload = payload;
  return record;
}

}  // namespace

BodyHash hash_body(std::string_view body) {
  const XXH128_hash_t hash = XXH3_128bits(body.data(), body.size());
  return {hash.high64, hash.low64};
}

std::string SegmentId::file_name() const {
  std::string digits = std::to_string(number);
  return std::string(20 - digits.size(), '0') + digits + ".wal";
}

std::string SegmentId::token() const {
  return std::to_string(number) + "-" + std::to_string(created_ns);
}

WalRecord make_record(std::string_view body, BodyHash hash, uint64_t receive_ns, uint32_t rows) {
  WalRecord record;
  record.receive_ns = receive_ns;
  record.hash = hash;
  record.rows = rows;
  record.raw_size = static_cast<uint32_t>(body.size());
  record.payload.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(body.size()))));
  const int size =
      LZ4_compress_default(body.data(), record.payload.data(), static_cast<int>(body.size()),
                           static_cast<int>(record.payload.size()));
  if (size > 0 && static_cast<size_t>(size) < body.size()) {
    record.codec = 1;
    record.payload.resize(static_cast<size_t>(size));
    record.payload.shrink_to_fit();  // the bound is 4 times what stays
  } else {
    record.payload = body;
  }
  return record;
}

Result<std::string> record_body(const WalRecord& record) {
  if (record.codec == 0) return record.payload;
  if (record.codec != 1 || record.raw_size > kMaxBodySize) {
    return Error{ErrorCode::kInvalid, "a record of the write-ahead log has an unknown codec " +
                                          std::to_string(record.codec) + " or size"};
  }
  std::string body(record.raw_size, '\0');
  const int size =
      LZ4_decompress_safe(record.payload.data(), body.data(),
                          static_cast<int>(record.payload.size()), static_cast<int>(body.size()));
  if (size < 0 || static_cast<size_t>(size) != body.size()) {
    return Error{ErrorCode::kInvalid, "a record of the write-ahead log does not decompress"};
  }
  return body;
}

void set_segment_reader(ReadAt read) { g_read = read == nullptr ? &::pread : read; }

std::string encode_segment_header(const SegmentId& id) {
  std::string out(kMagic, 8);
  put(out, kVersion);
  put(out, static_cast<uint32_t>(kSegmentHeaderSize));
  put(out, id.number);
  put(out, id.created_ns);
  put(out, static_cast<uint64_t>(XXH3_64bits(out.data(), out.size())));
  return out;
}

std::string encode_record_header(const WalRecord& record, const SegmentId& id) {
  const std::string covered = covered_fields(record);
  const auto payload_size = static_cast<uint32_t>(record.payload.size());
  std::string out;
  put(out, kMarker);
  put(out, payload_size);
  put(out, record_checksum(id.seed(), payload_size, covered, record.payload));
  return out + covered;
}

Result<SegmentScan> scan_segment(const std::string& path,
                                 const std::function<void(const WalRecord&)>& visit) {
  const FileText file(path);
  if (file.error() != 0) {
    return Error{ErrorCode::kUnavailable,
                 "cannot read " + path + ": " + system_message(file.error())};
  }
  const std::string_view data = file.view();
  SegmentScan scan;
  scan.unreadable_bytes = file.unreadable();
  if (data.size() < kSegmentHeaderSize || data.substr(0, 8) != std::string_view(kMagic, 8) ||
      get<uint64_t>(data.data() + 32) != XXH3_64bits(data.data(), 32)) {
    return Error{ErrorCode::kInvalid, path + " has no valid segment header"};
  }
  if (const auto version = get<uint32_t>(data.data() + 8); version != kVersion) {
    return Error{ErrorCode::kInvalid, path + " has version " + std::to_string(version) +
                                          " of the log format; this program reads version " +
                                          std::to_string(kVersion)};
  }
  scan.id.number = get<uint64_t>(data.data() + 16);
  scan.id.created_ns = get<uint64_t>(data.data() + 24);
  const std::string_view marker(reinterpret_cast<const char*>(&kMarker), sizeof kMarker);
  size_t at = kSegmentHeaderSize;
  size_t gap_start = at;  // behind the last good record
  while (at < data.size()) {
    const std::optional<WalRecord> record = parse_record(data.substr(at), scan.id.seed());
    if (!record) {
      // Damage: the next good record can only start at a marker.
      const size_t next = data.find(marker, at + 1);
      if (next == std::string_view::npos) break;
      at = next;
      continue;
    }
    scan.damaged_bytes += at - gap_start;
    ++scan.records;
    scan.rows += record->rows;
    visit(*record);
    at += record->disk_size();
    gap_start = at;
  }
  scan.good_bytes = gap_start;
  scan.cut_bytes = data.size() - gap_start;
  return scan;
}

}  // namespace nuages::store
