#include "trace/local_root.h"

#include <algorithm>
#include <bit>
#include <mutex>
#include <new>

#include "base/clock.h"
#include "mask/policy.h"

namespace nuages::trace {
namespace {

constexpr size_t kFirstSlots = 16;
constexpr uint32_t kFirstRepeatWithSite = 3;
// A trace this old takes the wall clock again: the two clocks may have parted (suspend, a step).
constexpr uint64_t kMaxAnchorAge = 600ULL * 1'000'000'000ULL;

// Shared by all threads. The two fields may be seen apart: an old offset with a new time is a
// millisecond older than wanted, the other way round it is measured once more.
constexpr uint64_t kMaxOffsetAge = 1'000'000;
std::atomic<uint64_t> g_offset{0};
std::atomic<uint64_t> g_offset_taken{0};

// Both clocks at one moment: the wall clock between two near readings of the other.
uint64_t measure_wall_offset() noexcept {
  uint64_t best = UINT64_MAX, offset = 0;
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = steady_now();
    const uint64_t wall = wall_now();
    const uint64_t gap = steady_now() - before;
    if (gap < best) {
      best = gap;
      offset = wall - (before + gap / 2);
    }
    if (gap < 1000) break;
  }
  return offset;
}

uint64_t wall_offset(uint64_t steady) noexcept {
  const uint64_t age = steady - g_offset_taken.load(std::memory_order_acquire);
  if (age < kMaxOffsetAge) return g_offset.load(std::memory_order_relaxed);
  const uint64_t offset = measure_wall_offset();
  g_offset.store(offset, std::memory_order_relaxed);
  g_offset_taken.store(steady, std::memory_order_release);
  return offset;
}

size_t mix(uint64_t alias, uint64_t fingerprint) noexcept {
  const uint64_t hash = (fingerprint ^ std::rotl(alias, 32)) * 0x9E3779B97F4A7C15ULL;
  return static_cast<size_t>(hash ^ (hash >> 32));
}

bool allowed(const RepeatedQuery& query) {
  const std::vector<std::string>& patterns = n_plus_one_options().allow;
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return mask::matches_shell_pattern(pattern, query.statement) ||
           (!query.sites.empty() &&
            mask::matches_shell_pattern(pattern, query.sites.front().relation));
  });
}

// What was in force once may still be read: it stays, linked, where leak checkers find it.
struct KeptOptions {
  NPlusOneOptions options;
  const KeptOptions* before = nullptr;
};
const KeptOptions kDefaultOptions;
std::atomic<const KeptOptions*> g_options{&kDefaultOptions};

}  // namespace

const NPlusOneOptions& n_plus_one_options() noexcept {
  return g_options.load(std::memory_order_acquire)->options;
}

void set_n_plus_one_options(NPlusOneOptions options) {
  if (options == n_plus_one_options()) return;
  auto* fresh = new KeptOptions{std::move(options), g_options.load(std::memory_order_acquire)};
  while (!g_options.compare_exchange_weak(fresh->before, fresh, std::memory_order_acq_rel)) {
  }
}

LocalRoot::LocalRoot(uint64_t steady) noexcept
    : anchor_steady_(steady), wall_offset_(wall_offset(steady)) {}

Ref<LocalRoot> LocalRoot::create() noexcept { return create(steady_now()); }

Ref<LocalRoot> LocalRoot::create(uint64_t steady) noexcept {
  return Ref<LocalRoot>::adopt(new (std::nothrow) LocalRoot(steady));
}

void LocalRoot::restart(uint64_t steady) noexcept {
  anchor_steady_ = steady;
  wall_offset_ = wall_offset(steady);
  spans_.store(0, std::memory_order_relaxed);
  dropped_.store(0, std::memory_order_relaxed);
  noted_.store(false, std::memory_order_relaxed);
  errors_.store(false, std::memory_order_relaxed);
  fate_.store(Fate::kSampler, std::memory_order_relaxed);
  tail_.reset();
  batches_.clear();
  if (query_count() == 0) return;
  query_count_.store(0, std::memory_order_relaxed);
  used_ = 0;
  std::vector<Slot>().swap(slots_);
}

uint64_t LocalRoot::wall_at(uint64_t steady) const noexcept {
  return steady - anchor_steady_ < kMaxAnchorAge ? wall_offset_ + steady : wall_now();
}

