#include "sql/statement_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <random>
#include <utility>

namespace nuages::sql {
namespace {

constexpr size_t kShards = 8;
constexpr size_t kWays = 4;

size_t bytes_of(const Statement& statement) {
  return sizeof(Statement) + statement.normalized.capacity() + statement.label.capacity() +
         statement.table.capacity() + statement.operation.capacity();
}

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

struct StatementCache::Shard {
  struct Entry {
    XXH128_hash_t key{};
    uint64_t used = 0;  // 0: free
    std::shared_ptr<const Statement> statement;
  };

  bool try_lock() { return !locked.exchange(true, std::memory_order_acquire); }
  void unlock() { locked.store(false, std::memory_order_release); }

  std::atomic<bool> locked{false};
  uint64_t clock = 0;
  std::vector<std::array<Entry, kWays>> sets;
};

StatementCache::StatementCache(size_t capacity)
    : shards_(new Shard[kShards]),
      sets_per_shard_(std::max<size_t>(1, capacity / (kShards * kWays))),
      seed_(random_seed()) {
  for (size_t i = 0; i < kShards; ++i) shards_[i].sets.resize(sets_per_shard_);
}

StatementCache::~StatementCache() = default;

size_t StatementCache::capacity() const { return kShards * kWays * sets_per_shard_; }

std::shared_ptr<const Statement> StatementCache::get(std::string_view sql, Dialect dialect) {
  const XXH128_hash_t key =
      XXH3_128bits_withSeed(sql.data(), sql.size(), seed_ + static_cast<uint64_t>(dialect));
  Shard& shard = shards_[key.high64 % kShards];
  const size_t set_index = static_cast<size_t>(key.low64 % sets_per_shard_);
  if (shard.try_lock()) {
    std::shared_ptr<const Statement> found;
    for (auto& entry : shard.sets[set_index]) {
      if (entry.used != 0 && XXH128_isEqual(entry.key, key)) {
        entry.used = ++shard.clock;
        found = entry.statement;
        break;
      }
    }
    shard.unlock();
    if (found) {
      hits_.fetch_add(1, std::memory_order_relaxed);
      return found;
    }
  }
  misses_.fetch_add(1, std::memory_order_relaxed);
  auto fresh = std::make_shared<const Statement>(analyze(sql, dialect));
  if (bytes_of(*fresh) > kMaxCachedBytes) return fresh;
  std::shared_ptr<const Statement> evicted;  // freed after the lock
  if (shard.try_lock()) {
    auto& set = shard.sets[set_index];
    auto* victim = &set[0];
    for (auto& entry : set) {
      if (entry.used != 0 && XXH128_isEqual(entry.key, key)) {  // another thread was faster
        victim = &entry;
        break;
      }
      if (entry.used < victim->used) victim = &entry;
    }
    evicted = std::exchange(victim->statement, fresh);
    victim->key = key;
    victim->used = ++shard.clock;
    shard.unlock();
  }
  return fresh;
}

}  // namespace nuages::sql
