// The erasing half of ChdbStore, and the rebuilding of derived rows.
//
// The spans to go are first written down in a table of their own, by id, so that no statement that
// the engine keeps (mutations are files) names a value. The table is also the mark that an erasure
// is not finished: open() goes on with it. Roll-ups of the days concerned are made again from the
// spans that stay. Parts that a mutation replaced lie on the disk for eight minutes and more, in
// case the new ones are lost by a power cut; here the disk is synced instead, and they go at once.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "store/attribute_sql.h"
#include "store/chdb_store.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPurgeWaitNs = 60'000'000'000;
constexpr auto kPurgeLook = std::chrono::milliseconds(50);

// Derived tables that hold a row per span, and the columns that name it. The others are sums.
struct RowTable {
  const char* name;
  const char* keys;
};
constexpr RowTable kRowTables[] = {{"entry", "trace_id, span_id"},
                                   {"n_plus_one", "trace_id, span_id"},
                                   {"trace_links", "from_trace_id, from_span_id"}};
constexpr const char* kSums[] = {"services", "red", "queries", "edges"};

constexpr const char* kErasing =
    "CREATE TABLE nuages.erasing (trace_id FixedString(16), span_id UInt64, day UInt32,"
    " resource UInt64, fingerprint UInt64) ENGINE = MergeTree ORDER BY (trace_id, span_id)"
    " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1";

}  // namespace

Result<std::string> ChdbStore::ask(const std::string& sql, const Parameters& parameters) {
  auto answer = run(*writer_, sql, parameters, "TSV");
  if (!answer) replace(writer_, writer_arguments_);
  return answer;
}

Status ChdbStore::rebuild_day(const std::string& table, const std::string& day) {
  const std::string drop = "DROP TABLE IF EXISTS nuages.rebuild SYNC";
  Status status = run_on_writer(drop);
  if (status) status = run_on_writer("CREATE TABLE nuages.rebuild AS nuages." + table);
  if (status) status = run_on_writer("INSERT INTO nuages.rebuild " + derive_day(table, day));
  const auto rows =
      status ? ask("SELECT count() FROM nuages.rebuild", {}) : Result<std::string>(status.error());
  if (rows) {
    // The engine refuses to replace a partition by nothing.
    const std::string change = fmt::format("ALTER TABLE nuages.{} {} PARTITION ID '{}'", table,
                                           rows->starts_with("0") ? "DROP" : "REPLACE", day);
    status = run_on_writer(rows->starts_with("0") ? change : change + " FROM nuages.rebuild");
  } else {
    status = rows.error();
  }
  Status dropped = run_on_writer(drop);
  return status ? dropped : status;
}

Result<EraseReport> ChdbStore::erase(const EraseRequest& request) {
  const std::lock_guard lock(writer_mutex_);
  if (current_failed_) {
    return Error{ErrorCode::kUnavailable,
                 "an insert that failed half-way is not finished yet; erase again when the store "
                 "takes spans"};
  }
  Parameters parameters;
  std::string condition = "trace_id = unhex({trace:String})";
  if (request.trace) {
    parameters["trace"] = to_hex(*request.trace);
    condition +=
        " AND toStartOfMinute(ts) IN (SELECT minute FROM nuages.trace_ix WHERE trace_id ="
        " unhex({trace:String}))";
  } else {
    condition =
        attribute_condition(request.attribute_key, request.attribute_value, parameters) +
        " OR resource IN (SELECT hash FROM nuages.resources WHERE " +
        attribute_line_condition(request.attribute_key, request.attribute_value, parameters) + ")";
  }
  Status status = run_on_writer("DROP TABLE IF EXISTS nuages.erasing SYNC");
  if (status) status = run_on_writer(kErasing);
  if (!status) return status.error();
  auto noted =
      ask("INSERT INTO nuages.erasing SELECT trace_id, span_id, toYYYYMMDD(received), resource,"
          " fingerprint FROM nuages.spans WHERE " +
              condition,
          parameters);
  if (!noted) return noted.error();
  return finish_erasure();
}

