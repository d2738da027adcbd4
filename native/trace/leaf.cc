#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "base/clock.h"
#include "trace/id_generator.h"
#include "trace/record_writer.h"
#include "trace/span.h"

namespace nuages::trace {

namespace {

SpanId write_leaf(const Span& parent, const LeafOptions& leaf,
                  std::span<RecordSink* const> sinks) noexcept {
  const SpanLimits& limits = parent.limits();
  const LimitedAttributes attributes(leaf.attributes, limits.max_attributes, limits);
  const LimitedAttributes event_attributes(leaf.event_attributes, limits.max_event_attributes,
                                           limits);
  const bool has_event = !leaf.event_name.empty() && limits.max_events != 0;
  const size_t event_bytes = has_event ? event_size(leaf.event_name, event_attributes) : 0;
  const std::string_view state = parent.context().trace_state_text();
  const size_t log_size = attributes.size() + event_bytes;
  const size_t size = sizeof(RecordHeader) + log_size + leaf.name.size() +
                      leaf.status_message.size() + state.size();
  if (size > kMaxRecordBytes) return 0;

  constexpr size_t kOnStack = 2048;
  char stack[kOnStack];
  std::string heap;
  char* buffer = stack;
  if (size > kOnStack) {
    heap.resize(size);
    buffer = heap.data();
  }

  RecordHeader header;
  header.size = static_cast<uint32_t>(size);
  header.log_size = static_cast<uint32_t>(log_size);
  header.trace_high = parent.context().trace_id.high;
  header.trace_low = parent.context().trace_id.low;
  header.span_id = new_span_id();
  header.parent_id = parent.context().span_id;
  header.end_ns = leaf.end_ns != 0 ? leaf.end_ns : parent.local_root()->now();
  header.start_ns = leaf.start_ns != 0 ? leaf.start_ns : header.end_ns;
  if (header.end_ns < header.start_ns) header.end_ns = header.start_ns;
  header.scope = leaf.scope;
  header.kind = static_cast<uint8_t>(leaf.kind);
  header.status = static_cast<uint8_t>(leaf.status);
  header.trace_flags = parent.context().flags;
  header.record_flags = leaf.sql_clean ? kSqlClean : 0;
  header.attributes = attributes.count();
  header.dropped_attributes = attributes.dropped();
  header.events = has_event ? 1 : 0;
  header.name_size = static_cast<uint32_t>(leaf.name.size());
  header.status_size = static_cast<uint32_t>(leaf.status_message.size());
  header.trace_state_size = static_cast<uint32_t>(state.size());

  char* at = attributes.write(put_value(buffer, header));
  if (has_event) {
    at = write_event(at, event_bytes, leaf.event_name, header.end_ns, event_attributes);
  }
  put_bytes(put_bytes(put_bytes(at, leaf.name), leaf.status_message), state);
  for (RecordSink* sink : sinks) sink->publish({buffer, size});
  return header.span_id;
}

}  // namespace

SpanId record_leaf(const Span& parent, const LeafOptions& leaf,
                   std::span<RecordSink* const> sinks) noexcept {
  // A parent that is not recorded, has ended or came through a fork has no recorded children.
  if (!parent.in_own_process()) return 0;
  LocalRoot& root = *parent.local_root();
  const LocalRoot::Fate fate = root.fate();
  if (!parent.context().sampled() && fate != LocalRoot::Fate::kPending &&
      fate != LocalRoot::Fate::kKept) {
    return 0;
  }
  if (root.reserve_span()) return write_leaf(parent, leaf, sinks);
  const uint64_t duration = leaf.end_ns > leaf.start_ns ? leaf.end_ns - leaf.start_ns : 0;
  root.fold({leaf.scope, leaf.kind, leaf.name, leaf.start_ns, duration,
             leaf.status == wire::StatusCode::kError});
  return 0;
}

void publish_folded(const Span& root, std::span<RecordSink* const> sinks) {
  if (!root.in_own_process()) return;
  for (const Tail::Group& group : root.local_root()->folded()) {
    const AttributeView attributes[] = {
        {"nuages.folded.count", int_value(static_cast<int64_t>(group.count))},
        {"nuages.folded.duration_ns", int_value(static_cast<int64_t>(group.total_ns))},
        {"nuages.folded.longest_ns", int_value(static_cast<int64_t>(group.longest_ns))},
        {"nuages.folded.errors", int_value(static_cast<int64_t>(group.errors))},
    };
    LeafOptions leaf;
    leaf.name = group.name;
    leaf.kind = group.kind;
    leaf.scope = group.scope;
    leaf.start_ns = group.first_ns;
    leaf.end_ns = std::max(group.last_ns, group.first_ns);
    leaf.attributes = attributes;
    leaf.sql_clean = true;
    write_leaf(root, leaf, sinks);
  }
}

}  // namespace nuages::trace
