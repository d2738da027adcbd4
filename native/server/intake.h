// Where the receivers bring every request, whatever protocol it came by: traces go to the store's
// ingest, logs and metrics are checked, counted and dropped, and their sender is told.
//
// Thread-safe. The Ingest must outlive it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "store/ingest.h"
#include "wire/otlp_fields.h"

namespace nuages::server {

// By signal: wire::Signal is the index.
struct IntakeCounters {
  std::array<uint64_t, wire::kSignals> dropped{};  // items that nothing here keeps
};

class Intake {
 public:
  using Done = store::Ingest::Done;

  explicit Intake(store::Ingest& ingest) : ingest_(ingest) {}

  // Takes one uncompressed Export...ServiceRequest. `done` is called exactly once, on this or
  // another thread, and must not block.
  void accept(wire::Signal signal, std::string body, Done done);

  IntakeCounters counters() const;

 private:
  store::Ingest& ingest_;
  std::array<std::atomic<uint64_t>, wire::kSignals> dropped_{};
};

}  // namespace nuages::server
