// Adoption: when an exporter's thread looks for orphans (export/orphan.h), and the one at hand.
//
// The thread looks when it starts, every ten seconds while spans come, and never just because time
// passes, except for a silent owner whose file becomes free soon. Its own spans go first: an
// orphan's batch is sent only while nothing of its own is due, one at a time, with a short
// deadline. The exporter's thread only, under its gate.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "base/clock.h"
#include "export/orphan.h"

namespace nuages::exporter {

struct Adoption {
  static constexpr uint64_t kSecond = 1'000'000'000;
  static constexpr uint64_t kRetryInterval = 30 * kSecond;
  static constexpr uint64_t kSendTimeout = 3 * kSecond;
  static constexpr int kIdleRechecks = 3;

  std::deque<OrphanPlace> places;
  std::unique_ptr<Orphan> orphan;
  uint64_t sent = 0;  // spans of `orphan`
  uint64_t next_scan = 0;
  uint64_t recheck = 0;  // 0: no need
  int idle_rechecks = 0;

  bool due(uint64_t now) const { return orphan || !places.empty() || now >= next_scan; }

  // How long a thread without work may sleep.
  uint64_t idle_wait() {
    if (recheck == 0 || idle_rechecks >= kIdleRechecks) return UINT64_MAX;
    ++idle_rechecks;
    const uint64_t now = steady_now();
    return std::max(recheck, next_scan) > now ? std::max(recheck, next_scan) - now : 1;
  }

  // What is not sent stays for another time, or another process.
  void give_back() {
    orphan.reset();
    places.clear();
  }

  void reset_in_child() {
    // Its memory is not mapped here, its lock is the parent's.
    if (orphan) orphan->forget();
    orphan.reset();
    places.clear();
    next_scan = recheck = sent = 0;
    idle_rechecks = 0;
  }
};

}  // namespace nuages::exporter
