// Who owns a file that outlives processes, and whether that process still lives.
//
// A pid alone is reused; with the start time it names one process for good, inside one pid
// namespace. `image` tells the program before an exec() from the one after it. What lives in
// another pid namespace cannot be asked about: such owners prove their life by a heartbeat. No lock
// held by the owner would do: daemons close all their file descriptors, and with them their locks.
// Any thread; reads /proc. Cost: two or three small reads, some 20 us.
#pragma once

#include <cstdint>

namespace nuages::exporter {

struct Owner {
  uint64_t pid = 0;
  uint64_t start = 0;           // /proc/PID/stat, field 22; 0: unknown
  uint64_t pid_namespace = 0;   // inode; 0: unknown
  uint64_t time_namespace = 0;  // heartbeats of another one tell nothing
  uint64_t image = 0;
};

enum class Life : uint8_t { kAlive, kDead, kUnknown };

Owner this_process() noexcept;
Life life_of(const Owner& owner, const Owner& self) noexcept;

}  // namespace nuages::exporter
