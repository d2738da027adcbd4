// The tables of the store and how one block goes into them.
//
//   spans       every span, in the order (minute, trace id, start)
//   entry       view of spans: server, consumer and root spans, by (service, minute, start); lists
//   trace_ix    view of spans: trace id -> minutes in which it has spans; narrows trace reads
//   trace_links view of spans: link target trace -> the span that links to it
//   n_plus_one  view of spans: spans flagged for repeated queries, with their events
//   services    view of spans: spans, entries, errors and last receipt per service and receive day
//   red         view of spans: rate, errors and durations of entry spans per minute; a row per
//               duration bucket floor(8 log2 ns), so that any quantile can be read from sums
//   resources   one row per resource content hash
//   sqltext     one row per statement fingerprint
//   schema      one row: the version of all this
//
// Views are filled by the same insert as spans, with the same deduplication token. Partitions are
// days of receipt, never of span time: a block has few receive days but spans may carry any time;
// every table of spans or of a view has that day or time as `received`.
//
// A store of an older version is brought forward when it is opened, step by step (`migration`).
// All functions are pure; ChdbStore runs the statements.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/span_block.h"

namespace nuages::store {

inline constexpr uint32_t kSchemaVersion = 2;
inline constexpr const char* kDatabase = "nuages";

// Statements that create what is missing, in order. Running them again changes nothing.
std::vector<std::string> create_statements();

// Statements that bring the data of version `from`, with all tables created, to `from + 1`. Running
// a part of them and then all of them ends in the same state.
std::vector<std::string> migration(uint32_t from);

// Tables that hold a part of each insert: spans first, then the targets of its views.
inline constexpr const char* kSpansTable = "spans";
std::vector<std::string> derived_tables();

// One insert: the statement up to its columns, and the rows in Native format.
struct Insert {
  std::string sql;
  std::string data;
  bool deduplicated = false;  // by token; the others replace equal rows
};

// For completing an insert of which some tables lack their part (ChdbStore). `kReplayTable` has the
// columns of spans and no views; the rows to insert are put there first. `days` are partitions,
// "20261125, 20261126".
inline constexpr const char* kReplayTable = "replay";
std::string create_replay_table();
std::string fill_from_replay(const std::string& table, const std::string& days);
Insert replay_insert(const SpanBlock& block);

// What to insert for a block, in order: a replay of any prefix followed by the rest ends in the
// same state, because side rows are idempotent and spans carry the token.
std::vector<Insert> inserts_for(const SpanBlock& block);

}  // namespace nuages::store
