// The exporters otlp and otlphttp: a queue on the disk and a thread that sends from it.
//
//   accept() -> store/wal (group commit, fsync) -> done: acknowledged
//     -> sender: the same bodies, in order, merged to batches, with retries -> segment deleted
//
// Nothing acknowledged is lost: what is not delivered at the end of the process is sent by the next
// one, from its queue folder. A segment of the queue is sent again from its beginning after a
// crash, so a receiver may see up to a second of requests twice. Above its bounds (requests, bytes)
// accept() answers kExhausted, which clients see as "retry later". Bodies wait in memory up to
// kMaxMemory; beyond it they are read back from the disk when their turn comes.
//
// Retries are endless unless max_elapsed_time is set; a request that the receiver refuses for good
// is dropped, counted and logged. Threading: accept() and counters() from any thread. stop() ends
// sending at its deadline; destroy afterwards.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gateway/config.h"
#include "gateway/target.h"
#include "net/otlp_client.h"
#include "store/wal.h"

namespace nuages::gateway {

struct ForwardCounters {
  uint64_t sent_items = 0;      // the receiver has them
  uint64_t dropped_items = 0;   // refused for good, or out of retries
  uint64_t rejected_items = 0;  // by partial success
  uint64_t failed_attempts = 0;
  uint64_t queued_requests = 0;
  uint64_t queued_bytes = 0;  // on the disk
};

class Forwarder final : public Target, private store::WalObserver {
 public:
  // Opens the queue in `folder` and starts sending what a former process left in it. `batch`: merge
  // requests; without it each is sent as it came.
  static Result<std::unique_ptr<Forwarder>> open(std::string name, const ForwardConfig& config,
                                                 const std::optional<BatchConfig>& batch,
                                                 const std::string& folder);
  ~Forwarder() override;

  void accept(wire::Signal signal, std::string body, uint64_t items, Done done) override;
  ForwardCounters counters() const;
  const std::string& name() const { return name_; }

  // Takes another configuration for what is sent from now on; the queue stays what it is.
  void configure(const ForwardConfig& config, const std::optional<BatchConfig>& batch);

  // Sends until nothing waits or the deadline (steady time), then no more. True: nothing waits.
  bool stop(uint64_t deadline_ns);

 private:
  struct Item {
    wire::Signal signal = wire::Signal::kTraces;
    uint64_t items = 0;
    std::string body;
  };
  struct Segment {
    store::SegmentId id;
    bool sealed = false;
    bool in_memory = true;
    bool sending = false;    // some of its items are on their way
    std::deque<Item> items;  // not yet sent, when in memory
  };
  Forwarder(std::string name, const ForwardConfig& config, const std::optional<BatchConfig>& batch);
  void on_commit(const store::SegmentId& id, std::vector<store::WalEntry>& entries) override;
  void on_seal(const store::SegmentId& id) override;
  void run();
  bool load(Segment& segment);
  std::vector<Item> next_batch(std::unique_lock<std::mutex>& lock, Segment& segment);
  bool deliver(std::vector<Item> batch);
  void remove_sent();
  bool send(wire::Signal signal, const std::string& body, uint64_t items);
  void take_settings();
  bool pause(uint64_t nanoseconds);
  net::OtlpClient* client(wire::Signal signal);
  void note_failure(const std::string& message, bool lost);
  static bool decode(std::string_view record, Item& out);

  const std::string name_;
  struct Settings {
    Settings(const ForwardConfig& forward, const std::optional<BatchConfig>& wanted)
        : config(forward), batches(wanted.has_value()), batch(wanted.value_or(BatchConfig{})) {}
    ForwardConfig config;
    bool batches;
    BatchConfig batch;  // when it does
  };
  std::shared_ptr<const Settings> settings_;  // of the sender's thread
  std::unique_ptr<store::Wal> wal_;
  // By signal where it has a URL of its own, else the last; the sender's thread only.
  std::unique_ptr<net::OtlpClient> clients_[wire::kSignals + 1];

  std::atomic<uint64_t> queue_requests_;
  std::atomic<uint64_t> sent_{0}, dropped_{0}, rejected_{0}, failed_{0}, queued_{0};
  uint64_t logged_ns_ = 0;  // the sender's thread only

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<std::shared_ptr<Segment>> segments_;
  uint64_t memory_ = 0;
  std::shared_ptr<const Settings> wanted_;  // what configure() gave last
  bool draining_ = false;                   // no more waiting for a fuller batch
  bool stop_ = false;
  net::OtlpClient* sending_ = nullptr;  // to be interrupted
  std::thread thread_;
};

}  // namespace nuages::gateway
