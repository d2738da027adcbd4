#include "store/ingest.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::store {
namespace {

constexpr std::string_view kComponent = "ingest";
constexpr size_t kMostSpare = 2;                  // one is filled while another is inserted
constexpr auto kIdle = std::chrono::seconds(30);  // then memory goes back to the system

// Validation only: what is accepted is appended to a block later, from the log.
struct NoVisitor {
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span&) {}
};

}  // namespace

Ingest::Ingest(const IngestOptions& options)
    : options_(options), repeat_log_(options.wal.folder), crash_mark_(options.wal.folder) {}

Result<std::unique_ptr<Ingest>> Ingest::open(const IngestOptions& options) {
  std::unique_ptr<Ingest> ingest(new Ingest(options));
  std::vector<SegmentScan> found;
  const uint64_t now = wall_now();
  Result<std::unique_ptr<Wal>> wal =
      Wal::open(options.wal, *ingest, found, [&](const WalRecord& record) {
        ingest->repeats_.stored(record.hash, std::min(record.receive_ns, now));
      });
  if (!wal.ok()) return wal.error();
  ingest->wal_ = std::move(wal).value();
  ingest->repeat_log_.load(
      now, [&](const SeenRequest& seen) { ingest->repeats_.stored(seen.second, seen.first); });
  ingest->quarantined_ = ingest->wal_->damaged_at_open();
  uint64_t rows = 0;
  const uint64_t poisoned = ingest->crash_mark_.poisoned();
  for (const SegmentScan& scan : found) {
    if (scan.id.number == poisoned) {
      log(LogLevel::kError, kComponent,
          "the process crashed twice while " + scan.id.file_name() +
              " was inserted: moved to quarantine, no other data is affected");
      ++ingest->quarantined_;
      ingest->wal_->quarantine(scan.id);
      continue;
    }
    auto segment = std::make_shared<Pending>();
    segment->id = scan.id;
    segment->sealed = true;
    segment->built_ahead = false;
    segment->order = scan.id.number;
    rows += scan.rows;
    ingest->segments_.push_back(std::move(segment));
  }
  if (!found.empty()) {
    log(LogLevel::kInfo, kComponent,
        "replaying " + std::to_string(found.size()) + " segments with " + std::to_string(rows) +
            " spans from " + options.wal.folder);
  }
  ingest->builder_ = std::thread([raw = ingest.get()] { raw->build(); });
  ingest->inserter_ = std::thread([raw = ingest.get()] { raw->insert(); });
  return ingest;
}

Ingest::~Ingest() {
  refusing_ = true;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (builder_.joinable()) builder_.join();
  if (inserter_.joinable()) inserter_.join();
  wal_.reset();  // commits what is queued; its callbacks still find this object whole
}

void Ingest::accept(std::string body, Done done) {
  if (refusing_) {
    done(Error{ErrorCode::kUnavailable, "the server is stopping; retry with another or later"});
    return;
  }
  if (body.size() > kMaxBodySize) {
    done(Error{ErrorCode::kInvalid, "the body is larger than 1 GiB"});
    return;
  }
  NoVisitor visitor;
  const Result<wire::ReadStats> read =
      wire::read_export_trace_request(body, options_.limits, visitor);
  if (!read.ok()) {
    done(read.error());
    return;
  }
  Accepted accepted{read->accepted, read->rejected, read->message(), read->reasons, false};
  if (read->accepted == 0) {
    rejected_ += read->rejected;
    done(std::move(accepted));
    return;
  }
  const BodyHash hash = hash_body(body);
  switch (repeats_.begin(hash)) {
    case RepeatFilter::Seen::kStored:
      repeated_ += read->accepted;
      accepted.repeated = true;
      done(std::move(accepted));
      return;
    case RepeatFilter::Seen::kPending:
      done(Error{ErrorCode::kUnavailable, "the same request is being stored; retry later"});
      return;
    case RepeatFilter::Seen::kNew:
      break;
  }
  WalEntry entry;
  const uint64_t now = wall_now();
  entry.record = make_record(body, hash, now, static_cast<uint32_t>(read->accepted));
  entry.body = std::move(body);
  // Shared, because an Error from append() must still reach `done` after the entry took it.
  auto shared_done = std::make_shared<Done>(std::move(done));
  entry.done = [this, hash, now, accepted = std::move(accepted),
                shared_done](const Status& status) {
    if (!status.ok()) {
      repeats_.failed(hash);
      (*shared_done)(status.error());
      return;
    }
    repeats_.stored(hash, now);
    received_ += accepted.spans;
    rejected_ += accepted.rejected;
    (*shared_done)(accepted);
  };
  if (Status status = wal_->append(std::move(entry)); !status.ok()) {
    repeats_.failed(hash);
    (*shared_done)(status.error());
  }
}

