#include "python/context.h"

#include "python/span_object.h"

namespace nuages::python {
namespace {

// The crash of CPython < 3.12 needs a collection, and what that may run, in the middle of the
// update. Values that the update itself replaces are kept alive by the callers below.
class NoCollection {
 public:
#if PY_VERSION_HEX >= 0x030C0000
  NoCollection() noexcept {}
#elif PY_VERSION_HEX >= 0x030A0000
  NoCollection() noexcept : was_enabled_(PyGC_Disable()) {}
  ~NoCollection() {
    if (was_enabled_ != 0) PyGC_Enable();
  }

 private:
  int was_enabled_;
#else  // a copy of the running context keeps the old nodes alive
  NoCollection() noexcept : pin_(Ref::take(PyContext_CopyCurrent())) {
    if (!pin_) PyErr_Clear();
  }

 private:
  Ref pin_;
#endif
 public:
  NoCollection(const NoCollection&) = delete;
  NoCollection& operator=(const NoCollection&) = delete;
};

// Context is a dict whose Python-level mutators raise; a new one is filled natively.
Ref new_context(ModuleState& state, PyObject* previous) noexcept {
  auto* type = reinterpret_cast<PyTypeObject*>(state.context_class.get());
  const Ref no_arguments = Ref::take(PyTuple_New(0));
  if (!no_arguments) return {};
  Ref made = Ref::take(type->tp_new(type, no_arguments.get(), nullptr));
  const bool filled = made && PyDict_Check(made.get()) &&
                      (!previous || !PyDict_Check(previous) || PyDict_GET_SIZE(previous) == 0 ||
                       PyDict_Merge(made.get(), previous, 1) == 0);
  return filled ? std::move(made) : Ref();
}

// Whether a Context with the span key in it holds nothing else.
bool is_plain(ModuleState& state, PyObject* context) noexcept {
  if (!context || !PyDict_Check(context)) return true;
  const Py_ssize_t size = PyDict_GET_SIZE(context);
  return size == 0 || (size == 1 && PyDict_Contains(context, state.span_key.get()) == 1);
}

// The ContextVar of the runtime context that is installed now; null when there is none to be used
// directly. Borrowed.
PyObject* context_var(ModuleState& state) noexcept {
  if (!state.context_globals) return nullptr;
  const uint64_t version = dict_version(state.context_globals.get());
  if (version != 0 && version == state.context_version) return state.context_var.get();
  PyObject* runtime =
      PyDict_GetItemWithError(state.context_globals.get(), state.s_runtime_context.get());
  if (runtime && runtime == state.runtime_context.get()) {
    state.context_version = version;
    return state.context_var.get();
  }
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

Ref read_context(ModuleState& state, PyObject* var) noexcept {
  if (var) {
    PyObject* value = nullptr;
    if (PyContextVar_Get(var, nullptr, &value) < 0) PyErr_Clear();
    return Ref::take(value);
  }
  return call_runtime(state, state.s_get_current.get(), nullptr);
}

Ref read_context(ModuleState& state) noexcept { return read_context(state, context_var(state)); }

}  // namespace

Current current_context(ModuleState& state) noexcept {
  Current current;
  current.var = Ref::share(context_var(state));
  current.context = read_context(state, current.var.get());
  return current;
}

Ref span_in_context(ModuleState& state, PyObject* context) noexcept {
  Ref current;
  if (!context) {
    current = read_context(state);
    context = current.get();
    if (!context) return {};
  }
  if (PyDict_Check(context)) {
    if (PyDict_GET_SIZE(context) == 0) return {};
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

bool is_suppressed(ModuleState& state, PyObject* context) noexcept {
  Ref current;
  if (!context) {
    current = read_context(state);
    context = current.get();
  }
  // hardly ever is anything but the span in it
  if (!context || !PyDict_Check(context) || is_plain(state, context)) return false;
  const ErrorGuard guard;
  for (PyObject* key : {state.suppress_key.get(), state.s_suppress_instrumentation.get()}) {
    PyObject* value = PyDict_GetItemWithError(context, key);
    if (value && PyObject_IsTrue(value) == 1) return true;
    PyErr_Clear();
  }
  return false;
}

bool activate(ModuleState& state, PyObject* span, Activation& activation, PyObject* base) noexcept {
  const ErrorGuard guard;
  return activate_on(state, current_context(state), span, activation, base);
}

bool activate_on(ModuleState& state, Current current, PyObject* span, Activation& activation,
                 PyObject* base) noexcept {
  Ref previous = std::move(current.context);
  const bool plain = base == nullptr && is_plain(state, previous.get());
  Ref ours = plain ? std::move(state.idle_context) : Ref();
  if (!ours) ours = new_context(state, base != nullptr ? base : previous.get());
  if (!ours || PyDict_SetItem(ours.get(), state.span_key.get(), span) < 0) {
    PyErr_Clear();
    return false;
  }
  Ref token;
  if (current.var) {
    const NoCollection pause;
    token = Ref::take(PyContextVar_Set(current.var.get(), ours.get()));
  } else {
    token = call_runtime(state, state.s_attach.get(), ours.get());
  }
  if (!token) {
    PyErr_Clear();
    return false;
  }
  activation.ours = std::move(ours);
  activation.plain = plain;
  activation.previous = std::move(previous);
  activation.token = std::move(token);
  return true;
}

namespace {

// The current span is one of ours that has ended: a generator that was closed while another span
// was current leaves it there, and nobody else would take it away.
bool is_left_over(ModuleState& state, PyObject* context) noexcept {
  const Ref object = context ? span_in_context(state, context) : Ref();
  const SpanObject* span = object ? as_span(state, object.get()) : nullptr;
  return span && span->span && span->span->ended();
}

void restore(ModuleState& state, const Ref& ours, const Ref& previous, const Ref& token) noexcept {
  PyObject* var = context_var(state);
  const Ref now = read_context(state, var);
  const bool is_ours = now.get() == ours.get();
  // Somebody else's value, or another thread or task.
  if (!is_ours && !is_left_over(state, now.get())) return;
  if (!var) {
    call_runtime(state, state.s_detach.get(), token.get());
    return;
  }
  const NoCollection pause;
  if (PyContextVar_Reset(var, token.get()) == 0) return;
  PyErr_Clear();  // entered in another contextvars.Context, of which this one is a copy
  if (!previous || !is_ours) return;
  const Ref set = Ref::take(PyContextVar_Set(var, previous.get()));
  if (!set) PyErr_Clear();
}

}  // namespace

void deactivate(ModuleState& state, Activation& activation) noexcept {
  if (!activation.ours) return;
  const ErrorGuard guard;
  deactivate_at_exit(state, activation);
}

void deactivate_at_exit(ModuleState& state, Activation& activation) noexcept {
  if (!activation.ours) return;
  Ref ours = std::move(activation.ours);
  {
    const Ref previous = std::move(activation.previous);
    const Ref token = std::move(activation.token);
    restore(state, ours, previous, token);
  }
  if (!activation.plain || Py_REFCNT(ours.get()) != 1 || PyDict_GET_SIZE(ours.get()) != 1) return;
  if (PyDict_SetItem(ours.get(), state.span_key.get(), Py_None) < 0) return PyErr_Clear();
  state.idle_context = std::move(ours);
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
