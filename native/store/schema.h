// The tables of the store and how one block goes into them.
//
//   spans       every span, in the order (minute, trace id, start)
//   entry       view of spans: server, consumer and root spans, by (service, minute, start); lists
//   trace_ix    view of spans: trace id -> minutes in which it has spans; narrows trace reads
//   trace_links view of spans: link target trace -> the span that links to it
//   n_plus_one  view of spans: spans flagged for repeated queries, with their events
//   resources   one row per resource content hash
//   sqltext     one row per statement fingerprint
//   schema      one row: the version of all this
//
// Views are filled by the same insert as spans, with the same deduplication token. Partitions are
// days of receipt, never of span time: a block has few receive days but spans may carry any time.
// All functions are pure; ChdbStore runs the statements.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/span_block.h"

namespace nuages::store {

inline constexpr uint32_t kSchemaVersion = 1;
inline constexpr const char* kDatabase = "nuages";

// Statements that create what is missing, in order. Running them again changes nothing.
std::vector<std::string> create_statements();

// One insert: the statement up to its columns, and the rows in Native format.
struct Insert {
  std::string sql;
  std::string data;
  bool deduplicated = false;  // by token; the others replace equal rows
};

// What to insert for a block, in order: a replay of any prefix followed by the rest ends in the
// same state, because side rows are idempotent and spans carry the token.
std::vector<Insert> inserts_for(const SpanBlock& block);

}  // namespace nuages::store
