// The rows that a block gives to each table of the store, in ClickHouse's Native format.
//
// `spans` gets the block's columns as they are. The derived tables (store/schema.h) get what their
// SELECT over spans would give, computed here in one pass each over columns that are in the cache
// already: a materialized view costs ten times as much (docs/design/store-cost.md), and a row set
// per table and day is what lets a half-done insert be completed exactly. Grouped rows may come in
// several rows per key over several blocks; the engine adds them up.
//
// Resources and statements are the side tables: idempotent rows by content hash.
//
// Output goes to a sink in pieces, so that no copy of a whole block is held; the sink is not called
// when a table gets no rows. Pure functions over a sealed block. Cost of all derived tables
// together: about 0.1 us per span.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/native_format.h"
#include "store/span_block.h"

namespace nuages::store {

// The rows of one day of receipt, in the store's order: a partition's part of an insert.
struct DayRows {
  std::string partition;  // 20261125
  std::vector<uint32_t> rows;
};
std::vector<DayRows> rows_by_day(const SpanBlock& block);

// `table` is "spans" or one of derived_tables().
void write_rows(std::string_view table, const SpanBlock& block, const std::vector<uint32_t>& rows,
                const RowSink& sink);

// Rows of the side tables, of the given hashes only.
void write_resources(const SpanBlock& block, const std::vector<uint64_t>& hashes,
                     const RowSink& sink);
void write_statements(const SpanBlock& block, const std::vector<uint64_t>& fingerprints,
                      const RowSink& sink);

}  // namespace nuages::store
