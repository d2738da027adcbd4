#include "query/tree.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <unordered_set>
#include <utility>

namespace nuages::query {
namespace {

constexpr size_t kMaxLabel = 300;
constexpr size_t kMaxIndent = 200;  // levels; deeper lines keep this indent, or output is quadratic
constexpr uint64_t kMillisecond = 1'000'000;

constexpr std::string_view kUrls = "urls";  // the resolver of URLs at work

enum class Role : uint8_t { kShown, kFolded, kHelper, kTask };

// One line to be. Children come in three groups, printed in this order.
struct Line {
  size_t span = 0;
  bool adopted = false;                          // its trace hangs here by a link
  std::vector<size_t> children, helpers, tasks;  // indexes of lines
  std::map<std::string, size_t> folded;          // kind -> count
  size_t times = 1;                              // of a folded run
  uint64_t duration = 0;
};

bool controls_transaction(std::string_view label) {
  constexpr std::array<std::string_view, 6> kVerbs{"BEGIN",     "COMMIT",  "ROLLBACK",
                                                   "SAVEPOINT", "RELEASE", "START TRANSACTION"};
  return std::any_of(kVerbs.begin(), kVerbs.end(),
                     [&](std::string_view verb) { return label.starts_with(verb); });
}

// The kind under which a span folds in the guide's layout; empty for spans that show.
std::string fold_kind(const SpanRecord& span) {
  if (span.status == kStatusError) return {};
  constexpr std::array<std::string_view, 15> kKinds{
      "middleware", "template", "transaction", "serializer", "drf",
      "cache",      "auth",     "connection",  "mail",       "signal",
      "session",    "storage",  "request",     "form",       kUrls};
  if (std::find(kKinds.begin(), kKinds.end(), span.nuages_kind) != kKinds.end()) {
    return span.nuages_kind;
  }
  const bool database = !span.db_system.empty() || span.fingerprint != 0;
  if (span.name == "transaction.atomic") return "transaction";
  return database && controls_transaction(display_label(span)) ? "transaction" : std::string();
}

Role role_of(const SpanRecord& span, Layout layout) {
  if (layout == Layout::kFull) return Role::kShown;
  if (span.kind == kConsumer && !span.task.empty()) return Role::kTask;
  if (span.nuages_kind == "serializer" && span.name == "serializer.save") return Role::kHelper;
  return fold_kind(span).empty() ? Role::kShown : Role::kFolded;
}

// One line of text whatever the SDK sent: no control characters, bounded, cut between characters.
std::string one_line(std::string text) {
  if (text.size() > kMaxLabel) {
    size_t end = kMaxLabel;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text;
}

class TreeBuilder {
 public:
  TreeBuilder(const Trace& trace, Layout layout) : trace_(trace), layout_(layout) {
    adopt_linked_traces();
  }

  std::vector<Line> build() {
    for (const size_t root : trace_.roots) {
      if (adopted_roots_.contains(root)) continue;
      const size_t top = add_line(root, false);
      tops_.push_back(top);
      place_below(root, top);
    }
    for (Line& line : lines_) {
      sort(line.children);
      sort(line.helpers);
      sort(line.tasks);
    }
    if (layout_ == Layout::kGuide) {
      for (size_t i = 0; i < lines_.size(); ++i) fold_runs(i);
    }
    return std::move(lines_);
  }
  const std::vector<size_t>& tops() const { return tops_; }

 private:
  // A trace whose root links to a span that is here hangs below that span. Links in a circle leave
  // the trace that comes first on top.
  void adopt_linked_traces() {
    std::map<std::pair<TraceId, SpanId>, size_t> by_id;
    for (size_t i = 0; i < trace_.spans.size(); ++i) {
      by_id.try_emplace({trace_.spans[i].trace_id, trace_.spans[i].span_id}, i);
    }
    std::map<TraceId, TraceId> adopter;
    auto is_above = [&](TraceId ancestor, TraceId id) {
      for (auto found = adopter.find(id); id != ancestor && found != adopter.end();
           found = adopter.find(id)) {
        id = found->second;
      }
      return id == ancestor;
    };
    for (auto at = trace_.roots.rbegin(); at != trace_.roots.rend(); ++at) {
      const size_t root = *at;
      const SpanRecord& span = trace_.spans[root];
      for (const LinkRecord& link : span.links) {
        const auto target = by_id.find({link.trace_id, link.span_id});
        if (target == by_id.end() || is_above(span.trace_id, link.trace_id)) continue;
        adopter.try_emplace(span.trace_id, link.trace_id);
        adopted_roots_.emplace(root, target->second);
        adopted_below_[target->second].push_back(root);
        break;
      }
    }
  }

  size_t add_line(size_t span, bool adopted) {
    Line line;
    line.span = span;
    line.adopted = adopted;
    line.duration = trace_.spans[span].duration;
    lines_.push_back(std::move(line));
    return lines_.size() - 1;
  }

  // Places all spans below `root`, whose line is `root_line`.
  void place_below(size_t root, size_t root_line) {
    struct Work {
      size_t span;
      size_t line;  // under which it shows
      size_t top;   // the line of the request or task it belongs to
      bool adopted;
    };
    std::vector<Work> pending;
    auto push_children = [&](size_t of, size_t to, size_t top) {
      for (const size_t child : trace_.nodes[of].children) {
        pending.push_back({child, to, top, false});
      }
      if (const auto found = adopted_below_.find(of); found != adopted_below_.end()) {
        for (const size_t linked : found->second) pending.push_back({linked, to, top, true});
      }
    };
    push_children(root, root_line, root_line);
    while (!pending.empty()) {
      const Work work = pending.back();
      pending.pop_back();
      const SpanRecord& record = trace_.spans[work.span];
      const Role role = role_of(record, layout_);
      if (role == Role::kFolded) {
        // Every request has one; the guide's tree does not tell.
        if (std::string kind = fold_kind(record); kind != kUrls) {
          ++lines_[work.line].folded[std::move(kind)];
        }
        push_children(work.span, work.line, work.top);
        continue;
      }
      const size_t line = add_line(work.span, work.adopted);
      if (role == Role::kHelper) {
        lines_[work.line].helpers.push_back(line);
        push_children(work.span, work.line, work.top);
      } else if (role == Role::kTask) {
        lines_[work.top].tasks.push_back(line);
        push_children(work.span, line, line);
      } else {
        lines_[work.line].children.push_back(line);
        push_children(work.span, line, work.top);
      }
    }
  }

  void sort(std::vector<size_t>& list) {
    std::sort(list.begin(), list.end(), [this](size_t a, size_t b) { return before(a, b); });
  }

  bool is_leaf(const Line& line) const {
    return !line.adopted && line.children.empty() && line.helpers.empty() && line.tasks.empty() &&
           line.folded.empty() && trace_.spans[line.span].status != kStatusError;
  }

  void fold_runs(size_t parent) {
    std::map<std::string, std::vector<size_t>> runs;
    for (const size_t child : lines_[parent].children) {
      if (is_leaf(lines_[child])) {
        runs[display_label(trace_.spans[lines_[child].span])].push_back(child);
      }
    }
    std::unordered_set<size_t> hidden;
    for (const auto& [label, members] : runs) {
      if (members.size() <= kMaxRepetitions) continue;
      Line& first = lines_[members.front()];
      first.times = members.size();
      for (size_t i = 1; i < members.size(); ++i) first.duration += lines_[members[i]].duration;
      hidden.insert(members.begin() + 1, members.end());
    }
    std::erase_if(lines_[parent].children, [&](size_t child) { return hidden.contains(child); });
  }

  bool before(size_t a, size_t b) const {
    const SpanRecord& left = trace_.spans[lines_[a].span];
    const SpanRecord& right = trace_.spans[lines_[b].span];
    return std::tie(left.start, lines_[a].span) < std::tie(right.start, lines_[b].span);
  }

  const Trace& trace_;
  const Layout layout_;
  std::vector<Line> lines_;
  std::vector<size_t> tops_;
  std::map<size_t, size_t> adopted_roots_;               // root -> the span it links to
  std::map<size_t, std::vector<size_t>> adopted_below_;  // and back
};

std::string line_text(const Trace& trace, const Line& line) {
  const SpanRecord& span = trace.spans[line.span];
  std::string text = one_line(display_label(span)) + " (" + duration_text(line.duration) + ")";
  if (line.adopted) text += " [separate trace, linked]";
  if (line.times > 1) text += fmt::format(" [{} times]", line.times);
  if (span.status == kStatusError) {
    text += span.status_message.empty() ? " [error]"
                                        : " [error: " + one_line(span.status_message) + "]";
  }
  if (trace.nodes[line.span].parent_missing) text += " [parent missing]";
  if (!line.folded.empty()) {
    std::vector<std::pair<std::string, size_t>> counts(line.folded.begin(), line.folded.end());
    std::stable_sort(counts.begin(), counts.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string list;
    for (const auto& [kind, count] : counts) {
      list += fmt::format("{}{} {}", list.empty() ? "+" : ", ", count, kind);
    }
    text += " [" + list + "]";
  }
  return text;
}

void append_findings(std::string& out, const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    out += fmt::format("\nN+1: {} ({})\n", one_line(finding.title),
                       duration_text(finding.total_duration));
    if (!finding.file.empty()) {
      out += fmt::format("     at {}:{}", one_line(finding.file), finding.line);
      if (!finding.function.empty()) out += " in " + one_line(finding.function);
      out += '\n';
    }
    if (!finding.suggestion.empty()) {
      out += "     fix: " + one_line(finding.suggestion);
      if (!finding.relation.empty()) out += " for " + one_line(finding.relation);
      out += '\n';
    }
  }
}

}  // namespace

std::string duration_text(uint64_t nanoseconds) {
  if (nanoseconds < kMillisecond) {
    const uint64_t tenths = (nanoseconds + kMillisecond / 20) / (kMillisecond / 10);
    return tenths == 10 ? "1ms" : fmt::format("0.{}ms", tenths);
  }
  return fmt::format("{}ms", nanoseconds / kMillisecond +
                                 (nanoseconds % kMillisecond >= kMillisecond / 2 ? 1 : 0));
}

std::string render_tree(const Trace& trace, const std::vector<Finding>& findings, Layout layout) {
  TreeBuilder builder(trace, layout);
  const std::vector<Line> lines = builder.build();
  struct Work {
    size_t line;
    std::string head;    // before the line itself
    std::string indent;  // before its children
    size_t depth = 0;
  };
  std::vector<Work> pending;
  for (auto top = builder.tops().rbegin(); top != builder.tops().rend(); ++top) {
    pending.push_back({*top, "", "", 0});
  }
  std::string out;
  while (!pending.empty()) {
    const Work work = std::move(pending.back());
    pending.pop_back();
    const Line& line = lines[work.line];
    out += work.head + line_text(trace, line) + "\n";
    std::vector<size_t> below = line.children;
    below.insert(below.end(), line.helpers.begin(), line.helpers.end());
    below.insert(below.end(), line.tasks.begin(), line.tasks.end());
    for (size_t i = below.size(); i-- > 0;) {
      const bool last = i + 1 == below.size();
      const bool deep = work.depth >= kMaxIndent;
      pending.push_back({below[i], work.indent + (last ? "└── " : "├── "),
                         deep ? work.indent : work.indent + (last ? "    " : "│   "),
                         work.depth + 1});
    }
  }
  append_findings(out, findings);
  return out;
}

}  // namespace nuages::query