// The steps change nothing when they are done again.
Result<EraseReport> ChdbStore::finish_erasure() {
  EraseReport report;
  auto count = ask("SELECT count() FROM nuages.erasing", {});
  if (!count) return count.error();
  report.spans = std::strtoull(count->c_str(), nullptr, 10);
  auto days = ask("SELECT DISTINCT day FROM nuages.erasing ORDER BY day", {});
  if (!days) return days.error();
  std::istringstream lines(*days);
  for (std::string day; lines >> day;) report.days.push_back(day);
  known_resources_.clear();
  known_statements_.clear();
  Status status;
  const auto remove = [&](const std::string& table, const std::string& where) {
    if (!status) return;
    status = run_on_writer("ALTER TABLE nuages." + table + " DELETE WHERE " + where +
                           " SETTINGS mutations_sync = 2");
  };
  if (report.spans > 0) {
    for (const RowTable& table : kRowTables) {
      remove(table.name,
             fmt::format("({}) IN (SELECT trace_id, span_id FROM nuages.erasing)", table.keys));
    }
    remove("spans", "(trace_id, span_id) IN (SELECT trace_id, span_id FROM nuages.erasing)");
    remove("trace_ix",
           "trace_id IN (SELECT trace_id FROM nuages.erasing) AND (trace_id, minute,"
           " toDate(received)) NOT IN (SELECT trace_id, toStartOfMinute(ts), toDate(received) FROM"
           " nuages.spans WHERE trace_id IN (SELECT trace_id FROM nuages.erasing))");
    remove("resources",
           "hash IN (SELECT resource FROM nuages.erasing) AND hash NOT IN (SELECT resource FROM"
           " nuages.spans WHERE resource IN (SELECT resource FROM nuages.erasing))");
    remove("sqltext",
           "fingerprint IN (SELECT fingerprint FROM nuages.erasing) AND fingerprint NOT IN (SELECT"
           " fingerprint FROM nuages.spans WHERE fingerprint IN (SELECT fingerprint FROM"
           " nuages.erasing))");
    for (const std::string& day : report.days) {
      for (const char* table : kSums) {
        if (status) status = rebuild_day(table, day);
      }
    }
    if (status) status = purge_inactive_parts();
  }
  if (status) status = run_on_writer("DROP TABLE IF EXISTS nuages.erasing SYNC");
  if (!status) return status.error();
  return report;
}

// After this no part that was replaced by another is on the disk. The engine's own cleaner may come
// in ten minutes to an idle table; it takes folders that are gone for removed.
Status ChdbStore::purge_inactive_parts() {
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && ::syncfs(folder) == 0;
  if (folder >= 0) ::close(folder);
  if (!synced) {
    return Error{ErrorCode::kUnavailable, "the disk of '" + folder_ + "' cannot be synced"};
  }
  const uint64_t deadline = steady_now() + kPurgeWaitNs;
  while (true) {
    auto parts =
        ask("SELECT path, refcount FROM system.parts WHERE database = 'nuages' AND NOT active", {});
    if (!parts) return parts.error();
    bool in_use = false;
    std::istringstream lines(*parts);
    std::string path;
    for (uint64_t holders = 0; lines >> path >> holders;) {
      std::error_code error;
      if (!fs::exists(path, error)) continue;
      if (holders > 1) {  // a query that began before
        in_use = true;
        continue;
      }
      fs::remove_all(path, error);
      if (error) {
        return Error{ErrorCode::kUnavailable, "cannot remove " + path + ": " + error.message()};
      }
    }
    if (!in_use) return {};
    if (steady_now() > deadline) {
      return Error{
          ErrorCode::kUnavailable,
          "files of erased spans are still in use by a query; erase again when it is done"};
    }
    std::this_thread::sleep_for(kPurgeLook);  // the engine tells nobody when a query ends
  }
}

// An erasure that a crash cut off.
Status ChdbStore::resume_erasure() {
  auto found =
      ask("SELECT count() FROM system.tables WHERE database = 'nuages' AND name = 'erasing'", {});
  if (!found) return found.error();
  if (found->starts_with("0")) return {};
  log(LogLevel::kWarning, "erasure", "finishing an erasure that was cut off");
  auto report = finish_erasure();
  if (!report) return report.error();
  return {};
}

}  // namespace nuages::store
