#include "trace/tail.h"

#include <algorithm>
#include <atomic>

#include "trace/record.h"

namespace nuages::trace {
namespace {

constexpr std::string_view kOthers = "other spans";

std::atomic<bool> g_keep_errors{false}, g_keep_n_plus_one{false};
std::atomic<uint64_t> g_keep_slow{0};

}  // namespace

KeepRules keep_rules() noexcept {
  return {g_keep_errors.load(std::memory_order_relaxed),
          g_keep_n_plus_one.load(std::memory_order_relaxed),
          g_keep_slow.load(std::memory_order_relaxed)};
}

void set_keep_rules(const KeepRules& rules) noexcept {
  g_keep_errors.store(rules.errors, std::memory_order_relaxed);
  g_keep_n_plus_one.store(rules.n_plus_one, std::memory_order_relaxed);
  g_keep_slow.store(rules.slow_ns, std::memory_order_relaxed);
}

void Tail::fold(const FoldedSpan& span) {
  const auto is = [&](const Group& group, std::string_view name) {
    return group.name == name && group.kind == span.kind && group.scope == span.scope;
  };
  auto group = std::find_if(groups_.begin(), groups_.end(),
                            [&](const Group& each) { return is(each, span.name); });
  if (group == groups_.end() && groups_.size() >= kMostGroups) {
    group = std::find_if(groups_.begin(), groups_.end(),
                         [](const Group& each) { return each.name == kOthers; });
  }
  if (group == groups_.end()) {
    groups_.emplace_back();
    group = groups_.end() - 1;
    group->scope = span.scope;
    group->kind = span.kind;
    group->name = groups_.size() > kMostGroups ? kOthers : span.name;
    group->first_ns = span.start_ns;
  }
  ++group->count;
  group->total_ns += span.duration_ns;
  group->longest_ns = std::max(group->longest_ns, span.duration_ns);
  if (span.error) ++group->errors;
  group->first_ns = std::min(group->first_ns, span.start_ns);
  group->last_ns = std::max(group->last_ns, span.start_ns + span.duration_ns);
}

void Tail::hold(std::string_view record) {
  if (held_.size() + record.size() > kMostHeld) {
    ++left_out_;
    return;
  }
  held_.append(record);
}

void Tail::drop_held() { std::string().swap(held_); }

void Tail::publish_held(std::span<RecordSink* const> sinks) const {
  for (size_t at = 0; at < held_.size();) {
    const auto size = load<uint32_t>(held_.data() + at);
    for (RecordSink* sink : sinks) sink->publish({held_.data() + at, size});
    at += size;
  }
}

}  // namespace nuages::trace
