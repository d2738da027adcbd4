// The tables of the store and how one block goes into them.
//
//   spans       every span, in the order (minute, trace id); within a trace spans of
//               one name lie together, which halves what most columns take (stores made by
//               version 2 and before keep the order by start)
//   entry       rows from spans: server, consumer and root spans, by (service, minute, start);
//   lists trace_ix    rows from spans: trace id -> minutes in which it has spans; narrows trace
//   reads trace_links rows from spans: link target trace -> the span that links to it n_plus_one
//   rows from spans: spans flagged for repeated queries, with their events services    rows from
//   spans: spans, entries, errors and last receipt per service and receive day red         rows
//   from spans: rate, errors and durations of entry spans per minute; a row per
//               duration bucket floor(8 log2 ns), so that any quantile can be read from sums
//   queries     count, errors and durations of SQL per service, fingerprint and minute, like red
//   edges       whom a service calls: databases, queues and other hosts, per minute
//   resources   one row per resource content hash
//   sqltext     one row per statement fingerprint
//   schema      one row: the version of all this
//
// The tables between spans and resources are derived: the server computes their rows from the block
// that it inserts (store/block_rows.h), and a SELECT over spans says the same in words. Partitions
// are days of receipt, never of span time: a block has few receive days but spans may carry any
// time; every one of these tables has that day or time as `received`.
//
// A store of an older version is brought forward when it is opened, step by step (`migration`).
// All functions are pure; ChdbStore runs the statements.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nuages::store {

inline constexpr uint32_t kSchemaVersion = 3;
inline constexpr const char* kDatabase = "nuages";

// Statements that create what is missing, in order. Running them again changes nothing.
std::vector<std::string> create_statements();

// Statements that bring the data of version `from`, with all tables created, to `from + 1`. Running
// a part of them and then all of them ends in the same state.
std::vector<std::string> migration(uint32_t from);

// Tables that hold a part of each insert: spans, and those derived from it.
inline constexpr const char* kSpansTable = "spans";
std::vector<std::string> derived_tables();
// Those that version `kSchemaVersion` brought; migration() filled them from spans.
bool is_new_table(std::string_view table);

// The rows of a derived table for one day of receipt, as a SELECT over spans.
std::string derive_day(const std::string& table, const std::string& day);

// A SELECT of two numbers, rows and a hash of all, for a derived table's partition: of the table,
// or of what its rows would be if they were made from spans now. Equal numbers: equal tables.
std::string recount(const std::string& table, bool from_spans, const std::string& day);

}  // namespace nuages::store
