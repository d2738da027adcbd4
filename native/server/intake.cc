#include "server/intake.h"

#include <utility>

#include "base/clock.h"
#include "server/mask_request.h"

namespace nuages::server {

Result<std::shared_ptr<KeyUse>> Intake::admit(std::string_view authorization,
                                              std::string_view api_key) {
  if (keys_ == nullptr) return nobody_;
  auto key = keys_->check(Scope::kIngest, authorization, api_key);
  if (key.ok() && !(*key)->may_send(steady_now())) {
    (*key)->count(Refusal::kRate);
    return Error{ErrorCode::kExhausted, "the key " + (*key)->id() +
                                            " has reached its limit of spans per second; retry "
                                            "later"};
  }
  return key;
}

void Intake::accept(wire::Signal signal, std::string body, std::shared_ptr<KeyUse> key, Done done) {
  if (signal == wire::Signal::kTraces && masking_.any()) body = mask_request(body, masking_);
  pipelines()->accept(
      signal, std::move(body),
      [signal, key = std::move(key), done = std::move(done)](Result<store::Accepted> result) {
        if (signal == wire::Signal::kTraces || !result.ok()) key->count(result);
        done(std::move(result));
      });
}

Intake::PipelinesPtr Intake::pipelines() const {
  const std::lock_guard lock(mutex_);
  return pipelines_;
}

Intake::PipelinesPtr Intake::exchange(PipelinesPtr pipelines) {
  const std::lock_guard lock(mutex_);
  return std::exchange(pipelines_, std::move(pipelines));
}

}  // namespace nuages::server
