// The thread's side of Exporter, third part: send what killed processes left behind.
#include "export/adoption.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "export/exporter.h"

namespace nuages::exporter {

bool Exporter::may_adopt() {
  // While our own receiver is away it is theirs too.
  return config_.survival.enabled && trouble_since_ == 0 && adoption_.due(steady_now());
}

uint64_t Exporter::adoption_wait(uint64_t now) const {
  if (!config_.survival.enabled || trouble_since_ != 0) return UINT64_MAX;
  return adoption_.next_scan > now ? adoption_.next_scan - now : 1;
}

// One step: a scan, the opening of a file, or the sending of one batch.
void Exporter::adopt() {
  try {
    if (adoption_.orphan) return send_orphan(*adoption_.orphan);
    if (!adoption_.places.empty()) {
      adoption_.sent = 0;
      adoption_.orphan = Orphan::adopt(adoption_.places.front(), memory_.audience());
      adoption_.places.pop_front();
      return;
    }
    OrphanScan scan = scan_orphans(config_.survival.directories, memory_.audience(), {});
    adoption_.places.assign(scan.mine.begin(), scan.mine.end());
    adoption_.recheck = scan.recheck;
    adoption_.next_scan = steady_now() + config_.survival.scan_interval_ms * uint64_t{1'000'000};
    if (queue_.pending() != 0) adoption_.idle_rechecks = 0;
    if (scan.removed_unsent != 0) {
      log(LogLevel::kWarning, "export",
          std::to_string(scan.removed_unsent) +
              " files with spans of killed processes were removed unsent: nobody of their service "
              "came in time, or there were too many");
    }
  } catch (const std::bad_alloc&) {
    adoption_.give_back();
    adoption_.next_scan = steady_now() + Adoption::kRetryInterval;
  }
}

void Exporter::send_orphan(Orphan& orphan) {
  const Orphan::Request request =
      orphan.next(std::max(config_.max_export_batch_size, 1U), config_.max_request_bytes);
  if (request.body.empty()) {
    orphan.remove();
    if (adoption_.sent + orphan.unsendable() != 0) {
      log(LogLevel::kInfo, "export",
          "process " + std::to_string(orphan.pid()) + " was killed; " +
              std::to_string(adoption_.sent) + " spans that it left behind were sent, " +
              std::to_string(orphan.unsendable()) + " could not be");
    }
    std::lock_guard lock(mutex_);
    counters_.adopted_lost += orphan.unsendable();
    adoption_.orphan.reset();
    return;
  }
  std::string error;
  net::SendResult result;
  if (ensure_client(error)) {
    result = client_->send(request.body, steady_now() + Adoption::kSendTimeout);
  }
  std::lock_guard lock(mutex_);
  counters_.bytes += result.bytes_sent;
  switch (result.outcome) {
    case net::Outcome::kSuccess: {
      const uint64_t rejected = std::min<uint64_t>(result.rejected_spans, request.spans);
      counters_.adopted += request.spans - rejected;
      counters_.adopted_lost += rejected;
      adoption_.sent += request.spans - rejected;
      orphan.settled();
      return;
    }
    case net::Outcome::kPermanent:
      counters_.adopted_lost += request.spans;
      orphan.settled();
      return;
    case net::Outcome::kAborted:
      if (client_ && !stopping_) client_->reset_interrupt();
      break;
    case net::Outcome::kRetry:
      break;
  }
  adoption_.give_back();
  adoption_.next_scan = steady_now() + Adoption::kRetryInterval;
}

}  // namespace nuages::exporter
