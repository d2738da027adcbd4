#include "gateway/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace nuages::gateway {

uint64_t total_memory() {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  uint64_t total = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * page;
  std::ifstream group("/sys/fs/cgroup/memory.max");  // "max" reads as no number
  uint64_t limit = 0;
  if (group >> limit && limit > 0) total = std::min(total, limit);
  return total;
}

uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  if (!(file >> size >> resident)) return 0;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace nuages::gateway
