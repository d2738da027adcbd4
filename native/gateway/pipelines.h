// The pipelines of one configuration: each request goes through the processors of every pipeline of
// its signal and to their exporters, and is acknowledged when all of them have it safe.
//
// A pipeline of nothing but the store passes requests on untouched, so a server without a
// configuration file costs nothing more. Without the exporter nuages nothing is stored. The answer
// counts the spans that were refused; spans that a filter drops are no refusal. When one exporter
// cannot take a request its sender is told to come again, and the others may then get it twice (the
// store recognises it).
//
// Threading: accept() and counters() from any thread. Pipelines are immutable: a reload makes new
// ones that take over the forwarders with their queues, and stop() ends those of no use any more.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/config.h"
#include "gateway/forwarder.h"
#include "gateway/processing.h"
#include "store/ingest.h"

namespace nuages::gateway {

struct ExporterCounters {
  std::string name;
  ForwardCounters counters;
};

// Counted over all configurations of the process.
struct SignalCounters {
  std::array<std::atomic<uint64_t>, wire::kSignals> unrouted{};  // items that no pipeline takes
  std::array<std::atomic<uint64_t>, wire::kSignals> filtered{};
};

class Pipelines {
 public:
  using Done = store::Ingest::Done;

  // `ingest` is null where nothing is stored. Forwarders of `former` with the same configuration
  // are taken over; queues of new ones lie in `data`/queue.
  static Result<std::shared_ptr<Pipelines>> open(const Config& config, store::Ingest* ingest,
                                                 const std::string& data, SignalCounters& counters,
                                                 const Pipelines* former);

  // Takes one uncompressed Export...ServiceRequest. `done` is called exactly once, on this or
  // another thread, and must not block.
  void accept(wire::Signal signal, std::string body, Done done) const;

  std::vector<ExporterCounters> exporters() const;
  bool stores() const { return stores_; }

  // Ends the forwarders that `successor` (may be null) did not take over. True: nothing waits.
  bool stop(uint64_t deadline_ns, const Pipelines* successor) const;

 private:
  struct Route {
    std::string name;
    std::shared_ptr<const Processing> processing;
    bool to_store = false;
    std::vector<std::shared_ptr<Target>> targets;  // besides the store
  };
  struct NamedForwarder {
    std::string name;
    std::string folder;
    std::string source;
    std::shared_ptr<Forwarder> forwarder;
  };

  Pipelines(store::Ingest* ingest, SignalCounters& counters)
      : ingest_(ingest), counters_(counters) {}
  Status add(const Config& config, const PipelineConfig& pipeline, const std::string& data,
             const Pipelines* former);
  Result<std::shared_ptr<Target>> target(const Config& config, const PipelineConfig& pipeline,
                                         const std::string& name, const std::string& data,
                                         const Pipelines* former);
  void pass(const Route& route, wire::Signal signal, std::string body,
            const std::shared_ptr<class Answer>& answer) const;

  store::Ingest* ingest_;
  SignalCounters& counters_;
  bool stores_ = false;
  std::array<std::vector<Route>, wire::kSignals> routes_;
  std::vector<NamedForwarder> forwarders_;
  std::vector<std::function<void()>> changes_;  // for when all of it is open
};

}  // namespace nuages::gateway
