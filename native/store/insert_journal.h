// What is known about inserts that may be half done: a small file beside the engine's data.
//
// One insert fills several tables (spans and those derived from it), each in a commit of its own,
// and the engine's memory of deduplication tokens is neither synced nor written together with the
// data, so it is not used. Instead, before each insert the journal notes its token and, per table,
// the highest block number (the engine numbers its parts upwards, and there is one writer): after a
// crash or an error, a part with a higher number is this insert's, and a table without one lacks
// it. ChdbStore then completes the insert table by table.
//
// The file is replaced as a whole (write, sync, rename, sync of the folder); a file that does not
// check is an error, because guessing could lose or double spans. Not thread-safe. Cost: 4 syncs.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace nuages::store {

// "spans/20261125": a table and a partition of it that hold their part of an insert.
using CommittedParts = std::set<std::string>;

struct InsertNote {
  std::string token;
  CommittedParts committed;              // known from earlier attempts
  std::map<std::string, int64_t> marks;  // table -> highest block number before this attempt
};

class InsertJournal {
 public:
  // Reads the file if there is one.
  static Result<InsertJournal> open(const std::string& path);

  // The attempt that began last, successful or not; its token is empty if there was none.
  const InsertNote& current() const { return current_; }
  // Attempts before it that were committed in part only; without marks.
  const InsertNote* unfinished(std::string_view token) const;

  // Durable before it returns. The former attempt is forgotten, or kept as unfinished with what is
  // known to be committed of it.
  Status begin(InsertNote note, const CommittedParts* former);

 private:
  explicit InsertJournal(std::string path) : path_(std::move(path)) {}
  Status write() const;

  std::string path_;
  InsertNote current_;
  std::vector<InsertNote> unfinished_;  // oldest first
};

}  // namespace nuages::store
