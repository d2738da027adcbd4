// Everything the extension keeps per interpreter: types, and the Python objects it works with.
//
// Multi-phase initialisation, no static PyObject*: every object of ours carries a pointer to the
// state of the module that made it, so the hot path never searches. nuages.sdk.trace hands over the
// Python side once, by _native.configure(). Access under the GIL only.
#pragma once

#include <memory>

#include "python/ref.h"
#include "trace/id_generator.h"

namespace nuages::python {

// The hooks' own part of the state (hook*.cc derives from it).
struct HookState {
  virtual ~HookState() = default;
  virtual int traverse(visitproc /*visit*/, void* /*arg*/) { return 0; }
  virtual void clear() {}
};

// Finished objects of one type, untracked and without references, whose memory the next ones take:
// the type's tp_alloc and tp_free without the allocator.
struct IdleObjects {
  static constexpr uint32_t kMax = 32;
  PyObject* objects[kMax];
  uint32_t count = 0;

  bool give(PyObject* object) noexcept {
    if (count == kMax) return false;
    objects[count++] = object;
    return true;
  }
  // A new object of the type, not yet tracked; null when there is none.
  PyObject* take(PyTypeObject* type) noexcept {
    return count == 0 ? nullptr : PyObject_Init(objects[--count], type);
  }
};

// Outlives the module: at the interpreter's end the last spans go after it.
struct Recycler {
  IdleObjects spans;  // each keeps its core span
  IdleObjects nonrecording;
  IdleObjects managers;
  PyTypeObject* span_type = nullptr;  // borrowed; only these two are kept
  PyTypeObject* nonrecording_type = nullptr;
  size_t live = 0;      // objects that point here
  bool closed = false;  // the module is gone: nothing is kept, the last object deletes this

  void forget() noexcept {
    if (--live == 0 && closed) delete this;
  }
  void close() noexcept {
    closed = true;
    if (live == 0) delete this;
  }
};

struct ModuleState {
  PyObject* module = nullptr;  // borrowed: the state dies with it

  Recycler* recycler = nullptr;
  trace::IdGenerator ids;  // under the GIL, where there is one
  Ref idle_context;        // a Context with the span key only, and None there (python/context.cc)

  // Our types.
  PyTypeObject* span_base = nullptr;          // SpanBase: common part of the two below
  PyTypeObject* recording_base = nullptr;     // RecordingSpanBase
  PyTypeObject* nonrecording_base = nullptr;  // NonRecordingSpanBase
  PyTypeObject* provider_type = nullptr;      // ProviderCore
  PyTypeObject* tracer_base = nullptr;        // TracerBase
  PyTypeObject* manager_type = nullptr;       // CurrentSpanManager
  PyTypeObject* pipeline_type = nullptr;      // Pipeline

  Ref exact_tracer;  // the class whose own hot methods are descriptors of itself

  // From configure(): Python classes and callables (strong).
  Ref span_class;           // nuages.sdk.trace.Span
  Ref nonrecording_class;   // nuages.sdk.trace.NonRecordingSpan
  Ref span_abc;             // opentelemetry.trace.Span
  Ref span_context_class;   // opentelemetry.trace.SpanContext
  Ref trace_flags[4];       // TraceFlags(0..3)
  Ref default_trace_state;  // TraceState()
  Ref trace_state_from_header;
  Ref context_class;    // opentelemetry.context.context.Context
  Ref context_globals;  // vars(opentelemetry.context)
  Ref trace_globals;    // vars(opentelemetry.trace)
  Ref span_key;         // opentelemetry.trace.propagation._SPAN_KEY
  Ref suppress_key;     // opentelemetry.context._SUPPRESS_INSTRUMENTATION_KEY
  Ref status_class;
  Ref status_codes[3];       // UNSET, OK, ERROR
  Ref kinds[5];              // SpanKind members by value
  Ref clean_value;           // (value) -> value of the OTLP types, or NotImplemented to drop it
  Ref exception_attributes;  // (exception, escaped) -> dict
  Ref describe_exception;    // (exception) -> "Type: text"
  Ref warn;                  // (what: str) -> None, rate-limited
  Ref processor_failed;      // (processor callable) -> None; the exception is set as argument
  Ref decorate;              // (manager, function) -> function
  Ref hook_tracer;           // (scope name) -> Tracer or None
  Ref drain_logs;            // () -> None

  // The ContextVar inside opentelemetry.context._RUNTIME_CONTEXT, cached by that object's identity.
  Ref runtime_context;
  uint64_t context_version = 0;  // of context_globals when that was last looked up; 0: unknown
  Ref context_var;               // empty: not a ContextVarsRuntimeContext, go through its methods

  Ref hook_tracers;   // dict: scope name -> Tracer or None, valid while hook_provider is current
  Ref hook_provider;  // opentelemetry.trace._TRACER_PROVIDER as last seen

  // Interned names.
  Ref s_runtime_context, s_suppress_instrumentation, s_current_context, s_get_current, s_attach,
      s_detach, s_get_span_context, s_parent_context, s_should_sample, s_generate_trace_id,
      s_generate_span_id, s_to_header, s_get, s_decision, s_attributes, s_trace_state, s_value,
      s_status_code, s_description, s_context, s_tracer_provider;

  std::unique_ptr<HookState> hooks;

  bool configured() const noexcept { return static_cast<bool>(span_class); }
};

// The state of our module object; null (with an error) for any other object.
ModuleState* module_state(PyObject* module) noexcept;

// Called at the end of module initialisation when a hook*.cc defines it (weak symbol): adds the
// hooks' types and functions to the module and sets state.hooks. -1 with a Python error.
__attribute__((weak)) int register_hooks(PyObject* module, ModuleState& state) noexcept;

}  // namespace nuages::python
