// Where the receivers bring every request, whatever protocol it came by: traces go to the store's
// ingest, logs and metrics are checked, counted and dropped, and their sender is told.
//
// Thread-safe. The Ingest must outlive it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mask/policy.h"
#include "server/keys.h"
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

  // Without keys every sender is let in.
  // With a masking policy personal data is taken out before anything is written down.
  explicit Intake(store::Ingest& ingest, Keys* keys = nullptr, const mask::Policy& masking = {})
      : ingest_(ingest), keys_(keys), masking_(masking) {}

  // Before anything of a request is decoded: whose is it, and may it send now? Errors: kDenied for
  // a missing or wrong key, kExhausted above the key's rate.
  Result<std::shared_ptr<KeyUse>> admit(std::string_view authorization, std::string_view api_key);

  // Takes one uncompressed Export...ServiceRequest of an admitted sender. `done` is called exactly
  // once, on this or another thread, and must not block.
  void accept(wire::Signal signal, std::string body, std::shared_ptr<KeyUse> key, Done done);

  IntakeCounters counters() const;

 private:
  store::Ingest& ingest_;
  Keys* keys_;
  const mask::Policy masking_;
  std::shared_ptr<KeyUse> nobody_ = std::make_shared<KeyUse>("none", 0);
  std::array<std::atomic<uint64_t>, wire::kSignals> dropped_{};
};

}  // namespace nuages::server
