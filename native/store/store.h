// The store as the rest of the server sees it: insert a block, run SQL, stream rows. Nothing else.
//
// Implementations: store/chdb_store.h (ClickHouse in-process, embedded default); ClickHouse over
// HTTP comes later with the same SQL text. All calls may come from any thread; an implementation
// keeps one writer and a pool of readers inside. SQL takes server-side parameters
// ({name:Type}); callers never paste values into SQL text.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace nuages::store {

class SpanBlock;

using Parameters = std::map<std::string, std::string>;

class Store {
 public:
  virtual ~Store() = default;

  // Inserts all rows of the block. `token` identifies it: inserting the last token again, or one
  // whose insert failed, in this process or a later one, adds only what is missing (in spans and in
  // every derived table alike), so a replay after a crash is exact. After kExhausted nothing of the
  // block is stored; it may come again in smaller ones.
  virtual Status insert(const SpanBlock& block, std::string_view token) = 0;

  // Runs one statement and returns its output in JSONCompact, or for statements without rows an
  // empty string.
  virtual Result<std::string> query(std::string_view sql, const Parameters& parameters) = 0;

  // Runs one SELECT and hands each chunk of its output (JSONEachRow) to `sink` until the end or
  // until `sink` returns false.
  virtual Status stream(std::string_view sql, const Parameters& parameters,
                        const std::function<bool(std::string_view)>& sink) = 0;
};

}  // namespace nuages::store
