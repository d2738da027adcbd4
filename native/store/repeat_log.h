// The hashes of accepted requests on the disk, for as long as a client may repeat one.
//
// While a request is in the write-ahead log its hash stands in the record; when the segment goes,
// its hashes are appended here first, so that a repeat is known after a restart too. A file per
// quarter of an hour; the last two are kept. A record is time, hash and a check value; a torn tail
// is ignored.
//
// Losing the file (or its unsynced end, by a power cut) costs the recognition of repeats, never a
// span. Thread-safe. Cost: 32 bytes per request, a write per segment.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/wal_format.h"

namespace nuages::store {

// When it was received, and its hash.
using SeenRequest = std::pair<uint64_t, BodyHash>;

class RepeatLog {
 public:
  explicit RepeatLog(std::string folder) : folder_(std::move(folder)) {}

  // Calls `visit` for what was noted within the window before `now_ns`, and deletes older files.
  void load(uint64_t now_ns, const std::function<void(const SeenRequest&)>& visit);
  Status append(const std::vector<SeenRequest>& seen, uint64_t now_ns);

  static constexpr uint64_t kWindowNs = uint64_t{15} * 60 * 1'000'000'000;

 private:
  void delete_old(uint64_t now_ns) const;

  const std::string folder_;
  std::mutex mutex_;
  uint64_t last_epoch_ = 0;
};

}  // namespace nuages::store
