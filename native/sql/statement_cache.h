// A bounded cache of analyze() by statement text: an application repeats a few hundred texts.
//
// Keyed by a seeded 128-bit xxh3 of text and dialect (the seed is the process's own, so texts
// cannot be crafted to collide); the text itself is not kept. Four-way sets, the least recently
// used of a set gives way. Large results are returned but not kept, so memory is bounded by
// capacity * kMaxCachedBytes.
//
// Any thread. Never waits: where another thread holds the same shard the statement is analysed
// without the cache. That also makes it safe after fork() with threads alive: a shard locked at
// that moment is merely useless in the child. The result outlives its eviction.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "sql/statement.h"

namespace nuages::sql {

class StatementCache {
 public:
  static constexpr size_t kDefaultCapacity = 2048;
  static constexpr size_t kMaxCachedBytes = size_t{16} * 1024;

  explicit StatementCache(size_t capacity = kDefaultCapacity);
  ~StatementCache();
  StatementCache(const StatementCache&) = delete;
  StatementCache& operator=(const StatementCache&) = delete;

  std::shared_ptr<const Statement> get(std::string_view sql, Dialect dialect);

  uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  uint64_t misses() const { return misses_.load(std::memory_order_relaxed); }
  size_t capacity() const;

 private:
  struct Shard;
  std::unique_ptr<Shard[]> shards_;
  size_t sets_per_shard_;
  uint64_t seed_;
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> misses_{0};
};

}  // namespace nuages::sql
