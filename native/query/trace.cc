#include "query/trace.h"

#include <algorithm>
#include <map>
#include <utility>

namespace nuages::query {
namespace {

using SpanKey = std::pair<TraceId, SpanId>;

uint64_t self_duration_of(const Trace& trace, size_t index) {
  const SpanRecord& span = trace.spans[index];
  std::vector<std::pair<int64_t, int64_t>> covered;
  for (const size_t child : trace.nodes[index].children) {
    const int64_t begin = std::max(span.start, trace.spans[child].start);
    const int64_t end = std::min(span.end(), trace.spans[child].end());
    if (begin < end) covered.emplace_back(begin, end);
  }
  std::sort(covered.begin(), covered.end());
  uint64_t self = span.duration;
  int64_t reached = span.start;
  for (const auto& [begin, end] : covered) {
    const int64_t from = std::max(begin, reached);
    if (end <= from) continue;
    self -= static_cast<uint64_t>(end - from);
    reached = end;
  }
  return self;
}

// Whoever cannot be reached from a root is on or below a cycle. Cutting the first such span (the
// earliest) above frees at least itself, so this ends.
void cut_cycles(Trace& trace) {
  std::vector<bool> reached(trace.spans.size(), false);
  std::vector<size_t> pending = trace.roots;
  size_t first_unreached = 0;
  while (true) {
    while (!pending.empty()) {
      const size_t index = pending.back();
      pending.pop_back();
      if (reached[index]) continue;
      reached[index] = true;
      const auto& children = trace.nodes[index].children;
      pending.insert(pending.end(), children.begin(), children.end());
    }
    while (first_unreached < reached.size() && reached[first_unreached]) ++first_unreached;
    if (first_unreached == reached.size()) return;
    Node& node = trace.nodes[first_unreached];
    std::erase(trace.nodes[node.parent].children, first_unreached);
    node.parent = kNoParent;
    trace.roots.push_back(first_unreached);
    pending.push_back(first_unreached);
  }
}

// Depth-first numbers and entries, parents before children.
void number_nodes(Trace& trace) {
  struct Step {
    size_t index;
    size_t next_child;
  };
  size_t number = 0;
  for (const size_t root : trace.roots) {
    std::vector<Step> path{{root, 0}};
    while (!path.empty()) {
      auto& [index, next_child] = path.back();
      Node& node = trace.nodes[index];
      if (next_child == 0) {
        node.number = number++;
        const size_t above = node.parent == kNoParent ? kNoParent : trace.nodes[node.parent].entry;
        node.entry = trace.spans[index].entry ? index : above;
      }
      if (next_child < node.children.size()) {
        path.push_back({node.children[next_child++], 0});
      } else {
        node.last = number - 1;
        path.pop_back();
      }
    }
  }
}

}  // namespace

bool Trace::complete() const {
  return std::none_of(nodes.begin(), nodes.end(),
                      [](const Node& node) { return node.parent_missing; });
}

Trace assemble(std::vector<SpanRecord> spans) {
  Trace trace;
  trace.spans = std::move(spans);
  trace.nodes.resize(trace.spans.size());
  std::map<SpanKey, size_t> by_id;
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    by_id.try_emplace({trace.spans[i].trace_id, trace.spans[i].span_id}, i);
  }
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    const SpanRecord& span = trace.spans[i];
    const auto parent = by_id.find({span.trace_id, span.parent_id});
    const bool found = span.parent_id != 0 && parent != by_id.end() && parent->second != i;
    trace.nodes[i].parent_missing = span.parent_id != 0 && parent == by_id.end();
    if (found) {
      trace.nodes[i].parent = parent->second;
      trace.nodes[parent->second].children.push_back(i);
    } else {
      trace.roots.push_back(i);
    }
  }
  cut_cycles(trace);
  number_nodes(trace);
  for (size_t i = 0; i < trace.spans.size(); ++i) {
    trace.nodes[i].self_duration = self_duration_of(trace, i);
  }
  return trace;
}

}  // namespace nuages::query
