// The W3C trace context propagator's two native functions (python/nuages/propagators).
//
// `read_traceparent(text, tracestate headers or None)`: a remote SpanContext or None;
// `trace_headers(context or None)`: (traceparent, tracestate) of the span in it when it is ours,
// else None. Values and limits are opentelemetry-python's: a tracestate goes through its own
// TraceState. Needs the GIL.
#pragma once

#include "python/module_state.h"

namespace nuages::python {

int add_propagation(PyObject* module) noexcept;  // -1 with a Python error

}  // namespace nuages::python