Result<Accepted> Ingest::accept_and_wait(std::string body) {
  std::promise<Result<Accepted>> promise;
  accept(std::move(body),
         [&promise](Result<Accepted> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

void Ingest::set_store(Store& store) {
  {
    const std::lock_guard lock(mutex_);
    store_ = &store;
  }
  changed_.notify_all();
}

uint64_t Ingest::memory_used() const { return step_bytes_ + block_bytes_ + open_bytes_; }

void Ingest::on_commit(const SegmentId& id, std::vector<WalEntry>& entries) {
  {
    const std::lock_guard lock(mutex_);
    if (segments_.empty() || segments_.back()->id.number != id.number) {
      auto segment = std::make_shared<Pending>();
      segment->id = id;
      segment->order = id.number;
      segment->block = take_block();
      segment->builder = std::make_unique<BlockBuilder>(*segment->block);
      segments_.push_back(std::move(segment));
    }
    const PendingPtr& segment = segments_.back();
    uint64_t bytes = 0;
    for (const WalEntry& entry : entries) bytes += entry.body.size();
    if (segment->built_ahead && memory_used() + bytes > options_.max_memory_bytes) {
      segment->built_ahead = false;
    }
    if (!segment->built_ahead) return;
    for (const WalEntry& entry : entries) {
      segment->seen.emplace_back(entry.record.receive_ns, entry.record.hash);
    }
    step_bytes_ += bytes;
    for (WalEntry& entry : entries) entry.record.payload = std::string();
    steps_.push_back({segment, std::move(entries), false});
  }
  changed_.notify_all();
}

// With the mutex.
std::shared_ptr<SpanBlock> Ingest::take_block() {
  if (spare_blocks_.empty()) return std::make_shared<SpanBlock>();
  std::shared_ptr<SpanBlock> block = std::move(spare_blocks_.back());
  spare_blocks_.pop_back();
  return block;
}

void Ingest::keep_block(std::shared_ptr<SpanBlock> block) {
  // A reader may still hold it. Nobody can get at it anew once its segment is out of the queue.
  if (block == nullptr || block.use_count() != 1) return;
  block->clear();
  const std::lock_guard lock(mutex_);
  if (spare_blocks_.size() < kMostSpare) spare_blocks_.push_back(std::move(block));
}

void Ingest::on_seal(const SegmentId& id) {
  {
    const std::lock_guard lock(mutex_);
    if (segments_.empty() || segments_.back()->id.number != id.number) return;
    steps_.push_back({segments_.back(), {}, true});
  }
  changed_.notify_all();
}

void Ingest::append_body(BlockBuilder& builder, const WalRecord& record,
                         std::string_view body) const {
  builder.set_receive_time(record.receive_ns);
  const Result<wire::ReadStats> read =
      wire::read_export_trace_request(body, options_.limits, builder);
  if (!read.ok()) {  // it was validated before it was logged
    log(LogLevel::kError, kComponent, "a logged request does not decode: " + read.error().message);
  }
}

void Ingest::build() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !steps_.empty(); });
    if (steps_.empty()) return;
    BuildStep step = std::move(steps_.front());
    steps_.pop_front();
    lock.unlock();
    build_step(step);
    lock.lock();
  }
}

void Ingest::build_step(BuildStep& step) {
  Pending& segment = *step.segment;
  uint64_t done_bytes = 0;
  uint64_t held_bytes = 0;
  {
    const std::lock_guard content(build_mutex_);
    for (WalEntry& entry : step.entries) {
      if (segment.block != nullptr) append_body(*segment.builder, entry.record, entry.body);
      done_bytes += entry.body.size();
    }
    if (segment.block != nullptr) held_bytes = segment.block->bytes();
  }
  {
    const std::lock_guard lock(mutex_);
    step_bytes_ -= done_bytes;
    if (!segment.built_ahead) {
      // Some of its bodies were passed over: the inserter reads the file instead.
      const std::lock_guard content(build_mutex_);
      segment.block.reset();
      segment.builder.reset();
      held_bytes = 0;
    }
    open_bytes_ = held_bytes;
    if (step.seal) {
      segment.builder.reset();
      segment.sealed = true;
      block_bytes_ += held_bytes;
      open_bytes_ = 0;
    }
  }
  if (step.seal) changed_.notify_all();
}

