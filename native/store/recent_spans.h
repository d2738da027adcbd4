// Spans accepted but not yet in the store, for reads that must not wait for the next insert.
//
// The ingest implements it over its open block and the sealed blocks that wait for the inserter. A
// block may be seen here and in the store at once (the reader drops repeats by span id), but never
// in neither: a block leaves this view only after its insert returned.
#pragma once

#include <functional>

#include "store/span_block.h"

namespace nuages::store {

class RecentSpans {
 public:
  virtual ~RecentSpans() = default;

  // Calls `visit` for each block that is not yet inserted. Any thread may call it; the
  // implementation may hold a lock meanwhile, so `visit` copies what it wants and returns.
  virtual void visit_blocks(const std::function<void(const SpanBlock&)>& visit) const = 0;
};

}  // namespace nuages::store
