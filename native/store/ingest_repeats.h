// Which request bodies were accepted lately, by 128-bit hash: a client that did not see our answer
// sends the same bytes again, and they must be acknowledged but not stored twice.
//
// A hash is first `pending` (on its way to the disk), then kept for a window of time or until the
// table is full, oldest out first. Thread-safe. Cost: one hash-map access; about 80 bytes an entry.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "store/wal_format.h"

namespace nuages::store {

class RepeatFilter {
 public:
  enum class Seen { kNew, kPending, kStored };

  explicit RepeatFilter(uint64_t window_ns = uint64_t{15} * 60 * 1'000'000'000,
                        size_t max_entries = 500'000)
      : window_ns_(window_ns), max_entries_(max_entries) {}

  // kNew makes the hash pending: the caller must call stored() or failed() later.
  Seen begin(const BodyHash& hash) {
    const std::lock_guard lock(mutex_);
    const auto [entry, inserted] = entries_.try_emplace(hash, false);
    if (inserted) return Seen::kNew;
    return entry->second ? Seen::kStored : Seen::kPending;
  }

  void stored(const BodyHash& hash, uint64_t now_ns) {
    const std::lock_guard lock(mutex_);
    const auto [entry, inserted] = entries_.try_emplace(hash, true);
    if (!inserted && std::exchange(entry->second, true)) return;  // it is in order_ already
    order_.emplace_back(now_ns, hash);
    while (!order_.empty() &&
           (order_.size() > max_entries_ || order_.front().first + window_ns_ < now_ns)) {
      entries_.erase(order_.front().second);
      order_.pop_front();
    }
  }

  void failed(const BodyHash& hash) {
    const std::lock_guard lock(mutex_);
    entries_.erase(hash);
  }

 private:
  struct Hash {
    size_t operator()(const BodyHash& hash) const { return static_cast<size_t>(hash.low); }
  };

  const uint64_t window_ns_;
  const size_t max_entries_;
  std::mutex mutex_;
  std::unordered_map<BodyHash, bool, Hash> entries_;  // true: stored, false: pending
  std::deque<std::pair<uint64_t, BodyHash>> order_;
};

}  // namespace nuages::store
