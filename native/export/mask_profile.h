// The mask rules of a pipeline as bits, so that another process can mask with them.
//
// A queue outlives its process in a file (export/tmpfs_file.h); whoever sends its spans must hide
// what the dead owner would have hidden. Rules that bits cannot describe, and bits of a newer
// version, make the spans unsendable. Pure, any thread.
#pragma once

#include <cstdint>

#include "export/batch_encoder.h"
#include "mask/redact.h"

namespace nuages::exporter {

class MaskProfile {
 public:
  constexpr MaskProfile() noexcept = default;  // nothing is masked
  constexpr explicit MaskProfile(uint32_t bits) noexcept : bits_(bits) {}
  // `statements`: literals are taken out of SQL.
  static MaskProfile of(const mask::Rules& rules, bool statements) noexcept;
  static constexpr MaskProfile indescribable() noexcept { return MaskProfile(kIndescribable); }

  constexpr uint32_t bits() const noexcept { return bits_; }
  constexpr bool known() const noexcept { return (bits_ & ~kKnown) == 0; }
  // Empty when there is nothing to do. Only for known() profiles.
  TextFilter text_filter() const;
  StatementFilter statement_filter() const;

 private:
  static constexpr uint32_t kEmail = 1, kPhone = 2, kBarePhone = 4, kSsn = 8, kStatements = 16;
  static constexpr uint32_t kKnown = 31;
  static constexpr uint32_t kIndescribable = 1U << 31;

  uint32_t bits_ = 0;
};

}  // namespace nuages::exporter
