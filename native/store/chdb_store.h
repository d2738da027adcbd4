// The embedded store: ClickHouse in this process, behind store/store.h.
//
//   auto store = ChdbStore::open({.library = path, .folder = "/var/lib/nuages/store"});
//
// The folder holds config.xml (ours, rewritten at each open; the engine would otherwise read one
// from the working directory), data/ (the engine's) and lock. One open store per process (the
// engine refuses a second path) and one process per folder (we hold the lock).
//
// insert() is exact over crashes and power cuts: store/insert_journal.h. Data of an older version
// is brought forward by open().
//
// One writer connection and a pool of readers; a connection runs one statement at a time, so
// callers wait for a free one. insert() returns after the parts are on disk (fsync). Statements are
// bounded in memory and time; after an error the connection is replaced, so the next one is clean.
// Signal handlers are left alone. The destructor waits for running statements.
//
// Cost: open 0.4 s; memory 200 MB idle; an insert of 500k rows about 0.6 s of one core.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "store/chdb_library.h"
#include "store/check.h"
#include "store/erasure.h"
#include "store/insert_journal.h"
#include "store/native_format.h"
#include "store/store.h"

namespace nuages::store {

struct ChdbOptions {
  std::string library;                  // path of libchdb.so
  std::string folder;                   // created when missing
  size_t readers = 3;                   // connections for query() and stream()
  size_t query_memory = 1'000'000'000;  // bytes, of one statement
  size_t total_memory = 3'000'000'000;  // bytes, of the engine
  double query_seconds = 20;
};

struct FrozenTable {
  std::string name;
  std::string folder;  // missing when the table is empty
  uint64_t rows = 0;
};
struct FrozenTables {
  std::string folder;
  std::vector<FrozenTable> tables;
};

class ChdbStore final : public Store {
 public:
  // Opens or creates. Errors: library missing, folder not writable or in use, data written by a
  // newer version.
  static Result<std::unique_ptr<ChdbStore>> open(const ChdbOptions& options);
  ~ChdbStore() override;
  ChdbStore(const ChdbStore&) = delete;
  ChdbStore& operator=(const ChdbStore&) = delete;

  Status insert(const SpanBlock& block, std::string_view token) override;
  Result<std::string> query(std::string_view sql, const Parameters& parameters) override;
  Status stream(std::string_view sql, const Parameters& parameters,
                const std::function<bool(std::string_view)>& sink) override;

  // Takes spans, all that is derived from them and their files away: store/erasure.h.
  Result<EraseReport> erase(const EraseRequest& request);

  Result<CheckReport> check(bool repair);  // store/check.h

  // For store/backup.h. Hard links of all tables' parts at one moment between two inserts; the
  // caller removes the folder.
  Result<FrozenTables> freeze();
  Status attach_parts(const std::string& table, const std::string& folder);
  Status migrate_from(uint32_t version);
  Result<uint64_t> count_rows(const std::string& table);

  // "chDB 26.7.0"
  std::string version() const;

 private:
  class Lease;

  ChdbStore(const ChdbLibrary& library, std::string folder)
      : library_(&library), folder_(std::move(folder)) {}
  Status lock_folder();
  Status connect(const ChdbOptions& options);
  ChdbConnection* open_connection(const std::vector<std::string>& arguments);
  // A statement that failed half-way leaves its first output to the connection's next statement
  // (seen with chDB 26.7), so a connection is replaced after any error.
  void replace(ChdbConnection*& connection, const std::vector<std::string>& arguments);
  Status prepare_schema();
  Result<std::string> run(ChdbConnection connection, std::string_view sql,
                          const Parameters& parameters, std::string_view format);
  Status stream_from(ChdbConnection connection, std::string_view sql, const Parameters& parameters,
                     const std::function<bool(std::string_view)>& sink);
  Status migrate(uint32_t version);
  Status insert_rows(std::string_view table, const std::function<void(const RowSink&)>& write);
  Status run_on_writer(const std::string& sql);
  Result<std::string> ask(const std::string& sql, const Parameters& parameters);  // the writer, TSV
  Result<EraseReport> finish_erasure();
  Status resume_erasure();
  Status purge_inactive_parts();
  Status check_day(const std::string& day, bool repair, CheckReport& report);
  // Makes a derived table's partition again from spans; readers see the old one or the new one.
  Status rebuild_day(const std::string& table, const std::string& day);
  // What is not yet `committed`.
  Status insert_all(const SpanBlock& block, const CommittedParts& committed);
  Status insert_side_rows(const SpanBlock& block);
  // Of the attempt the journal calls current.
  Result<CommittedParts> committed_parts();
  Result<std::map<std::string, int64_t>> block_numbers();

  const ChdbLibrary* library_;
  std::string folder_;
  int lock_file_ = -1;
  std::vector<std::string> writer_arguments_, reader_arguments_;
  ChdbConnection* writer_ = nullptr;
  std::mutex writer_mutex_;
  std::unique_ptr<InsertJournal> journal_;  // with the writer's mutex, like those below
  bool current_done_ = false;               // the journal's current attempt succeeded
  bool current_failed_ = false;             // in this process
  std::unordered_set<uint64_t> known_resources_, known_statements_;  // stored by this process
  std::vector<ChdbConnection*> free_readers_;                        // the others are lent out
  std::mutex readers_mutex_;
  std::condition_variable reader_free_;
};

}  // namespace nuages::store
