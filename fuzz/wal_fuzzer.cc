// store/wal_format: a segment that was damaged. The first byte says how many records are written
// (modulo 8; 0: the rest is the whole file), two bytes each how long and of which byte their bodies
// are; the rest is damage, four bytes each: what (overwrite, cut, insert, remove), where (two
// bytes) and a value.
//
// What is read must have been written, in its order, once, whole; nothing in front of the first
// damage may be missing; and every byte of the file is accounted for.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "store/wal_format.h"

namespace {

namespace store = nuages::store;

constexpr store::SegmentId kId{42, 1'700'000'000'000'000'000};

void require(bool holds) {
  if (!holds) std::abort();
}

// A file that is only in memory.
class File {
 public:
  explicit File(std::string_view bytes) : fd_(::memfd_create("segment", MFD_CLOEXEC)) {
    require(fd_ >= 0);
    require(::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  const int fd_;
};

struct Written {
  std::string bytes;
  std::vector<std::string> bodies;
  std::vector<size_t> ends;  // of each record in the file
};

Written write(std::string_view& input, size_t count) {
  Written out;
  out.bytes = store::encode_segment_header(kId);
  for (size_t i = 0; i < count && input.size() >= 2; ++i) {
    // Neither all equal (lz4 takes them) nor all different.
    std::string body(static_cast<unsigned char>(input[0]) * size_t{5}, input[1]);
    for (size_t at = 0; at < body.size(); at += 7) body[at] = static_cast<char>(at * 31 + i);
    input.remove_prefix(2);
    const store::WalRecord record =
        store::make_record(body, store::hash_body(body), 1000 + i, static_cast<uint32_t>(i));
    out.bytes += store::encode_record_header(record, kId) + record.payload;
    out.bodies.push_back(std::move(body));
    out.ends.push_back(out.bytes.size());
  }
  return out;
}

// The first byte that may differ from what was written.
size_t damage(std::string& bytes, std::string_view edits) {
  size_t first = bytes.size();
  for (; edits.size() >= 4 && !bytes.empty(); edits.remove_prefix(4)) {
    const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(edits[i])); };
    const size_t at = (byte(1) << 8 | byte(2)) % bytes.size();
    first = std::min(first, at);
    switch (byte(0) % 4) {
      case 0:
        bytes[at] = edits[3];
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes.insert(at, byte(3), '\0');
        break;
      default:
        bytes.erase(at, byte(3));
    }
  }
  return first;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty()) return 0;
  const size_t count = static_cast<uint8_t>(input[0]) % 8;
  input.remove_prefix(1);
  Written written;
  size_t intact = 0;
  if (count == 0) {
    written.bytes = input;
  } else {
    written = write(input, count);
    intact = damage(written.bytes, input);
  }
  const File file(written.bytes);
  std::vector<std::string> read;
  const auto scan = store::scan_segment(file.path(), [&](const store::WalRecord& record) {
    require(record.disk_size() <= written.bytes.size());
    const auto body = store::record_body(record);
    if (count == 0) return;
    require(body.ok() && record.raw_size == body->size());
    require(record.hash == store::hash_body(*body));
    read.push_back(*body);
  });
  if (!scan.ok()) {
    require(!scan.error().message.empty());
    require(count == 0 || intact < store::kSegmentHeaderSize);
    return 0;
  }
  require(scan->good_bytes + scan->cut_bytes == written.bytes.size());
  require(scan->damaged_bytes <= scan->good_bytes && scan->unreadable_bytes == 0);
  if (count == 0) return 0;
  require(scan->records == read.size());
  size_t next = 0;
  for (const std::string& body : read) {
    const auto found = std::find(written.bodies.begin() + static_cast<ptrdiff_t>(next),
                                 written.bodies.end(), body);
    require(found != written.bodies.end());
    next = static_cast<size_t>(found - written.bodies.begin()) + 1;
  }
  for (size_t i = 0; i < written.ends.size() && written.ends[i] <= intact; ++i) {
    require(i < read.size() && read[i] == written.bodies[i]);
  }
  return 0;
}
