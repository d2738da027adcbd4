// The mask rules of a pipeline as bits, so that another process can mask with them.
//
// A queue outlives its process in a file (export/tmpfs_file.h); whoever sends its spans must hide
// what the dead owner would have hidden. The user's own rules are described by their id: a process
// with the same rules can apply them. Rules that bits cannot describe, bits of a newer version, and
// rules that this process does not have make the spans unsendable. Any thread.
#pragma once

#include <cstdint>

#include "export/batch_encoder.h"
#include "mask/policy.h"

namespace nuages::exporter {

class MaskProfile {
 public:
  constexpr MaskProfile() noexcept = default;  // nothing is masked
  constexpr explicit MaskProfile(uint32_t bits) noexcept : bits_(bits) {}
  static MaskProfile of(const mask::Policy& policy) noexcept;
  static constexpr MaskProfile indescribable() noexcept { return MaskProfile(kIndescribable); }

  constexpr uint32_t bits() const noexcept { return bits_; }
  bool known() const noexcept;
  mask::Policy policy() const;  // only for known() profiles

 private:
  static constexpr uint32_t kEmail = 1, kPhone = 2, kBarePhone = 4, kSsn = 8, kStatements = 16,
                            kCard = 32, kAddress = 64, kUrls = 128, kPrivate = 256;
  static constexpr uint32_t kUserShift = 12;
  static constexpr uint32_t kMostUser = (1U << 19) - 1;
  static constexpr uint32_t kKnown = 511 | kMostUser << kUserShift;
  static constexpr uint32_t kIndescribable = 1U << 31;

  uint32_t bits_ = 0;
};

// What an encoder calls; empty where there is nothing to do.
struct Filters {
  TextFilter mask;
  StatementFilter sql;
  AttributeFilter attribute;
};
Filters filters_of(const mask::Policy& policy);
Filters process_filters();  // follow mask::process_policy()

}  // namespace nuages::exporter