uint64_t LocalRoot::now() const noexcept { return wall_at(steady_now()); }

bool LocalRoot::reserve_span(bool serialised) noexcept {
  if (serialised) {
    const uint32_t spans = spans_.load(std::memory_order_relaxed);
    if (spans < kMaxSpans) {
      spans_.store(spans + 1, std::memory_order_relaxed);
      return true;
    }
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  if (spans_.fetch_add(1, std::memory_order_relaxed) < kMaxSpans) return true;
  spans_.fetch_sub(1, std::memory_order_relaxed);
  dropped_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void LocalRoot::fold(const FoldedSpan& span) noexcept {
  std::lock_guard guard(lock_);
  if (!tail_) tail_.reset(new (std::nothrow) Tail);
  if (tail_) tail_->fold(span);
}

std::vector<Tail::Group> LocalRoot::folded() const {
  std::lock_guard guard(lock_);
  return tail_ ? tail_->groups() : std::vector<Tail::Group>();
}

void LocalRoot::hold(std::string_view record) noexcept {
  std::lock_guard guard(lock_);
  if (!tail_) tail_.reset(new (std::nothrow) Tail);
  if (tail_) tail_->hold(record);
}

void LocalRoot::settle(bool keep, std::span<RecordSink* const> sinks) noexcept {
  fate_.store(keep ? Fate::kKept : Fate::kDropped, std::memory_order_release);
  std::lock_guard guard(lock_);
  if (!tail_) return;
  if (keep) tail_->publish_held(sinks);
  tail_->drop_held();
}

LocalRoot::Slot* LocalRoot::find(uint64_t alias, uint64_t fingerprint, bool insert) noexcept {
  if (slots_.empty()) {
    if (!insert) return nullptr;
    slots_.resize(kFirstSlots);
  }
  for (;;) {
    const size_t mask = slots_.size() - 1;
    size_t at = mix(alias, fingerprint) & mask;
    for (; slots_[at].count != 0; at = (at + 1) & mask) {
      if (slots_[at].fingerprint == fingerprint && slots_[at].alias == alias) return &slots_[at];
    }
    if (!insert || used_ == kMaxStatements) return nullptr;
    if (used_ * size_t{2} < slots_.size()) {
      ++used_;
      slots_[at].alias = alias;
      slots_[at].fingerprint = fingerprint;
      return &slots_[at];
    }
    grow();
  }
}

void LocalRoot::grow() noexcept {
  std::vector<Slot> old(slots_.size() * size_t{2});
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (Slot& slot : old) {
    if (slot.count == 0) continue;
    size_t at = mix(slot.alias, slot.fingerprint) & mask;
    while (slots_[at].count != 0) at = (at + 1) & mask;
    slots_[at] = std::move(slot);
  }
}

QueryCount LocalRoot::count_query(uint64_t alias, uint64_t fingerprint, uint64_t duration_ns,
                                  std::string_view statement) noexcept {
  std::lock_guard guard(lock_);
  query_count_.store(query_count() + 1, std::memory_order_relaxed);
  Slot* slot = find(alias, fingerprint, true);
  if (slot == nullptr) return {1, false};
  ++slot->count;
  slot->total_duration_ns += duration_ns;
  slot->longest_ns = std::max(slot->longest_ns, duration_ns);
  if (slot->count == 2) slot->statement = statement;
  const bool rare = slot->count <= 6 || std::has_single_bit(slot->count);
  return {slot->count, slot->count >= kFirstRepeatWithSite && rare};
}

void LocalRoot::add_call_site(uint64_t alias, uint64_t fingerprint,
                              const CallSiteView& site) noexcept {
  std::lock_guard guard(lock_);
  Slot* slot = find(alias, fingerprint, false);
  if (slot == nullptr) return;
  if (slot->looked_at++ == 0) slot->parameters = site.parameters;
  if (site.parameters != 0 && site.parameters == slot->parameters) ++slot->same;
  if (site.series) ++slot->series;
  if (site.file.empty()) return;
  for (CallSite& known : slot->sites) {
    if (known.line != site.line || known.file != site.file || known.function != site.function) {
      continue;
    }
    ++known.seen;
    if (known.relation.empty()) known.relation = site.relation;
    if (known.suggestion.empty()) known.suggestion = site.suggestion;
    if (known.via.empty()) known.via = site.via;
    if (known.origin_file.empty()) find_origin(known, site.model);
    return;
  }
  if (slot->sites.size() == kMaxCallSites) return;
  CallSite& added = slot->sites.emplace_back();
  added.file = site.file;
  added.line = site.line;
  added.function = site.function;
  added.relation = site.relation;
  added.suggestion = site.suggestion;
  added.via = site.via;
  added.seen = 1;
  find_origin(added, site.model);
}

void LocalRoot::note_batch(const BatchView& batch) noexcept {
  std::lock_guard guard(lock_);
  const auto known = std::find_if(batches_.begin(), batches_.end(), [&](const Batch& each) {
    return each.line == batch.line && each.model == batch.model && each.file == batch.file;
  });
  if (known != batches_.end()) {
    known->rows = batch.rows;
    std::rotate(known, known + 1, batches_.end());
    return;
  }
  if (batches_.size() == kMaxBatches) batches_.erase(batches_.begin());
  Batch& added = batches_.emplace_back();
  added.model = batch.model;
  added.file = batch.file;
  added.function = batch.function;
  added.owner = batch.owner;
  added.accessor = batch.accessor;
  added.line = batch.line;
  added.rows = batch.rows;
}

const LocalRoot::Batch* LocalRoot::newest_batch(std::string_view model) const noexcept {
  for (auto batch = batches_.rbegin(); batch != batches_.rend(); ++batch) {
    if (batch->model == model) return &*batch;
  }
  return nullptr;
}

// For rows that a related manager fetched, row by row of another list, that other list is what the
// fix belongs to, with the path from it: order.items -> item.product is items__product.
void LocalRoot::find_origin(CallSite& site, std::string_view model) const {
  if (model.empty()) return;
  const Batch* batch = newest_batch(model);
  std::string path;
  for (int depth = 0; batch != nullptr && !batch->accessor.empty() && depth < 4; ++depth) {
    const Batch* outer = newest_batch(batch->owner);
    if (outer == nullptr || outer == batch) break;
    path.insert(0, batch->accessor + "__");
    batch = outer;
  }
  if (batch == nullptr) return;
  const size_t dot = site.relation.find('.');
  if (!path.empty() && dot != std::string::npos) {
    site.suggestion = "prefetch_related(\"" + path + site.relation.substr(dot + 1) + "\")";
  }
  site.origin_file = batch->file;
  site.origin_line = batch->line;
  site.origin_function = batch->function;
  site.origin_rows = batch->rows;
}

NPlusOneResult LocalRoot::n_plus_one(uint32_t threshold) const {
  NPlusOneResult result;
  {
    std::lock_guard guard(lock_);
    result.query_count = query_count();
    for (const Slot& slot : slots_) {
      result.max_repetitions = std::max(result.max_repetitions, slot.count);
      if (slot.count <= threshold) continue;
      if (slot.looked_at != 0 && slot.series == slot.looked_at) continue;
      RepeatedQuery& query = result.flagged.emplace_back();
      query.alias = slot.alias;
      query.fingerprint = slot.fingerprint;
      query.count = slot.count;
      query.total_duration_ns = slot.total_duration_ns;
      const uint64_t kept = slot.longest_ns + slot.total_duration_ns / slot.count;
      query.saved_ns = slot.total_duration_ns > kept ? slot.total_duration_ns - kept : 0;
      query.same_parameters = slot.looked_at > 1 && slot.same == slot.looked_at;
      query.statement = slot.statement;
      query.sites = slot.sites;
    }
  }
  for (RepeatedQuery& query : result.flagged) {
    std::stable_sort(query.sites.begin(), query.sites.end(),
                     [](const CallSite& a, const CallSite& b) { return a.seen > b.seen; });
  }
  std::erase_if(result.flagged, allowed);
  result.potential_n_plus_one = !result.flagged.empty();
  std::sort(result.flagged.begin(), result.flagged.end(), [](const auto& a, const auto& b) {
    return a.count != b.count ? a.count > b.count : a.fingerprint < b.fingerprint;
  });
  return result;
}

}  // namespace nuages::trace
