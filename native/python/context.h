// The current span: reading and setting the ContextVar of opentelemetry's runtime context.
//
// The parent of a new span is whatever opentelemetry.trace.get_current_span() would find, read
// natively. The ContextVar is cached by the identity of opentelemetry.context._RUNTIME_CONTEXT,
// which programs replace. Before CPython 3.12 PyContextVar_Set can be hit by a garbage collection
// in the middle of its update (python/cpython#148891): there is no collection during it here.
// A Context that nobody else has kept is used again for the next span: making one costs more than
// all else here.
// All functions need the GIL, leave no Python error behind and keep one that was pending.
#pragma once

#include "python/module_state.h"
#include "trace/span.h"

namespace nuages::python {

struct SpanObject;

// What activate() did, for deactivate(). Hold it where the span's end is.
struct Activation {
  Ref ours;            // the Context that was set
  bool plain = false;  // which holds the span key only
  Ref previous;        // the Context before
  Ref token;
  bool active() const noexcept { return static_cast<bool>(ours); }
};

// Makes `span` (any span object) the current one, on top of the current Context (or of `base`, see
// below). False: nothing is active, go on without.
bool activate(ModuleState& state, PyObject* span, Activation& activation,
              PyObject* base = nullptr) noexcept;

// The Context now (a dict subclass; empty when it cannot be had), and the ContextVar that holds it
// (empty: the runtime context is no ContextVar).
struct Current {
  Ref context;
  Ref var;
};

// For callers that have no Python error pending.
Current current_context(ModuleState& state) noexcept;

// activate() for them, with what they know to be current. `base`, a Context, gives the other values
// that are current meanwhile in place of those of the current one.
bool activate_on(ModuleState& state, Current current, PyObject* span, Activation& activation,
                 PyObject* base = nullptr) noexcept;

// Restores the Context of before, only if the current one is still ours. Harmless when called
// twice.
void deactivate(ModuleState& state, Activation& activation) noexcept;
void deactivate_at_exit(ModuleState& state, Activation& activation) noexcept;  // no error pending

// The object under the span key of `context` (null: of the current Context): ours, somebody else's,
// or nothing.
Ref span_in_context(ModuleState& state, PyObject* context) noexcept;

// Whether suppress_instrumentation() of the official packages holds in `context` (null: in the
// current Context): instrumentation makes no spans there. Spans by hand are made all the same.
bool is_suppressed(ModuleState& state, PyObject* context = nullptr) noexcept;

// The current span if it is a recording one of ours, else null. The second gives the core's span.
Ref current_span(ModuleState& state) noexcept;  // a SpanObject*
trace::SpanRef current_core_span(ModuleState& state) noexcept;

}  // namespace nuages::python
