// The inserting half of ChdbStore: exact over errors, crashes and power cuts.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>
#include <utility>

#include "base/log.h"
#include "store/chdb_result.h"
#include "store/chdb_store.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

constexpr size_t kMaxToken = 200;
constexpr size_t kAppendChunk = 4 << 20;
constexpr uint32_t kSecondsPerDay = 86400;

std::string part_name(const std::string& table, const std::string& partition) {
  std::string name = table;
  return name.append("/").append(partition);
}

bool good_token(std::string_view token) {
  return !token.empty() && token.size() <= kMaxToken &&
         std::all_of(token.begin(), token.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

Status ChdbStore::insert_one(const std::string& sql, const std::string& data) {
  constexpr std::string_view kFormat = "Native";
  ChdbInsertStream stream =
      library_->insert_open(*writer_, sql.data(), sql.size(), kFormat.data(), kFormat.size());
  Status status;
  if (const char* error = library_->insert_error(stream); error != nullptr) {
    status = engine_error(error);
  }
  for (size_t at = 0; status && at < data.size(); at += kAppendChunk) {
    const size_t size = std::min(kAppendChunk, data.size() - at);
    if (library_->insert_append(stream, data.data() + at, size) != 0) {
      const char* error = library_->insert_error(stream);
      status = engine_error(error != nullptr ? error : "the insert was cut");
    }
  }
  if (status) {
    const ResultOwner result(*library_, library_->insert_done(stream));
    if (const char* error = result.error(); error != nullptr) status = engine_error(error);
  } else {
    library_->insert_cancel(stream);
  }
  library_->insert_destroy(stream);
  return status;
}

Status ChdbStore::insert(const SpanBlock& block, std::string_view token) {
  if (!good_token(token)) {
    return Error{ErrorCode::kInvalid, "the block's token '" + std::string(token) +
                                          "' may hold letters, digits, '-', '_' and '.' only"};
  }
  if (block.empty()) return {};
  const std::lock_guard lock(writer_mutex_);
  if (views_detached_) {
    if (Status status = switch_views("ATTACH"); !status) return status;
  }
  // What the attempt before this one left must be known before its marks are overwritten.
  CommittedParts former;
  const InsertNote& current = journal_->current();
  const bool again = current.token == token;
  if (again && current_done_) return {};
  if (!current.token.empty() && !current_done_) {
    auto parts = committed_parts();
    if (!parts) return parts.error();
    former = std::move(*parts);
  }
  auto marks = block_numbers();
  if (!marks) return marks.error();
  InsertNote note{std::string(token), {}, std::move(*marks)};
  if (again) {
    note.committed = former;
  } else if (const InsertNote* unfinished = journal_->unfinished(token)) {
    note.committed = unfinished->committed;
  }
  const CommittedParts committed = note.committed;
  if (Status status = journal_->begin(std::move(note), again ? nullptr : &former); !status) {
    return status;
  }
  current_done_ = false;
  Status status = committed.empty() ? insert_all(block, token) : complete(block, committed);
  if (!status && committed.empty()) {
    auto parts = committed_parts();
    // Half done: smaller blocks would store that half twice, so it is this one that is finished.
    if (parts && !parts->empty()) status = complete(block, *parts);
    if (!status && (!parts || !parts->empty()) && status.error().code == ErrorCode::kExhausted) {
      status = Error{ErrorCode::kUnavailable, status.error().message};
    }
  }
  current_done_ = status.ok();
  return status;
}

Status ChdbStore::insert_all(const SpanBlock& block, std::string_view token) {
  for (const Insert& insert : inserts_for(block)) {
    std::string sql = insert.sql;
    // The attempt's marks make the token new to the engine, whose memory of tokens may be ahead of
    // its data: a replay must not be swallowed.
    if (insert.deduplicated) {
      int64_t sum = 0;
      for (const auto& [table, number] : journal_->current().marks) sum += number;
      sql += fmt::format(" SETTINGS insert_deduplication_token = '{}-{}'", token, sum);
    }
    if (Status status = insert_one(sql, insert.data); !status) {
      replace(writer_, writer_arguments_);
      return status;
    }
  }
  return {};
}

Result<std::map<std::string, int64_t>> ChdbStore::block_numbers() {
  auto rows = run(*writer_,
                  "SELECT table, max(max_block_number) FROM system.parts"
                  " WHERE database = 'nuages' GROUP BY table",
                  {}, "TSV");
  if (!rows) return rows.error();
  std::map<std::string, int64_t> numbers;
  std::istringstream lines(*rows);
  std::string table;
  for (int64_t number = 0; lines >> table >> number;) numbers[table] = number;
  return numbers;
}

Result<CommittedParts> ChdbStore::committed_parts() {
  auto rows = run(*writer_,
                  "SELECT table, partition_id, max(max_block_number) FROM system.parts"
                  " WHERE database = 'nuages' AND active GROUP BY table, partition_id",
                  {}, "TSV");
  if (!rows) return rows.error();
  const InsertNote& note = journal_->current();
  CommittedParts parts = note.committed;
  std::vector<std::string> tables = derived_tables();
  tables.emplace_back(kSpansTable);
  std::istringstream lines(*rows);
  std::string table;
  std::string partition;
  for (int64_t number = 0; lines >> table >> partition >> number;) {
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) continue;
    const auto mark = note.marks.find(table);
    if (number > (mark == note.marks.end() ? 0 : mark->second)) {
      parts.insert(part_name(table, partition));
    }
  }
  return parts;
}

Status ChdbStore::switch_views(const char* verb) {
  const bool detach = std::string_view(verb) == "DETACH";
  if (detach) views_detached_ = true;  // at a restart the engine attaches them itself
  for (const std::string& table : derived_tables()) {
    const std::string sql = fmt::format("{} TABLE {} nuages.{}_view", verb,
                                        detach ? "IF EXISTS" : "IF NOT EXISTS", table);
    if (Status status = run_on_writer(sql); !status) return status;
  }
  if (!detach) views_detached_ = false;
  return {};
}

// Inserts what the tables lack, each from a copy of the block in a table without views.
Status ChdbStore::complete(const SpanBlock& block, const CommittedParts& committed) {
  std::set<std::string> days;
  for (const uint32_t second : block.received) days.insert(std::to_string(second / kSecondsPerDay));
  std::set<std::string> partitions;
  for (const std::string& day : days) {
    auto name = run(*writer_, "SELECT toYYYYMMDD(toDate({day:UInt16}))", {{"day", day}}, "TSV");
    if (!name) return name.error();
    partitions.insert(name->substr(0, name->find('\n')));
  }
  const auto lacking = [&](const std::string& table) {
    std::string list;
    for (const std::string& partition : partitions) {
      if (committed.contains(part_name(table, partition))) continue;
      if (!list.empty()) list += ", ";
      list += partition;
    }
    return list;
  };
  std::vector<std::string> fills;
  for (const std::string& table : derived_tables()) {
    if (const std::string list = lacking(table); !list.empty()) {
      fills.push_back(fill_from_replay(table, list));
    }
  }
  const std::string spans = lacking(kSpansTable);
  const std::string drop = fmt::format("DROP TABLE IF EXISTS nuages.{} SYNC", kReplayTable);
  Status status = run_on_writer(drop);
  if (status) status = run_on_writer(create_replay_table());
  if (status) {
    const Insert rows = replay_insert(block);
    status = insert_one(rows.sql, rows.data);
    if (!status) replace(writer_, writer_arguments_);
  }
  if (status && !spans.empty()) {
    status = switch_views("DETACH");
    if (status) status = run_on_writer(fill_from_replay(kSpansTable, spans));
    Status attached = switch_views("ATTACH");
    if (status) status = std::move(attached);
  }
  for (const std::string& fill : fills) {
    if (status) status = run_on_writer(fill);
  }
  for (const Insert& insert : inserts_for(block)) {
    if (status && !insert.deduplicated) status = insert_one(insert.sql, insert.data);
  }
  Status dropped = run_on_writer(drop);
  return status ? dropped : status;
}

}  // namespace nuages::store
