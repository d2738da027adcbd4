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
  std::unordered_set<uint64_t> known_resources_, known_statements_;  // stored by this process
  std::vector<ChdbConnection*> free_readers_;                        // the others are lent out
  std::mutex readers_mutex_;
  std::condition_variable reader_free_;
};

}  // namespace nuages::store
