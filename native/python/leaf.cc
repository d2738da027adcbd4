// Leaves: finished spans of database and cache calls.
#include "python/convert.h"
#include "python/held.h"
#include "python/provider.h"
#include "python/span_object.h"

namespace nuages::python {
namespace {

// With Python processors a leaf must be an object they can see and change.
SpanId record_through_processors(SpanObject* parent, const trace::LeafOptions& leaf) {
  trace::StartOptions options;
  options.name = leaf.name;
  options.kind = leaf.kind;
  options.local_parent = parent->span;
  options.parent = &parent->span->context();
  options.scope = leaf.scope;
  options.start_ns = leaf.start_ns;
  options.sampled = parent->span->context().sampled();
  options.attributes = leaf.attributes;
  options.limits = &parent->span->limits();
  options.duration_ns = leaf.end_ns > leaf.start_ns ? leaf.end_ns - leaf.start_ns : 0;
  trace::SpanRef core = trace::Span::start(options);
  if (!core) return 0;
  if (leaf.sql_clean) core->mark_sql_clean();
  SpanObject* span = new_span_object(*parent->state, parent->tracer, true);
  if (!span) {
    PyErr_Clear();
    return 0;
  }
  const Ref object = Ref::take(reinterpret_cast<PyObject*>(span));
  if (span->span) span->span->release();
  span->span = core.detach();
  const ProviderData& data = *span->tracer->provider->data;
  if (!run_callbacks(*span->state, data.on_start, object.get(), nullptr, true)) PyErr_Clear();
  if (!leaf.event_name.empty()) {
    span->span->add_event(leaf.event_name, leaf.end_ns, leaf.event_attributes);
  }
  if (leaf.status != wire::StatusCode::kUnset) {
    span->span->set_status(leaf.status, leaf.status_message);
  }
  end_span(span, leaf.end_ns);
  return span->span->context().span_id;
}

}  // namespace

SpanId record_leaf(SpanObject* parent, const trace::LeafOptions& leaf) noexcept {
  if (!parent->span || !parent->tracer || !parent->tracer->provider) return 0;
  const ProviderData& data = *parent->tracer->provider->data;
  if (!data.enabled) return 0;
  if (data.has_python_processors()) {
    const ErrorGuard guard;
    return record_through_processors(parent, leaf);
  }
  if (parent->span->context().sampled()) {
    return trace::record_leaf(*parent->span, leaf, data.sinks);
  }
  trace::LocalRoot& root = *parent->span->local_root();
  if (root.fate() == trace::LocalRoot::Fate::kKept) {
    return trace::record_leaf(*parent->span, leaf, data.sinks);
  }
  if (root.fate() != trace::LocalRoot::Fate::kPending) return 0;
  if (leaf.status == wire::StatusCode::kError) root.note_error();
  Holder holder(root);
  trace::RecordSink* const sinks[] = {&holder};
  return trace::record_leaf(*parent->span, leaf, sinks);
}

}  // namespace nuages::python
