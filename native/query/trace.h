// The spans of one or more traces as a forest.
//
// assemble() accepts anything: a missing parent makes its child a root, a cycle is cut at its
// earliest span, an id that occurs twice keeps both spans (children go to the first). Spans keep
// the order given (read_traces sorts by start), and so do children. Depth is not bounded, so
// nothing here or in its users recurses over it. O(n log n).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "query/span_record.h"

namespace nuages::query {

inline constexpr size_t kNoParent = static_cast<size_t>(-1);

struct Node {
  size_t parent = kNoParent;
  std::vector<size_t> children;
  bool parent_missing = false;  // names a parent that is not here
  size_t entry = kNoParent;     // the nearest span at or above that entered its process
  size_t number = 0;            // in depth-first order; those below have number..last
  size_t last = 0;
  uint64_t self_duration = 0;  // less the union of the children's times
};

struct Trace {
  std::vector<SpanRecord> spans;
  std::vector<Node> nodes;  // by index of spans
  std::vector<size_t> roots;

  bool complete() const;                                // no parent is missing
  bool is_below(size_t index, size_t ancestor) const {  // or the same
    return nodes[ancestor].number <= nodes[index].number &&
           nodes[index].number <= nodes[ancestor].last;
  }
};

Trace assemble(std::vector<SpanRecord> spans);

}  // namespace nuages::query
