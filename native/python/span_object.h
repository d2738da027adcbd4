// Span objects: what Python holds of a span, and how native code starts and ends one.
//
// SpanObject is the C layout under nuages.sdk.trace.Span (recording: `span` is set) and
// nuages.sdk.trace.NonRecordingSpan (`span` is null, `bare` identifies it). The core's trace::Span
// holds all data as bytes; this object adds the identity, cached SpanContext objects and the
// tracer. Hooks use start_span / end_span / record_leaf below; all need the GIL.
#pragma once

#include <string_view>

#include "python/context.h"
#include "python/module_state.h"
#include "trace/span.h"

namespace nuages::python {

struct TracerObject;

struct SpanObject {
  PyObject_HEAD ModuleState* state;
  trace::Span* span;         // owned; null: non-recording
  trace::SpanContext* bare;  // owned; non-recording spans only
  TracerObject* tracer;      // owned; null for a span made outside a tracer
  PyObject* context;         // cached opentelemetry SpanContext, made on demand
  PyObject* parent;          // the parent's SpanContext object; null: none or not asked for yet
  PyObject* stand_in;        // owned; of a span that a full trace folded: the recording ancestor
  PyObject* exceptions;      // list of exceptions recorded already, until end()
  PyObject* dict;            // __dict__, made on demand
  PyObject* weak_references;
  Recycler* recycler;
  uint64_t inner_ns;  // of the layers right inside this one (hook_span.h)
  uint32_t max_text;  // code points of a text attribute
  bool record_exception;
  bool set_status_on_exception;
  bool parent_known;

  const trace::SpanContext& span_context() const noexcept { return span ? span->context() : *bare; }
};

// The span that new ones below `span` belong to: itself, or the ancestor of a folded one.
inline SpanObject* recorded_parent(SpanObject* span) noexcept {
  return span->span == nullptr && span->stand_in != nullptr
             ? reinterpret_cast<SpanObject*>(span->stand_in)
             : span;
}

// Null when `object` is no span of ours.
inline SpanObject* as_span(ModuleState& state, PyObject* object) noexcept {
  if (object == nullptr) return nullptr;
  const bool ours = reinterpret_cast<PyObject*>(Py_TYPE(object)) == state.span_class.get() ||
                    PyObject_TypeCheck(object, state.span_base);
  return ours ? reinterpret_cast<SpanObject*>(object) : nullptr;
}
// The core's span when `object` is a recording span of ours, else null (borrowed).
inline trace::Span* core_span(ModuleState& state, PyObject* object) noexcept {
  SpanObject* span = as_span(state, object);
  return span ? span->span : nullptr;
}

// A span object of the configured classes without data: `span`, or `bare`, may be set and idle then
// (used before), or null. Null with a Python error.
SpanObject* new_span_object(ModuleState& state, TracerObject* tracer, bool recording) noexcept;
// Frees what IdleObjects hold of spans.
void free_idle_spans(ModuleState& state) noexcept;
// Gives the configured classes descriptors of their own for the hot methods: the interpreter calls
// those of the exact class without a check of bases. False with a Python error.
bool add_exact_span_methods(ModuleState& state) noexcept;
// Like it, for any class of ours; a name that the class defines itself stays.
bool add_exact_methods(PyObject* type, PyMethodDef* methods) noexcept;

struct SpanSpec {
  std::string_view name;
  PyObject* name_object = nullptr;  // the str behind `name`, for Python samplers; may be null
  wire::SpanKind kind = wire::SpanKind::kInternal;
  std::span<const trace::AttributeView> attributes;
  PyObject* attributes_object = nullptr;  // a mapping instead of `attributes`; may be null
  std::span<const trace::LinkView> links;
  PyObject* links_object = nullptr;  // a sequence of Link instead of `links`; may be null
  PyObject* context = nullptr;       // parent's Context; null: the current one
  PyObject* current = nullptr;       // the current Context, when the caller has it already
  const trace::SpanContext* remote_parent = nullptr;  // wins over `context`: an extracted parent
  bool root = false;                                  // no parent at all
  // With root: follow this decision instead of asking the sampler (Celery link mode: 1 keep, 0
  // drop).
  int forced_decision = -1;
  bool excluded = false;  // with forced_decision 0: nothing may keep it
  uint64_t start_ns = 0;
  bool record_exception = true;
  bool set_status_on_exception = true;
};

// The tracer for a hook's spans ("nuages.django"): from the application's provider; null when there
// is none or tracing is off. Borrowed, valid while the GIL is held. No Python error is left.
TracerObject* hook_tracer(ModuleState& state, PyObject* scope_name) noexcept;

// A started span object, recording or not; empty with a Python error only where the official SDK
// raises too. Hooks clear that error and go on untraced.
Ref start_span(TracerObject& tracer, const SpanSpec& spec) noexcept;

// Ends a recording span: processors run, pipelines publish. False with a Python error only for
// KeyboardInterrupt and its like out of a processor.
bool finish_span(SpanObject* span, uint64_t end_ns) noexcept;
// The same, and never raises. end_ns 0: now.
void end_span(SpanObject* span, uint64_t end_ns = 0) noexcept;

// record_exception() and ERROR status for an exception object, once per span and object.
void record_exception(SpanObject* span, PyObject* exception, bool escaped,
                      bool set_status) noexcept;

// A finished leaf below `parent` (recording): one native call when only pipelines listen; with
// Python processors a real span object goes through them.
SpanId record_leaf(SpanObject* parent, const trace::LeafOptions& leaf) noexcept;

// What opentelemetry calls SpanContext, as a Python object (new reference).
Ref span_context_object(ModuleState& state, const trace::SpanContext& context) noexcept;
// Reads one; false when it is not a SpanContext (no Python error).
bool read_span_context(ModuleState& state, PyObject* object, trace::SpanContext& out) noexcept;

}  // namespace nuages::python
