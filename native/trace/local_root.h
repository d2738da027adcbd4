// LocalRoot: what all spans of one trace in this process share; made by the first of them.
//
// Holds the clock anchor (wall minus steady time, which a process measures at most once in a
// millisecond: only a step of the wall clock changes it), the count of spans (at most kMaxSpans,
// the rest is counted as dropped) and the N+1 table: per (database alias, fingerprint) the number
// of executions, their total time, the statement and a few call sites. Counting a query takes a
// short lock and one probe of an open hash table; call sites are asked for only from the third
// repeat, and ever more rarely, because finding them costs a Python frame walk. Any thread.
// Ref-counted: lives as long as its last span.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trace/ref.h"

namespace nuages::trace {

struct CallSiteView {
  std::string_view file = {};
  uint32_t line = 0;
  std::string_view function = {};
  std::string_view relation = {};    // "Order.user" when known
  std::string_view suggestion = {};  // `select_related("user")` when known
};

struct CallSite {
  std::string file;
  uint32_t line = 0;
  std::string function;
  std::string relation;
  std::string suggestion;
  uint32_t seen = 0;  // how often this site was reported
};

struct RepeatedQuery {
  uint64_t alias = 0;
  uint64_t fingerprint = 0;
  uint32_t count = 0;
  uint64_t total_duration_ns = 0;
  std::string statement;
  std::vector<CallSite> sites;  // most often seen first
};

struct QueryCount {
  uint32_t repetitions = 0;      // executions of this statement so far, this one included
  bool wants_call_site = false;  // then call add_call_site with the place of this execution
};

struct NPlusOneResult {
  uint32_t query_count = 0;
  uint32_t max_repetitions = 0;
  bool potential_n_plus_one = false;
  std::vector<RepeatedQuery> flagged;  // count > threshold, most repetitions first
};

class Span;

class LocalRoot : public RefCounted<LocalRoot> {
 public:
  static constexpr uint32_t kMaxSpans = 10'000;
  static constexpr uint32_t kMaxStatements = 1024;  // distinct; more are counted, not told apart
  static constexpr uint32_t kMaxCallSites = 4;
  static constexpr uint32_t kDefaultThreshold = 5;

  static Ref<LocalRoot> create() noexcept;                 // null: out of memory
  static Ref<LocalRoot> create(uint64_t steady) noexcept;  // with a clock read just taken
  void restart(uint64_t steady) noexcept;  // as new; only by the one who holds the only reference

  // `alias` is any hash of the database alias. `statement` is copied on its second execution.
  QueryCount count_query(uint64_t alias, uint64_t fingerprint, uint64_t duration_ns,
                         std::string_view statement) noexcept;
  void add_call_site(uint64_t alias, uint64_t fingerprint, const CallSiteView& site) noexcept;

  uint32_t query_count() const noexcept;
  // Whether annotate_n_plus_one has written this trace's result on a span already.
  bool noted() const noexcept { return noted_.load(std::memory_order_relaxed); }
  void set_noted() noexcept { noted_.store(true, std::memory_order_relaxed); }
  NPlusOneResult n_plus_one(uint32_t threshold = kDefaultThreshold) const;

  // One more span of this trace; false when kMaxSpans are reached (counted).
  bool reserve_span() noexcept;
  uint32_t dropped_spans() const noexcept { return dropped_.load(std::memory_order_relaxed); }

  // Wall time computed from the anchor: monotonic within the trace, one clock read.
  uint64_t now() const noexcept;
  uint64_t wall_at(uint64_t steady) const noexcept;

 private:
  friend class RefCounted<LocalRoot>;
  struct Slot {
    uint64_t alias = 0;
    uint64_t fingerprint = 0;
    uint32_t count = 0;  // 0: free
    uint64_t total_duration_ns = 0;
    std::string statement;
    std::vector<CallSite> sites;
  };

  explicit LocalRoot(uint64_t steady) noexcept;
  ~LocalRoot() = default;
  Slot* find(uint64_t alias, uint64_t fingerprint, bool insert) noexcept;
  void grow() noexcept;

  uint64_t anchor_steady_;
  uint64_t wall_offset_;  // wall minus steady time
  std::atomic<uint32_t> spans_{0};
  std::atomic<uint32_t> dropped_{0};
  std::atomic<bool> noted_{false};
  mutable SpinLock lock_;
  uint32_t query_count_ = 0;
  uint32_t used_ = 0;
  std::vector<Slot> slots_;  // size is zero or a power of two
};

// Writes the result on the root span: db.query_count, db.max_query_repetitions,
// db.potential_n_plus_one, and one event nuages.n_plus_one per flagged statement. Nothing is
// written when the trace ran no query. Call before end().
void annotate_n_plus_one(Span& span, const NPlusOneResult& result);

}  // namespace nuages::trace
