// LocalRoot: what all spans of one trace in this process share; made by the first of them.
//
// Holds the clock anchor (wall minus steady time, which a process measures at most once in a
// millisecond: only a step of the wall clock changes it), the count of spans (at most kMaxSpans,
// the rest is folded, see trace/tail.h) and the N+1 table: per (database alias, fingerprint) the
// number of executions, their time, the statement and a few call sites. Counting a query takes a
// short lock and one probe of an open hash table; call sites are asked for only from the third
// repeat, and ever more rarely, because finding them costs a Python frame walk. Where lists of
// model instances were fetched is noted too (note_batch), so that a finding can name the queryset
// whose rows were used one by one. Any thread.
// Ref-counted: lives as long as its last span.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/ref.h"
#include "trace/tail.h"

namespace nuages::trace {

struct CallSiteView {
  std::string_view file = {};  // empty: no place of the application's was found
  uint32_t line = 0;
  std::string_view function = {};
  std::string_view relation = {};    // "Order.user" when known
  std::string_view suggestion = {};  // `select_related("user")` when known
  std::string_view model = {};       // whose rows were used one by one: "orders.Order"
  std::string_view via = {};         // templates and serializers on the way, innermost first
  uint64_t parameters = 0;           // a hash of what was bound; 0: unknown
  bool series = false;               // one of a series by design: a page, a chunk of a prefetch
};

// More than one instance of a model, fetched by one query.
struct BatchView {
  std::string_view model = {};
  std::string_view file = {};
  uint32_t line = 0;
  std::string_view function = {};
  uint32_t rows = 0;
  std::string_view owner = {};     // for the rows of a related manager: the model it belongs to ...
  std::string_view accessor = {};  // ... and its name there
};

struct CallSite {
  std::string file;
  uint32_t line = 0;
  std::string function;
  std::string relation;
  std::string suggestion;
  std::string via;
  uint32_t seen = 0;        // how often this site was reported
  std::string origin_file;  // where the rows came from; empty when unknown
  uint32_t origin_line = 0;
  std::string origin_function;
  uint32_t origin_rows = 0;
};

struct RepeatedQuery {
  uint64_t alias = 0;
  uint64_t fingerprint = 0;
  uint32_t count = 0;
  uint64_t total_duration_ns = 0;
  uint64_t saved_ns = 0;         // estimate: all but the slowest and one more for the batched query
  bool same_parameters = false;  // in every execution that was looked at
  std::string statement;
  std::vector<CallSite> sites;  // most often seen first
};

struct QueryCount {
  uint32_t repetitions = 0;      // executions of this statement so far, this one included
  bool wants_call_site = false;  // then call add_call_site with the place of this execution
};

// Of the process; what was in force once is never freed.
struct NPlusOneOptions {
  uint32_t threshold = 5;               // repetitions that are not flagged yet
  uint32_t many = 10;                   // queries of one trace that are not many yet
  std::vector<std::string> allow = {};  // shell patterns of relations or statements
  friend bool operator==(const NPlusOneOptions&, const NPlusOneOptions&) = default;
};
const NPlusOneOptions& n_plus_one_options() noexcept;
void set_n_plus_one_options(NPlusOneOptions options);

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
  static constexpr uint32_t kMaxBatches = 16;  // the newest are kept, one for each model and place

  static Ref<LocalRoot> create() noexcept;                 // null: out of memory
  static Ref<LocalRoot> create(uint64_t steady) noexcept;  // with a clock read just taken
  void restart(uint64_t steady) noexcept;  // as new; only by the one who holds the only reference

  // `alias` is any hash of the database alias. `statement` is copied on its second execution.
  QueryCount count_query(uint64_t alias, uint64_t fingerprint, uint64_t duration_ns,
                         std::string_view statement) noexcept;
  void add_call_site(uint64_t alias, uint64_t fingerprint, const CallSiteView& site) noexcept;

  void note_batch(const BatchView& batch) noexcept;

  uint32_t query_count() const noexcept { return query_count_.load(std::memory_order_relaxed); }
  // Whether annotate_n_plus_one has written this trace's result on a span already.
  bool noted() const noexcept { return noted_.load(std::memory_order_relaxed); }
  void set_noted() noexcept { noted_.store(true, std::memory_order_relaxed); }
  // Patterns of n_plus_one_options() that allow a statement are heeded, its threshold is not.
  NPlusOneResult n_plus_one(uint32_t threshold) const;
  NPlusOneResult n_plus_one() const { return n_plus_one(n_plus_one_options().threshold); }

  // One more span of this trace; false when kMaxSpans are reached: then fold() it.
  // `serialised`: all such calls for this trace come under one lock of the caller.
  bool reserve_span(bool serialised = false) noexcept;
  void fold(const FoldedSpan& span) noexcept;
  std::vector<Tail::Group> folded() const;
  uint32_t dropped_spans() const noexcept { return dropped_.load(std::memory_order_relaxed); }

  // An unsampled trace that may be kept (trace/tail.h).
  enum class Fate : uint8_t { kSampler, kPending, kKept, kDropped };  // kSampler: what that said
  Fate fate() const noexcept { return fate_.load(std::memory_order_acquire); }
  void hold_until_end() noexcept { fate_.store(Fate::kPending, std::memory_order_release); }
  void hold(std::string_view record) noexcept;
  void note_error() noexcept { errors_.store(true, std::memory_order_relaxed); }
  bool has_errors() const noexcept { return errors_.load(std::memory_order_relaxed); }
  // The end of kPending: what was held goes to the sinks or is forgotten.
  void settle(bool keep, std::span<RecordSink* const> sinks) noexcept;

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
    uint64_t longest_ns = 0;
    uint64_t parameters = 0;  // of the first execution that was looked at
    uint32_t looked_at = 0;   // executions whose call site was asked for ...
    uint32_t same = 0;        // ... with the first one's parameters
    uint32_t series = 0;      // ... as one of a series
    std::string statement;
    std::vector<CallSite> sites;
  };
  struct Batch {
    std::string model, file, function, owner, accessor;
    uint32_t line = 0;
    uint32_t rows = 0;
  };

  explicit LocalRoot(uint64_t steady) noexcept;
  ~LocalRoot() = default;
  Slot* find(uint64_t alias, uint64_t fingerprint, bool insert) noexcept;
  void grow() noexcept;
  const Batch* newest_batch(std::string_view model) const noexcept;
  void find_origin(CallSite& site, std::string_view model) const;

  uint64_t anchor_steady_;
  uint64_t wall_offset_;  // wall minus steady time
  std::atomic<uint32_t> spans_{0};
  std::atomic<uint32_t> dropped_{0};
  std::atomic<bool> noted_{false};
  std::atomic<bool> errors_{false};
  std::atomic<Fate> fate_{Fate::kSampler};
  mutable SpinLock lock_;
  std::atomic<uint32_t> query_count_{0};  // changed under lock_
  uint32_t used_ = 0;
  std::vector<Slot> slots_;     // size is zero or a power of two
  std::vector<Batch> batches_;  // oldest first
  std::unique_ptr<Tail> tail_;
};

std::string_view suggestion_of(const RepeatedQuery& query);

// Writes the result on the root span: db.query_count, db.max_query_repetitions,
// db.potential_n_plus_one, db.high_query_count, and one event nuages.n_plus_one per flagged
// statement. Nothing is written when the trace ran no query. Call before end().
void annotate_n_plus_one(Span& span, const NPlusOneResult& result);

}  // namespace nuages::trace