Result<std::shared_ptr<SpanBlock>> Ingest::block_of(const PendingPtr& segment) const {
  if (segment->block != nullptr) return segment->block;
  auto block = std::make_shared<SpanBlock>();
  BlockBuilder builder(*block);
  const Result<SegmentScan> scan =
      scan_segment(wal_->path(segment->id), [&](const WalRecord& record) {
        const Result<std::string> body = record_body(record);
        if (!body.ok()) {
          log(LogLevel::kError, kComponent, body.error().message);
          return;
        }
        append_body(builder, record, *body);
      });
  if (!scan.ok()) return scan.error();
  return block;
}

// The sealed segment that has waited longest for a try, the oldest first among those not yet tried;
// null, and when to look again (0: at a change), if none is due. A refused one never goes before
// one that was not tried: it would hold them up for as long as it is refused.
Ingest::PendingPtr Ingest::next_segment(uint64_t& wake_ns) const {
  wake_ns = 0;
  if (store_ == nullptr) return nullptr;
  PendingPtr next;
  for (const PendingPtr& segment : segments_) {
    if (!segment->sealed) break;  // only the last ones are open
    if (next == nullptr || segment->next_try_ns < next->next_try_ns) next = segment;
  }
  if (next == nullptr) return nullptr;
  const uint64_t due = std::max(next->next_try_ns, store_next_try_ns_);
  if (due <= steady_now()) return next;
  wake_ns = due;
  return nullptr;
}

void Ingest::insert() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    uint64_t wake = 0;
    const PendingPtr segment = next_segment(wake);
    if (segment == nullptr && wake == 0) {
      if (changed_.wait_for(lock, kIdle) == std::cv_status::timeout && segments_.empty()) {
        spare_blocks_.clear();
        ::malloc_trim(0);
        if (!stop_) changed_.wait(lock);
      }
    } else if (segment == nullptr) {
      const uint64_t now = steady_now();
      changed_.wait_for(lock, std::chrono::nanoseconds(wake > now ? wake - now : 0));
    } else {
      lock.unlock();
      std::vector<PendingPtr> halves;
      const bool done = insert_segment(segment, halves);
      lock.lock();
      if (done) replace(segment, halves);
      if (done) {
        lock.unlock();
        keep_block(std::move(segment->block));
        lock.lock();
      }
    }
  }
}

void Ingest::replace(const PendingPtr& segment, const std::vector<PendingPtr>& halves) {
  if (segment->block != nullptr) block_bytes_ -= segment->block->bytes();
  const auto at = std::find(segments_.begin(), segments_.end(), segment);
  segments_.insert(segments_.erase(at), halves.begin(), halves.end());
  changed_.notify_all();
}

bool Ingest::insert_segment(const PendingPtr& segment, std::vector<PendingPtr>& halves) {
  Store* store = nullptr;
  {
    const std::lock_guard lock(mutex_);
    store = store_;
  }
  Result<std::shared_ptr<SpanBlock>> block = block_of(segment);
  crash_mark_.begin(segment->id.number);
  const Status status =
      block.ok() ? store->insert(**block, segment->id.token()) : Status(block.error());
  crash_mark_.end();
  if (status.ok()) {
    inserted_ += (*block)->rows();
    note_seen(*segment);
    wal_->remove(segment->id);
    const std::lock_guard lock(mutex_);
    store_error_.clear();
    ++taken_;
    refused_in_row_ = 0;
    store_retry_ns_ = store_next_try_ns_ = 0;
    return true;
  }
  {
    const std::lock_guard lock(mutex_);
    store_error_ = status.error().message;
    if (segment->attempts++ == 0) segment->taken_before = taken_;
    const auto later = [&](uint64_t pause) {
      return std::min(std::max(pause * 2, options_.retry_min_ns), options_.retry_max_ns);
    };
    uint64_t pause = options_.retry_min_ns;
    for (int i = 1; i < segment->attempts && pause < options_.retry_max_ns; ++i) {
      pause = later(pause);
    }
    const uint64_t now = steady_now();
    segment->next_try_ns = now + pause;
    if (++refused_in_row_ > 1) {
      store_retry_ns_ = later(store_retry_ns_);
      store_next_try_ns_ = now + store_retry_ns_;
    }
  }
  if (give_up(*segment, status.error(), halves)) {
    const std::lock_guard lock(mutex_);
    store_next_try_ns_ = 0;
    return true;
  }
  log(LogLevel::kWarning, kComponent,
      "inserting " + segment->id.file_name() + " failed, will retry: " + status.error().message);
  return false;
}

