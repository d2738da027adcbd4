#include "server/intake.h"

#include <utility>

#include "base/clock.h"
#include "server/mask_request.h"
#include "wire/otlp_check.h"

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
  if (signal == wire::Signal::kTraces) {
    if (masking_.any()) body = mask_request(body, masking_);
    return ingest_.accept(std::move(body), [key = std::move(key), done = std::move(done)](
                                               Result<store::Accepted> result) {
      key->count(result);
      done(std::move(result));
    });
  }
  const Result<uint64_t> items = wire::check_export_request(body, signal);
  if (!items.ok()) return done(items.error());
  if (*items == 0) return done(store::Accepted{});
  dropped_[static_cast<size_t>(signal)] += *items;
  store::Accepted none;
  none.rejected = *items;
  none.message = "this server keeps traces only: the ";
  none.message.append(wire::signal_name(signal)).append(" were dropped");
  done(std::move(none));
}

IntakeCounters Intake::counters() const {
  IntakeCounters out;
  for (size_t i = 0; i < wire::kSignals; ++i) out.dropped[i] = dropped_[i];
  return out;
}

}  // namespace nuages::server
