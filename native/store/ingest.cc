#include "store/ingest.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::store {
namespace {

constexpr std::string_view kComponent = "ingest";

// Validation only: what is accepted is appended to a block later, from the log.
struct NoVisitor {
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span&) {}
};

}  // namespace

Ingest::Ingest(const IngestOptions& options) : options_(options) {}

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
  uint64_t rows = 0;
  for (const SegmentScan& scan : found) {
    auto segment = std::make_shared<Pending>();
    segment->id = scan.id;
    segment->sealed = true;
    segment->built_ahead = false;
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
  Accepted accepted{read->accepted, read->rejected, read->message()};
  if (read->accepted == 0) {
    rejected_ += read->rejected;
    done(std::move(accepted));
    return;
  }
  const BodyHash hash = hash_body(body);
  switch (repeats_.begin(hash)) {
    case RepeatFilter::Seen::kStored:
      repeated_ += read->accepted;
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
      segment->block = std::make_shared<SpanBlock>();
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
    step_bytes_ += bytes;
    for (WalEntry& entry : entries) entry.record.payload = std::string();
    steps_.push_back({segment, std::move(entries), false});
  }
  changed_.notify_all();
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

void Ingest::insert() {
  uint64_t retry_ns = options_.retry_min_ns;
  int attempts = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] {
      return stop_ || (store_ != nullptr && !segments_.empty() && segments_.front()->sealed);
    });
    if (stop_) return;
    const PendingPtr segment = segments_.front();
    lock.unlock();
    const bool done = insert_segment(segment, attempts);
    lock.lock();
    if (!done) {
      changed_.wait_for(lock, std::chrono::nanoseconds(retry_ns), [this] { return stop_; });
      retry_ns = std::min(retry_ns * 2, options_.retry_max_ns);
      continue;
    }
    if (segment->block != nullptr) block_bytes_ -= segment->block->bytes();
    segments_.pop_front();
    retry_ns = options_.retry_min_ns;
    attempts = 0;
    changed_.notify_all();
  }
}

bool Ingest::insert_segment(const PendingPtr& segment, int& attempts) {
  Store* store = nullptr;
  {
    const std::lock_guard lock(mutex_);
    store = store_;
  }
  Result<std::shared_ptr<SpanBlock>> block = block_of(segment);
  const Status status =
      block.ok() ? store->insert(**block, segment->id.token()) : Status(block.error());
  {
    const std::lock_guard lock(mutex_);
    store_error_ = status.ok() ? "" : status.error().message;
  }
  const std::string name = segment->id.file_name();
  if (status.ok()) {
    inserted_ += (*block)->rows();
    wal_->remove(segment->id);
    return true;
  }
  const ErrorCode code = status.error().code;
  const bool refused = code == ErrorCode::kInvalid || code == ErrorCode::kInternal;
  const int limit =
      code == ErrorCode::kInvalid ? options_.invalid_attempts : options_.internal_attempts;
  if (refused && ++attempts >= limit) {
    log(LogLevel::kError, kComponent,
        "the store refuses " + name + " for good (" + status.error().message +
            "): moved to quarantine, no other data is affected");
    ++quarantined_;
    wal_->quarantine(segment->id);
    return true;
  }
  log(LogLevel::kWarning, kComponent,
      "inserting " + name + " failed, will retry: " + status.error().message);
  return false;
}

bool Ingest::wait_inserted(uint64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  uint64_t last = 0;
  for (const PendingPtr& segment : segments_) {
    if (segment->sealed) last = segment->id.number;
  }
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] {
    return segments_.empty() || segments_.front()->id.number > last;
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