// Its hashes must outlive its file.
void Ingest::note_seen(Pending& segment) {
  if (!segment.built_ahead) {
    segment.seen.clear();
    (void)scan_segment(wal_->path(segment.id), [&](const WalRecord& record) {
      segment.seen.emplace_back(record.receive_ns, record.hash);
    });
  }
  if (Status noted = repeat_log_.append(segment.seen, wall_now()); !noted.ok()) {
    log(LogLevel::kWarning, kComponent, noted.error().message);
  }
}

// Whether the segment leaves the queue after this refusal.
bool Ingest::give_up(Pending& segment, const Error& error, std::vector<PendingPtr>& halves) {
  const std::string name = segment.id.file_name();
  if (error.code == ErrorCode::kExhausted && segment.attempts >= options_.exhausted_attempts) {
    Result<std::vector<SegmentScan>> made = wal_->split(segment.id);
    if (made.ok()) {
      for (const SegmentScan& scan : *made) {
        auto half = std::make_shared<Pending>();
        half->id = scan.id;
        half->order = segment.order;
        half->sealed = true;
        half->built_ahead = false;
        halves.push_back(std::move(half));
      }
      ++split_;
      log(LogLevel::kWarning, kComponent,
          "the store has not enough room for " + name + " (" + error.message +
              "): split in two, which are inserted one after another");
      return true;
    }
    if (made.error().code != ErrorCode::kInvalid) {
      log(LogLevel::kError, kComponent, "cannot split " + name + ": " + made.error().message);
    }
  }
  bool refused = error.code == ErrorCode::kInvalid && segment.attempts >= options_.invalid_attempts;
  if (segment.attempts >= options_.internal_attempts) {
    const std::lock_guard lock(mutex_);
    refused |= taken_ > segment.taken_before;  // it is this block, not the store
  }
  if (!refused) return false;
  log(LogLevel::kError, kComponent,
      "the store refuses " + name + " for good (" + error.message +
          "): moved to quarantine, no other data is affected");
  ++quarantined_;
  wal_->quarantine(segment.id);
  return true;
}

bool Ingest::wait_inserted(uint64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  uint64_t last = 0;
  for (const PendingPtr& segment : segments_) {
    if (segment->sealed) last = std::max(last, segment->order);
  }
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] {
    return std::none_of(segments_.begin(), segments_.end(),
                        [&](const PendingPtr& segment) { return segment->order <= last; });
  });
}

bool Ingest::insert_all(uint64_t timeout_ns) {
  wal_->seal();
  std::unique_lock lock(mutex_);
  uint64_t last = 0;
  for (const PendingPtr& segment : segments_) last = std::max(last, segment->order);
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] {
    return std::none_of(segments_.begin(), segments_.end(),
                        [&](const PendingPtr& segment) { return segment->order <= last; });
  });
}

bool Ingest::drain(uint64_t timeout_ns) {
  refusing_ = true;
  wal_->seal();
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns),
                           [this] { return segments_.empty(); });
}

IngestCounters Ingest::counters() const {
  IngestCounters out;
  out.received_spans = received_;
  out.rejected_spans = rejected_;
  out.repeated_spans = repeated_;
  out.inserted_spans = inserted_;
  out.quarantined_blocks = quarantined_;
  out.split_blocks = split_;
  out.wal_segments = wal_->segments();
  out.wal_bytes = wal_->bytes();
  const std::lock_guard lock(mutex_);
  out.waiting_blocks = segments_.size();
  out.store_error = store_error_;
  return out;
}

void Ingest::visit_blocks(const std::function<void(const SpanBlock&)>& visit) const {
  std::vector<std::shared_ptr<SpanBlock>> sealed;
  std::vector<std::shared_ptr<SpanBlock>> growing;
  {
    const std::lock_guard lock(mutex_);
    for (const PendingPtr& segment : segments_) {
      if (segment->block != nullptr) (segment->sealed ? sealed : growing).push_back(segment->block);
    }
  }
  for (const auto& block : sealed) visit(*block);
  const std::lock_guard content(build_mutex_);
  for (const auto& block : growing) visit(*block);
}

}  // namespace nuages::store
