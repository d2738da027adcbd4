// The write-ahead log: a request is acknowledged when its record is on the disk.
//
// Group commit: append() queues a record and returns; one thread writes everything queued with one
// write and one fdatasync, then tells the observer and each caller. A segment is closed ("sealed")
// by rows, bytes or age, and then never changes: it becomes exactly one block of the store, and
// remove() deletes it once that block is in. A segment's file is opened for its first record, and
// its folder entry is synced before that record is acknowledged.
//
// When writing fails (disk full, I/O error) the whole group gets the error, the file is cut back to
// the last acknowledged record, or, where even that fails, sealed there; the next group tries
// again. append() refuses with kExhausted above the size limits: that is the back-pressure.
//
// Threading: all members may be called from any thread; observer and `done` run on the log's
// thread and must not block or call append() or seal(). The destructor commits what is queued and
// stops.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "store/wal_format.h"

namespace nuages::store {

struct WalOptions {
  std::string folder;
  uint64_t max_total_bytes = uint64_t{4} << 30;     // all segments on the disk
  uint64_t max_queued_bytes = uint64_t{256} << 20;  // not yet written
  uint64_t seal_rows = 500'000;
  uint64_t seal_raw_bytes = uint64_t{512} << 20;
  uint64_t seal_age_ns = 1'000'000'000;       // while fewer than busy_rows came in this time
  uint64_t seal_busy_age_ns = 5'000'000'000;  // else
  uint64_t busy_rows = 20'000;
};

// What is on its way through the log: the record and the uncompressed body it was made from.
struct WalEntry {
  WalRecord record;
  std::string body;
  std::function<void(const Status&)> done;
};

class WalObserver {
 public:
  virtual ~WalObserver() = default;
  // `entries` are on disk in `segment`, in this order; their bodies may be moved out.
  virtual void on_commit(const SegmentId& segment, std::vector<WalEntry>& entries) = 0;
  virtual void on_seal(const SegmentId& segment) = 0;
};

class Wal {
 public:
  // Makes the folder, reads what a former process left (cutting damaged ends with one log line
  // each) and starts the thread. `found` gets the old segments, oldest first; `visit`, where
  // given, each of their records.
  static Result<std::unique_ptr<Wal>> open(const WalOptions& options, WalObserver& observer,
                                           std::vector<SegmentScan>& found,
                                           const std::function<void(const WalRecord&)>& visit);
  ~Wal();
  Wal(const Wal&) = delete;
  Wal& operator=(const Wal&) = delete;

  // Queues; on an Error nothing was queued and `done` will not be called.
  Status append(WalEntry entry);
  // Commits everything queued before the call, seals the open segment and returns.
  void seal();
  // Deletes a sealed segment, or moves it to the folder "quarantine" beside the others.
  // A removal is on the disk when this returns: a segment that came back after a power cut would be
  // inserted a second time.
  void remove(const SegmentId& segment);
  void quarantine(const SegmentId& segment);
  // Replaces a sealed segment by two with half of its spans each, or leaves it as it is: an Error,
  // kInvalid when it holds a single record.
  Result<std::vector<SegmentScan>> split(const SegmentId& segment);

  std::string path(const SegmentId& segment) const;
  uint64_t bytes() const { return total_bytes_.load(std::memory_order_relaxed); }
  uint64_t segments() const { return segments_.load(std::memory_order_relaxed); }
  // Segments that open() could not read whole.
  uint64_t damaged_at_open() const { return damaged_.size(); }

 private:
  class Segment;

  Wal(const WalOptions& options, WalObserver& observer);
  Status scan_folder(std::vector<SegmentScan>& found,
                     const std::function<void(const WalRecord&)>& visit);
  void take_number(const std::filesystem::path& file);
  Status finish_splits();
  Status finish_split(const std::filesystem::path& folder);
  void keep(const std::filesystem::path& file);
  void run();
  void commit(std::vector<WalEntry>& group);
  Status write_group(std::vector<WalEntry>& group);
  void seal_open_segment();
  uint64_t seal_deadline() const;
  void forget(const SegmentId& segment, bool keep_file);

  WalOptions options_;
  WalObserver& observer_;
  std::unique_ptr<Segment> open_;  // the log's thread only
  std::atomic<uint64_t> next_number_{1};
  std::set<uint64_t> damaged_;  // numbers; not changed after open()
  uint64_t last_error_log_ns_ = 0;

  std::atomic<uint64_t> total_bytes_{0};
  std::atomic<uint64_t> segments_{0};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable sealed_;
  std::vector<WalEntry> queue_;
  uint64_t queued_bytes_ = 0;
  uint64_t seals_wanted_ = 0;
  uint64_t seals_done_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace nuages::store
