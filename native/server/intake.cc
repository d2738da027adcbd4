#include "server/intake.h"

#include <utility>

#include "wire/otlp_check.h"

namespace nuages::server {

void Intake::accept(wire::Signal signal, std::string body, Done done) {
  if (signal == wire::Signal::kTraces) return ingest_.accept(std::move(body), std::move(done));
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
