// Deletes old spans: by age and by size, in whole days of receipt.
//
// Every table of spans and of what is derived from them is partitioned by that day, so a deletion
// is a drop of files and costs nothing. By size the oldest days go first and the current one never
// does: when it alone is too large, that is said in the log. Resources and statements stay; they
// are few.
//
// Retention runs enforce() at once and then every minute in a thread of its own. Threading: all
// members from any thread; the store must outlive the object.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/result.h"
#include "store/store.h"

namespace nuages::store {

struct RetentionOptions {
  uint32_t days = 30;      // 0: for ever
  uint64_t max_bytes = 0;  // of all tables; 0: no limit
};

struct RetentionCounters {
  uint64_t dropped_partitions = 0;  // days deleted
  uint64_t store_bytes = 0;         // after the last look
  uint64_t growth_per_hour = 0;     // bytes, by the looks of the last hour
};

class Retention {
 public:
  Retention(Store& store, const RetentionOptions& options);
  ~Retention();
  Retention(const Retention&) = delete;
  Retention& operator=(const Retention&) = delete;

  void stop();
  RetentionCounters counters() const;

  // One look at the tables, at the given time; public for tests.
  static Result<RetentionCounters> enforce(Store& store, const RetentionOptions& options,
                                           uint64_t now_ns);

 private:
  void run();

  Store& store_;
  const RetentionOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  RetentionCounters counters_;
  std::deque<std::pair<uint64_t, uint64_t>> sizes_;  // time and bytes of the last hour's looks
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace nuages::store
