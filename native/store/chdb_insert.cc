// The inserting half of ChdbStore: exact over errors, crashes and power cuts.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <sstream>
#include <utility>

#include "store/block_rows.h"
#include "store/chdb_result.h"
#include "store/chdb_store.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

constexpr size_t kMaxToken = 200;
constexpr size_t kAppendChunk = 4 << 20;
constexpr size_t kMostKnown = 1'000'000;

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

// The statement begins with the first rows: without any there is none.
Status ChdbStore::insert_rows(std::string_view table,
                              const std::function<void(const RowSink&)>& write) {
  constexpr std::string_view kFormat = "Native";
  const std::string sql = fmt::format("INSERT INTO nuages.{}", table);
  ChdbInsertStream stream = nullptr;
  Status status;
  write([&](std::string_view data) {
    if (stream == nullptr) {
      stream =
          library_->insert_open(*writer_, sql.data(), sql.size(), kFormat.data(), kFormat.size());
      if (const char* error = library_->insert_error(stream); error != nullptr) {
        status = engine_error(error);
      }
    }
    while (status && !data.empty()) {
      const size_t size = std::min(kAppendChunk, data.size());
      if (library_->insert_append(stream, data.data(), size) != 0) {
        const char* error = library_->insert_error(stream);
        status = engine_error(error != nullptr ? error : "the insert was cut");
      }
      data.remove_prefix(size);
    }
  });
  if (stream == nullptr) return {};
  if (status) {
    const ResultOwner result(*library_, library_->insert_done(stream));
    if (const char* error = result.error(); error != nullptr) status = engine_error(error);
  } else {
    library_->insert_cancel(stream);
  }
  library_->insert_destroy(stream);
  if (!status) replace(writer_, writer_arguments_);
  return status;
}

Status ChdbStore::insert(const SpanBlock& block, std::string_view token) {
  if (!good_token(token)) {
    return Error{ErrorCode::kInvalid, "the block's token '" + std::string(token) +
                                          "' may hold letters, digits, '-', '_' and '.' only"};
  }
  if (block.empty()) return {};
  const std::lock_guard lock(writer_mutex_);
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
  Status status = insert_all(block, committed);
  if (!status && status.error().code == ErrorCode::kExhausted) {
    // Half done: smaller blocks would store that half twice, so it is this one that is finished.
    auto parts = committed_parts();
    if (!parts || !parts->empty()) {
      status = Error{ErrorCode::kUnavailable, status.error().message};
    }
  }
  current_done_ = status.ok();
  current_failed_ = !status.ok();
  return status;
}

Status ChdbStore::insert_all(const SpanBlock& block, const CommittedParts& committed) {
  Status status = insert_side_rows(block);
  std::vector<std::string> tables = derived_tables();
  // Spans first: what lists show must be there when it is asked for.
  tables.insert(tables.begin(), kSpansTable);
  for (const DayRows& day : rows_by_day(block)) {
    for (const std::string& table : tables) {
      if (!status) return status;
      if (committed.contains(part_name(table, day.partition))) continue;
      status = insert_rows(table,
                           [&](const RowSink& sink) { write_rows(table, block, day.rows, sink); });
    }
  }
  return status;
}

// Those of which this process has not stored a row yet.
Status ChdbStore::insert_side_rows(const SpanBlock& block) {
  const auto fresh = [](const auto& rows, std::unordered_set<uint64_t>& known) {
    if (known.size() > kMostKnown) known.clear();
    std::vector<uint64_t> keys;
    for (const auto& [key, row] : rows) {
      if (!known.contains(key)) keys.push_back(key);
    }
    return keys;
  };
  const std::vector<uint64_t> resources = fresh(block.resources, known_resources_);
  if (!resources.empty()) {
    Status status = insert_rows(
        "resources", [&](const RowSink& sink) { write_resources(block, resources, sink); });
    if (!status) return status;
    known_resources_.insert(resources.begin(), resources.end());
  }
  const std::vector<uint64_t> statements = fresh(block.statements, known_statements_);
  if (!statements.empty()) {
    Status status = insert_rows(
        "sqltext", [&](const RowSink& sink) { write_statements(block, statements, sink); });
    if (!status) return status;
    known_statements_.insert(statements.begin(), statements.end());
  }
  return {};
}

Result<std::map<std::string, int64_t>> ChdbStore::block_numbers() {
  auto rows = run(*writer_,
                  "SELECT table, max(max_block_number) FROM system.parts"
                  " WHERE database = 'nuages' GROUP BY table",
                  {}, "TSV");
  if (!rows) return rows.error();
  std::map<std::string, int64_t> numbers{{kSpansTable, 0}};
  for (const std::string& name : derived_tables()) numbers[name] = 0;
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
  // A table that came with a newer program after the attempt was filled from spans.
  for (const std::string& name : derived_tables()) {
    if (!is_new_table(name) || note.marks.contains(name)) continue;
    std::erase_if(parts, [&](const std::string& part) { return part.starts_with(name + "/"); });
    for (const std::string& part : CommittedParts(parts)) {
      const std::string prefix = std::string(kSpansTable) + "/";
      if (part.starts_with(prefix)) parts.insert(part_name(name, part.substr(prefix.size())));
    }
  }
  return parts;
}

}  // namespace nuages::store
