#include "python/context.h"

#include "python/span_object.h"

namespace nuages::python {
namespace {

// The crash of CPython < 3.12 needs the HAMT's old nodes to die during the update; a copy of the
// running context keeps them alive.
class ContextPin {
 public:
#if PY_VERSION_HEX < 0x030C0000
  ContextPin() noexcept : pin_(Ref::take(PyContext_CopyCurrent())) {
    if (!pin_) PyErr_Clear();
  }

 private:
  Ref pin_;
#else
  ContextPin() noexcept {}
#endif
};

// The ContextVar of the runtime context that is installed now; null when there is none to be used
// directly. Borrowed.
PyObject* context_var(ModuleState& state) noexcept {
  if (!state.context_globals) return nullptr;
  PyObject* runtime =
      PyDict_GetItemWithError(state.context_globals.get(), state.s_runtime_context.get());
  if (runtime == state.runtime_context.get()) return state.context_var.get();
  if (!runtime) {
    PyErr_Clear();
    return nullptr;
  }
  Ref var = Ref::take(call_python(PyObject_GetAttr, runtime, state.s_current_context.get()));
  if (!var) PyErr_Clear();
  if (var && !PyContextVar_CheckExact(var.get())) var.reset();
  state.context_var = std::move(var);
  state.runtime_context = Ref::share(runtime);
  return state.context_var.get();
}

Ref call_runtime(ModuleState& state, PyObject* method, PyObject* argument) noexcept {
  if (!state.runtime_context) return {};
  Ref result = Ref::take(
      argument
          ? call_python(PyObject_CallMethodOneArg, state.runtime_context.get(), method, argument)
          : call_python(PyObject_CallMethodNoArgs, state.runtime_context.get(), method));
  if (!result) PyErr_Clear();
  return result;
}

Ref read_context(ModuleState& state) noexcept {
  if (PyObject* var = context_var(state)) {
    PyObject* value = nullptr;
    if (PyContextVar_Get(var, nullptr, &value) < 0) PyErr_Clear();
    return Ref::take(value);
  }
  return call_runtime(state, state.s_get_current.get(), nullptr);
}

}  // namespace

Ref current_context(ModuleState& state) noexcept {
  const ErrorGuard guard;
  return read_context(state);
}

Ref span_in_context(ModuleState& state, PyObject* context) noexcept {
  Ref current;
  if (!context) {
    current = read_context(state);
    context = current.get();
    if (!context) return {};
  }
  if (PyDict_Check(context)) {
    PyObject* span = PyDict_GetItemWithError(context, state.span_key.get());
    if (!span) PyErr_Clear();
    return Ref::share(span);
  }
  Ref span = Ref::take(
      call_python(PyObject_CallMethodOneArg, context, state.s_get.get(), state.span_key.get()));
  if (!span) PyErr_Clear();
  if (span.get() == Py_None) span.reset();
  return span;
}

bool activate(ModuleState& state, PyObject* span, Activation& activation) noexcept {
  const ErrorGuard guard;
  Ref previous = read_context(state);
  auto* type = reinterpret_cast<PyTypeObject*>(state.context_class.get());
  const Ref no_arguments = Ref::take(PyTuple_New(0));
  if (!no_arguments) {
    PyErr_Clear();
    return false;
  }
  // Context is a dict whose Python-level mutators raise; a new one is filled natively.
  Ref ours = Ref::take(type->tp_new(type, no_arguments.get(), nullptr));
  const bool filled =
      ours && PyDict_Check(ours.get()) &&
      (!previous || !PyDict_Check(previous.get()) || PyDict_GET_SIZE(previous.get()) == 0 ||
       PyDict_Merge(ours.get(), previous.get(), 1) == 0) &&
      PyDict_SetItem(ours.get(), state.span_key.get(), span) == 0;
  if (!filled) {
    PyErr_Clear();
    return false;
  }
  Ref token;
  if (PyObject* var = context_var(state)) {
    const ContextPin pin;
    token = Ref::take(PyContextVar_Set(var, ours.get()));
  } else {
    token = call_runtime(state, state.s_attach.get(), ours.get());
  }
  if (!token) {
    PyErr_Clear();
    return false;
  }
  activation.ours = std::move(ours);
  activation.previous = std::move(previous);
  activation.token = std::move(token);
  return true;
}

void deactivate(ModuleState& state, Activation& activation) noexcept {
  if (!activation.ours) return;
  const ErrorGuard guard;
  const Ref ours = std::move(activation.ours);
  const Ref previous = std::move(activation.previous);
  const Ref token = std::move(activation.token);
  activation = {};
  const Ref now = read_context(state);
  if (now.get() != ours.get()) return;  // somebody else's value, or another thread or task
  PyObject* var = context_var(state);
  if (!var) {
    call_runtime(state, state.s_detach.get(), token.get());
    return;
  }
  const ContextPin pin;
  if (PyContextVar_Reset(var, token.get()) == 0) return;
  PyErr_Clear();  // entered in another contextvars.Context, of which this one is a copy
  if (!previous) return;
  const Ref set = Ref::take(PyContextVar_Set(var, previous.get()));
  if (!set) PyErr_Clear();
}

Ref current_span(ModuleState& state) noexcept {
  const ErrorGuard guard;
  Ref span = span_in_context(state, nullptr);
  if (!span || !core_span(state, span.get())) return {};
  return span;
}

trace::SpanRef current_core_span(ModuleState& state) noexcept {
  const Ref span = current_span(state);
  return span ? trace::SpanRef::share(core_span(state, span.get())) : trace::SpanRef();
}

}  // namespace nuages::python
