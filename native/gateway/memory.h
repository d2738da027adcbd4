// How much memory this process has and may have. Any thread.
#pragma once

#include <cstdint>

namespace nuages::gateway {

uint64_t total_memory();     // of the machine, or of our control group where that has less
uint64_t resident_memory();  // of this process; about 5 us

}  // namespace nuages::gateway
