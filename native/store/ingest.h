// The way of a received request to the store: validate, log, acknowledge, block, insert.
//
//   accept() on a receiving thread: walk the body once to validate it, compress it
//     -> Wal: group commit, then `done` is called (the acknowledgement)
//     -> builder thread: the same bodies, in the log's order, into the block of their segment
//     -> inserter thread: sealed segments, oldest first, into the store; then the file is deleted
//
// A segment of the log is exactly one block of the store and its token is the segment's, so a
// crash at any point repeats at most an insert that the store recognises. Memory is bounded: when
// blocks and waiting bodies exceed `max_memory_bytes` a segment is not built ahead, and the
// inserter reads it back from its file when its turn comes. Without a store (not yet open, or
// failing) requests are accepted until the log has its size limit; then accept() answers
// kExhausted, which clients see as "retry later".
//
// A block that the store refuses waits for its next try while the others go on; after two refusals
// in a row of whatever blocks it is the store that is ill, and all wait. A block too large for the
// store's memory is split in the log. One that the store refuses for good, while it takes others,
// is moved to the log's quarantine folder, logged and counted; so is one in whose insert the
// process crashed twice (store/crash_mark.h).
//
// visit_blocks() shows what is not inserted yet (store/recent_spans.h), except segments that were
// not built ahead.
//
// Threading: all public members may be called from any thread. The store given to set_store() must
// outlive the Ingest.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "store/block_builder.h"
#include "store/crash_mark.h"
#include "store/ingest_repeats.h"
#include "store/recent_spans.h"
#include "store/repeat_log.h"
#include "store/store.h"
#include "store/wal.h"
#include "wire/otlp_reader.h"

namespace nuages::store {

struct IngestOptions {
  WalOptions wal;
  wire::Limits limits;
  uint64_t max_memory_bytes = uint64_t{512} << 20;
  uint64_t retry_min_ns = 200'000'000;
  uint64_t retry_max_ns = 10'000'000'000;
  // A block refused this often goes to quarantine: as invalid, or with any other error while the
  // store takes other blocks.
  int invalid_attempts = 3;
  int internal_attempts = 10;
  int exhausted_attempts = 3;  // refused for lack of memory: then it is split
};

struct Accepted {
  uint64_t spans = 0;
  uint64_t rejected = 0;
  std::string message;                                   // why some were rejected; empty if none
  std::array<uint64_t, wire::kRejectReasons> reasons{};  // the rejected by wire::RejectReason
  bool repeated = false;  // it was stored before and is not stored again
};

struct IngestCounters {
  uint64_t received_spans = 0;  // accepted and not repeated
  uint64_t rejected_spans = 0;
  uint64_t repeated_spans = 0;  // acknowledged, not stored again
  uint64_t inserted_spans = 0;
  uint64_t quarantined_blocks = 0;
  uint64_t split_blocks = 0;
  uint64_t waiting_blocks = 0;
  uint64_t wal_segments = 0;
  uint64_t wal_bytes = 0;
  std::string store_error;  // of the last insert; empty after a good one
};

class Ingest : public RecentSpans, private WalObserver {
 public:
  using Done = std::function<void(Result<Accepted>)>;

  // Opens the log and queues what a former process left in it.
  static Result<std::unique_ptr<Ingest>> open(const IngestOptions& options);
  ~Ingest() override;
  Ingest(const Ingest&) = delete;
  Ingest& operator=(const Ingest&) = delete;

  // Takes one uncompressed ExportTraceServiceRequest. `done` is called exactly once, on this thread
  // or the log's, and must not block.
  void accept(std::string body, Done done);
  Result<Accepted> accept_and_wait(std::string body);

  // From now on sealed blocks are inserted.
  void set_store(Store& store);

  // Waits until everything sealed before the call is in the store. False at the deadline.
  bool wait_inserted(uint64_t timeout_ns);

  // Lets everything accepted before the call be inserted. False at the deadline.
  bool insert_all(uint64_t timeout_ns);
  std::string quarantine_folder() const { return options_.wal.folder + "/quarantine"; }

  // For a graceful stop: refuses new requests, seals, inserts. What is not inserted at the deadline
  // stays in the log for the next start (false).
  bool drain(uint64_t timeout_ns);

  IngestCounters counters() const;
  void visit_blocks(const std::function<void(const SpanBlock&)>& visit) const override;

 private:
  // A segment of the log on its way to the store.
  struct Pending {
    SegmentId id;
    bool sealed = false;
    bool built_ahead = true;
    std::shared_ptr<SpanBlock> block;       // when built ahead
    std::unique_ptr<BlockBuilder> builder;  // until sealed; builder thread only
    uint64_t order = 0;                     // of the segment it was split from
    std::vector<SeenRequest> seen;          // its requests, when built ahead
    int attempts = 0;                       // refused by the store; inserter thread only
    uint64_t taken_before = 0;              // blocks the store had taken at its first refusal
    uint64_t next_try_ns = 0;
  };
  using PendingPtr = std::shared_ptr<Pending>;

  // One step for the builder thread: bodies of a segment, or its seal.
  struct BuildStep {
    PendingPtr segment;
    std::vector<WalEntry> entries;
    bool seal = false;
  };

  explicit Ingest(const IngestOptions& options);
  void on_commit(const SegmentId& segment, std::vector<WalEntry>& entries) override;
  void on_seal(const SegmentId& segment) override;
  void build();
  void build_step(BuildStep& step);
  void append_body(BlockBuilder& builder, const WalRecord& record, std::string_view body) const;
  void insert();
  PendingPtr next_segment(uint64_t& wake_ns) const;
  // True when the segment is done with: inserted, in quarantine, or `halves` took its place.
  bool insert_segment(const PendingPtr& segment, std::vector<PendingPtr>& halves);
  bool give_up(Pending& segment, const Error& error, std::vector<PendingPtr>& halves);
  void note_seen(Pending& segment);
  void replace(const PendingPtr& segment, const std::vector<PendingPtr>& halves);
  Result<std::shared_ptr<SpanBlock>> block_of(const PendingPtr& segment) const;
  uint64_t memory_used() const;
  std::shared_ptr<SpanBlock> take_block();
  void keep_block(std::shared_ptr<SpanBlock> block);

  const IngestOptions options_;
  RepeatFilter repeats_;
  RepeatLog repeat_log_;
  CrashMark crash_mark_;
  std::unique_ptr<Wal> wal_;

  std::atomic<bool> refusing_{false};
  std::atomic<uint64_t> received_{0}, rejected_{0}, repeated_{0}, inserted_{0}, quarantined_{0},
      split_{0};

  mutable std::mutex mutex_;  // all below
  mutable std::condition_variable changed_;
  std::deque<PendingPtr> segments_;  // oldest first
  std::deque<BuildStep> steps_;
  std::vector<std::shared_ptr<SpanBlock>> spare_blocks_;  // emptied, for the next segments
  uint64_t step_bytes_ = 0;                               // bodies in steps_
  uint64_t block_bytes_ = 0;                              // sealed blocks in segments_
  uint64_t open_bytes_ = 0;                               // the block being built
  Store* store_ = nullptr;
  std::string store_error_;
  uint64_t taken_ = 0;  // blocks inserted
  int refused_in_row_ = 0;
  uint64_t store_retry_ns_ = 0;  // the pause while the store refuses everything
  uint64_t store_next_try_ns_ = 0;
  bool stop_ = false;

  mutable std::mutex build_mutex_;  // content of blocks that are not sealed
  std::thread builder_;
  std::thread inserter_;
};

}  // namespace nuages::store
