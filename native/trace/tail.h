// Tail: what a local trace keeps for its end. Made only by traces that need it.
//
// Folding: spans beyond LocalRoot::kMaxSpans become one group for each name, kind and scope, with
// an exact count; of leaves also the exact total, longest and error count. Spans that would have
// had children are counted, their time is not known. Holding: an unsampled trace that may be kept
// after all (KeepRules) holds its finished records until the local root ends. What is beyond
// kMostHeld is left out, newest first, and counted.
//
// No lock: LocalRoot holds one around each call.
// Source: R15.05, requirements on traces of more than 10,000 spans.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/sink.h"
#include "wire/otlp_model.h"

namespace nuages::trace {

// When an unsampled trace is kept: a process-wide setting. The trace flags that it hands on stay
// unsampled, so that every process decides alike.
struct KeepRules {
  bool errors = false;      // a span ended with status ERROR
  bool n_plus_one = false;  // potential N+1 queries
  uint64_t slow_ns = 0;     // the local root lasted that long; 0: no such rule
  bool any() const noexcept { return errors || n_plus_one || slow_ns != 0; }
};
KeepRules keep_rules() noexcept;
void set_keep_rules(const KeepRules& rules) noexcept;

struct FoldedSpan {
  uint32_t scope = 0;
  wire::SpanKind kind = wire::SpanKind::kInternal;
  std::string_view name = {};
  uint64_t start_ns = 0;
  uint64_t duration_ns = 0;  // 0: unknown
  bool error = false;
};

class Tail {
 public:
  static constexpr size_t kMostGroups = 256;  // then one group for all other names
  static constexpr size_t kMostHeld = size_t{1} << 20;

  struct Group {
    uint32_t scope = 0;
    wire::SpanKind kind = wire::SpanKind::kInternal;
    std::string name;
    uint64_t count = 0;
    uint64_t total_ns = 0;
    uint64_t longest_ns = 0;
    uint64_t errors = 0;
    uint64_t first_ns = 0;  // start of the first
    uint64_t last_ns = 0;   // end of the last
  };

  void fold(const FoldedSpan& span);
  const std::vector<Group>& groups() const { return groups_; }

  void hold(std::string_view record);
  void drop_held();
  uint32_t left_out() const { return left_out_; }
  void publish_held(std::span<RecordSink* const> sinks) const;

 private:
  std::vector<Group> groups_;
  std::string held_;  // records, one after the other; each begins with its size
  uint32_t left_out_ = 0;
};

}  // namespace nuages::trace
