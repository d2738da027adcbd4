// Reading spans from Python: getset descriptors, and raw parts for nuages.sdk.trace to build Event,
// Link and Status objects from. The core's lock is never held while Python code can run: reads
// work on a copy. Private names (`_name`, `_attributes`) are writable, as processors expect.
#pragma once

#include "python/span_object.h"

namespace nuages::python {

extern PyGetSetDef kRecordingGetSet[];

// The cached SpanContext object; borrowed, null with a Python error.
PyObject* context_of(SpanObject* span) noexcept;

// ERROR with "Type: text" as the description.
void set_error_status(SpanObject* span, PyObject* exception) noexcept;

int add_span_types(PyObject* module, ModuleState& state) noexcept;

// masked_copy(span): a span object of its own with all text masked, by the process's policy.
PyObject* masked_copy(PyObject* module, PyObject* const* args, Py_ssize_t nargs) noexcept;
PyObject* set_mask_rules(PyObject* module, PyObject* const* args, Py_ssize_t nargs) noexcept;
PyObject* mask_pattern_problem(PyObject* module, PyObject* pattern) noexcept;
PyObject* set_masking(PyObject* module, PyObject* const* args, Py_ssize_t nargs) noexcept;

// Module functions behind the Python properties of nuages.sdk.trace.Span.
extern PyMethodDef kSpanReadFunctions[];

}  // namespace nuages::python
