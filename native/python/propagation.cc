#include "python/propagation.h"

#include "python/args.h"
#include "python/context.h"
#include "python/convert.h"
#include "python/span_object.h"
#include "wire/traceparent.h"

namespace nuages::python {
namespace {

constexpr size_t kMaxTraceState = 8192;  // opentelemetry-python's limit for all headers together

// The TraceState object of the headers; the default one when they are absent or too long. Empty
// with a Python error.
Ref trace_state_of(ModuleState& state, PyObject* headers) {
  if (!headers || headers == Py_None) return state.default_trace_state;
  const Ref list = Ref::take(PySequence_List(headers));
  if (!list) return {};
  size_t size = 0;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.get()); ++i) {
    PyObject* header = PyList_GET_ITEM(list.get(), i);
    if (PyUnicode_Check(header)) size += static_cast<size_t>(PyUnicode_GET_LENGTH(header)) + 1;
  }
  if (size == 0 || size - 1 > kMaxTraceState) return state.default_trace_state;
  return Ref::take(
      call_python(PyObject_CallOneArg, state.trace_state_from_header.get(), list.get()));
}

PyObject* read_traceparent(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  ModuleState* state = module_state(module);
  if (!state) return nullptr;
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "read_traceparent() takes 2 arguments");
  const Utf8 text(args[0]);
  const auto parent = wire::parse_traceparent(text.view());
  if (!parent) Py_RETURN_NONE;
  const Ref trace_state = trace_state_of(*state, args[1]);
  if (!trace_state) return nullptr;
  const Ref trace_id = trace_id_object(parent->trace_id);
  const Ref span_id = Ref::take(PyLong_FromUnsignedLongLong(parent->span_id));
  Ref flags = state->trace_flags[parent->flags & 3];
  if (parent->flags > 3) {  // bits that nobody has named yet are passed on
    auto* type = reinterpret_cast<PyObject*>(Py_TYPE(flags.get()));
    flags =
        Ref::take(call_python(PyObject_CallFunction, type, "i", static_cast<int>(parent->flags)));
  }
  if (!trace_id || !span_id || !flags) return nullptr;
  return call_python(PyObject_CallFunctionObjArgs, state->span_context_class.get(), trace_id.get(),
                     span_id.get(), Py_True, flags.get(), trace_state.get(), nullptr);
}

PyObject* trace_headers(PyObject* module, PyObject* context) {
  ModuleState* state = module_state(module);
  if (!state) return nullptr;
  const Ref object = span_in_context(*state, or_null(context));
  SpanObject* span = object ? as_span(*state, object.get()) : nullptr;
  if (!span) {
    PyErr_Clear();
    Py_RETURN_NONE;
  }
  const trace::SpanContext& own = span->span_context();
  if (!own.valid()) Py_RETURN_NONE;
  try {
    const std::string header = wire::format_traceparent({own.trace_id, own.span_id, own.flags});
    const Ref first = text_object(header);
    const Ref second = text_object(own.trace_state_text());
    return first && second ? PyTuple_Pack(2, first.get(), second.get()) : nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyMethodDef functions[] = {
    {"read_traceparent", method(read_traceparent), METH_FASTCALL,
     "(traceparent, tracestate headers or None): a remote SpanContext, or None."},
    {"trace_headers", trace_headers, METH_O,
     "(traceparent, tracestate) of our span in a context (None: the current one), or None."},
    {}};

}  // namespace

int add_propagation(PyObject* module) noexcept { return PyModule_AddFunctions(module, functions); }

}  // namespace nuages::python
