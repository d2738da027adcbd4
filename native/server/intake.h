// Where the receivers bring every request, whatever protocol it came by: the sender's key is looked
// at, personal data is taken out where that is asked for, and the pipelines take it on.
//
// Thread-safe. The pipelines may be exchanged while requests come: each request ends in those that
// it began with.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "gateway/pipelines.h"
#include "mask/policy.h"
#include "server/keys.h"
#include "wire/otlp_fields.h"

namespace nuages::server {

class Intake {
 public:
  using Done = store::Ingest::Done;
  using PipelinesPtr = std::shared_ptr<const gateway::Pipelines>;

  // Without keys every sender is let in.
  // With a masking policy personal data is taken out before anything is written down.
  explicit Intake(PipelinesPtr pipelines, Keys* keys = nullptr, const mask::Policy& masking = {})
      : pipelines_(std::move(pipelines)), keys_(keys), masking_(masking) {}

  // Before anything of a request is decoded: whose is it, and may it send now? Errors: kDenied for
  // a missing or wrong key, kExhausted above the key's rate.
  Result<std::shared_ptr<KeyUse>> admit(std::string_view authorization, std::string_view api_key);

  // Takes one uncompressed Export...ServiceRequest of an admitted sender. `done` is called exactly
  // once, on this or another thread, and must not block.
  void accept(wire::Signal signal, std::string body, std::shared_ptr<KeyUse> key, Done done);

  PipelinesPtr pipelines() const;
  // Returns the former ones.
  PipelinesPtr exchange(PipelinesPtr pipelines);

 private:
  mutable std::mutex mutex_;  // of the pointer alone
  PipelinesPtr pipelines_;
  Keys* keys_;
  const mask::Policy masking_;
  std::shared_ptr<KeyUse> nobody_ = std::make_shared<KeyUse>("none", 0);
};

}  // namespace nuages::server
