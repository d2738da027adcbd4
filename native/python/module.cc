// nuages._native: the module object. Types live in their own files; this one wires them together.
#include <new>

#include "base/clock.h"
#include "base/log.h"
#include "export/process.h"
#include "python/client_config.h"
#include "python/context.h"
#include "python/logs.h"
#include "python/manager.h"
#include "python/module_state.h"
#include "python/pipeline_object.h"
#include "python/provider.h"
#include "python/span_object.h"
#include "python/span_read.h"

namespace nuages::python {
namespace {

extern PyModuleDef kModule;

ModuleState& state_of(PyObject* module) {
  return *static_cast<ModuleState*>(PyModule_GetState(module));
}

// Every Python object that configure() takes, by name.
struct Field {
  const char* name;
  Ref ModuleState::* slot;
};
constexpr Field kFields[] = {
    {"span_class", &ModuleState::span_class},
    {"nonrecording_class", &ModuleState::nonrecording_class},
    {"span_abc", &ModuleState::span_abc},
    {"span_context_class", &ModuleState::span_context_class},
    {"default_trace_state", &ModuleState::default_trace_state},
    {"trace_state_from_header", &ModuleState::trace_state_from_header},
    {"context_class", &ModuleState::context_class},
    {"context_globals", &ModuleState::context_globals},
    {"trace_globals", &ModuleState::trace_globals},
    {"span_key", &ModuleState::span_key},
    {"suppress_key", &ModuleState::suppress_key},
    {"status_class", &ModuleState::status_class},
    {"clean_value", &ModuleState::clean_value},
    {"exception_attributes", &ModuleState::exception_attributes},
    {"describe_exception", &ModuleState::describe_exception},
    {"warn", &ModuleState::warn},
    {"processor_failed", &ModuleState::processor_failed},
    {"decorate", &ModuleState::decorate},
    {"hook_tracer", &ModuleState::hook_tracer},
    {"drain_logs", &ModuleState::drain_logs},
};

struct Name {
  const char* text;
  Ref ModuleState::* slot;
};
constexpr Name kNames[] = {
    {"_RUNTIME_CONTEXT", &ModuleState::s_runtime_context},
    {"suppress_instrumentation", &ModuleState::s_suppress_instrumentation},
    {"_current_context", &ModuleState::s_current_context},
    {"get_current", &ModuleState::s_get_current},
    {"attach", &ModuleState::s_attach},
    {"detach", &ModuleState::s_detach},
    {"get_span_context", &ModuleState::s_get_span_context},
    {"parent_context", &ModuleState::s_parent_context},
    {"should_sample", &ModuleState::s_should_sample},
    {"generate_trace_id", &ModuleState::s_generate_trace_id},
    {"generate_span_id", &ModuleState::s_generate_span_id},
    {"to_header", &ModuleState::s_to_header},
    {"get", &ModuleState::s_get},
    {"decision", &ModuleState::s_decision},
    {"attributes", &ModuleState::s_attributes},
    {"trace_state", &ModuleState::s_trace_state},
    {"value", &ModuleState::s_value},
    {"status_code", &ModuleState::s_status_code},
    {"description", &ModuleState::s_description},
    {"context", &ModuleState::s_context},
    {"_TRACER_PROVIDER", &ModuleState::s_tracer_provider},
};

bool take_sequence(PyObject* given, const char* name, std::span<Ref> slots) {
  PyObject* value = PyDict_GetItemString(given, name);
  if (!value || !PyTuple_Check(value) ||
      PyTuple_GET_SIZE(value) != static_cast<Py_ssize_t>(slots.size())) {
    PyErr_Format(PyExc_TypeError, "configure(): %s must be a tuple of %zu", name, slots.size());
    return false;
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i] = Ref::share(PyTuple_GET_ITEM(value, static_cast<Py_ssize_t>(i)));
  }
  return true;
}

PyObject* configure(PyObject* module, PyObject*, PyObject* kwargs) {
  ModuleState& state = state_of(module);
  if (!kwargs) return PyErr_Format(PyExc_TypeError, "configure() takes keyword arguments");
  free_idle_spans(state);  // while their classes are there
  for (const Field& field : kFields) {
    PyObject* value = PyDict_GetItemString(kwargs, field.name);
    if (!value) return PyErr_Format(PyExc_TypeError, "configure(): %s is missing", field.name);
    state.*field.slot = Ref::share(value);
  }
  if (!take_sequence(kwargs, "trace_flags", state.trace_flags) ||
      !take_sequence(kwargs, "status_codes", state.status_codes) ||
      !take_sequence(kwargs, "kinds", state.kinds)) {
    return nullptr;
  }
  if (!add_exact_span_methods(state)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* forget_hook_tracers(PyObject* module, PyObject*) {
  PyDict_Clear(state_of(module).hook_tracers.get());
  Py_RETURN_NONE;
}

PyObject* py_current_span(PyObject* module, PyObject*) {
  Ref span = state_of(module).configured() ? current_span(state_of(module)) : Ref();
  return span ? span.release() : Ref::share(Py_None).release();
}

PyObject* py_is_suppressed(PyObject* module, PyObject*) {
  ModuleState& state = state_of(module);
  return PyBool_FromLong(state.configured() && is_suppressed(state));
}

// activate(span) -> token for deactivate(); None when it could not be made current.
void delete_activation(PyObject* capsule) {
  delete static_cast<Activation*>(PyCapsule_GetPointer(capsule, "nuages.activation"));
}

PyObject* py_activate(PyObject* module, PyObject* span) {
  auto* activation = new (std::nothrow) Activation();
  if (!activation) return PyErr_NoMemory();
  if (!state_of(module).configured() || !activate(state_of(module), span, *activation)) {
    delete activation;
    Py_RETURN_NONE;
  }
  PyObject* capsule = PyCapsule_New(activation, "nuages.activation", delete_activation);
  if (!capsule) delete activation;
  return capsule;
}

PyObject* py_deactivate(PyObject* module, PyObject* token) {
  if (token == Py_None) Py_RETURN_NONE;
  auto* activation = static_cast<Activation*>(PyCapsule_GetPointer(token, "nuages.activation"));
  if (!activation) return nullptr;
  deactivate(state_of(module), *activation);
  Py_RETURN_NONE;
}

PyObject* py_hook_tracer(PyObject* module, PyObject* scope_name) {
  if (!PyUnicode_Check(scope_name)) return PyErr_Format(PyExc_TypeError, "scope name: a str");
  TracerObject* tracer = hook_tracer(state_of(module), scope_name);
  PyObject* object = tracer ? reinterpret_cast<PyObject*>(tracer) : Py_None;
  return Ref::share(object).release();
}

PyObject* py_set_log_level(PyObject*, PyObject* level) {
  const long number = PyLong_AsLong(level);
  if (number == -1 && PyErr_Occurred()) return nullptr;
  const long clamped = number < 0 ? 0 : number > 3 ? 3 : number;
  set_log_level(static_cast<LogLevel>(clamped));
  Py_RETURN_NONE;
}

PyObject* py_set_exit_timeout(PyObject*, PyObject* milliseconds) {
  const unsigned long number = PyLong_AsUnsignedLongMask(milliseconds);
  if (PyErr_Occurred()) return nullptr;
  exporter::set_exit_timeout(static_cast<uint32_t>(number));
  Py_RETURN_NONE;
}

// The other interpreters of an embedder (uWSGI has one for each application) are never destroyed:
// before 3.13 the end of the main one then aborts the process, and their exit handlers never run.
PyObject* py_flush_other_interpreters(PyObject*, PyObject* milliseconds) {
  const unsigned long timeout = PyLong_AsUnsignedLongMask(milliseconds);
  if (PyErr_Occurred()) return nullptr;
  const bool alone = PyInterpreterState_Next(PyInterpreterState_Head()) == nullptr;
  if (alone || PyInterpreterState_Get() != PyInterpreterState_Main()) Py_RETURN_NONE;
  PyThreadState* const thread = PyEval_SaveThread();
  exporter::flush_exporters(steady_now() + uint64_t{timeout} * 1'000'000);
  call_python(PyEval_RestoreThread, thread);
  Py_RETURN_NONE;
}

PyMethodDef kFunctions[] = {
    {"configure", method(configure), METH_VARARGS | METH_KEYWORDS,
     "Hands over the Python side; nuages.sdk.trace calls it once."},
    {"forget_hook_tracers", forget_hook_tracers, METH_NOARGS, "After the provider has changed."},
    {"hook_tracer", py_hook_tracer, METH_O, "The Tracer for a hook's scope, or None."},
    {"current_span", py_current_span, METH_NOARGS, "The current recording span of ours, or None."},
    {"is_suppressed", py_is_suppressed, METH_NOARGS,
     "Whether instrumentation makes no spans in the current Context."},
    {"activate", py_activate, METH_O, "Makes a span current; the result goes to deactivate()."},
    {"deactivate", py_deactivate, METH_O, "Restores the context if it is still ours."},
    {"parse_endpoint", py_parse_endpoint, METH_O,
     "(url, tls, host, port, unix_socket, warning) of a client's settings; or ValueError."},
    {"take_logs", take_logs, METH_NOARGS, "[(level, component, message)] of waiting native lines."},
    {"set_log_level", py_set_log_level, METH_O, "0 debug, 1 info, 2 warning, 3 error."},
    {"set_exit_timeout", py_set_exit_timeout, METH_O,
     "Milliseconds that exit() may wait for delivery when nobody has shut the pipelines down."},
    {"flush_other_interpreters", py_flush_other_interpreters, METH_O,
     "At the main interpreter's end: what all have queued, within so many milliseconds."},
    {}};

int execute(PyObject* module) {
  auto* state = new (PyModule_GetState(module)) ModuleState();
  state->module = module;
  state->recycler = new (std::nothrow) Recycler();
  if (!state->recycler) return PyErr_NoMemory(), -1;
  for (const Name& name : kNames) {
    state->*name.slot = Ref::take(PyUnicode_InternFromString(name.text));
    if (!(state->*name.slot)) return -1;
  }
  state->hook_tracers = Ref::take(PyDict_New());
  if (!state->hook_tracers || add_span_types(module, *state) < 0 ||
      add_provider_types(module, *state) < 0 || add_pipeline_type(module, *state) < 0 ||
      add_tracer_types(module, *state) < 0 ||
      PyModule_AddFunctions(module, kSpanReadFunctions) < 0) {
    return -1;
  }
  install_log_sink();
  if (register_hooks != nullptr && register_hooks(module, *state) < 0) return -1;
  return 0;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  auto* state = static_cast<ModuleState*>(PyModule_GetState(module));
  if (!state || !state->module) return 0;
  for (PyTypeObject* type :
       {state->span_base, state->recording_base, state->nonrecording_base, state->provider_type,
        state->tracer_base, state->manager_type, state->pipeline_type}) {
    Py_VISIT(type);
  }
  for (const Field& field : kFields) Py_VISIT((state->*field.slot).get());
  Py_VISIT(state->runtime_context.get());
  Py_VISIT(state->idle_context.get());
  Py_VISIT(state->exact_tracer.get());
  Py_VISIT(state->context_var.get());
  Py_VISIT(state->hook_tracers.get());
  Py_VISIT(state->hook_provider.get());
  return state->hooks ? state->hooks->traverse(visit, arg) : 0;
}

// Only what takes part in cycles through Python code: the hot path relies on the rest.
int clear(PyObject* module) {
  auto* state = static_cast<ModuleState*>(PyModule_GetState(module));
  if (!state || !state->module) return 0;
  if (state->hook_tracers) PyDict_Clear(state->hook_tracers.get());
  state->hook_provider.reset();
  state->idle_context.reset();
  if (state->hooks) state->hooks->clear();
  return 0;
}

void free_module(void* module) {
  auto* state = static_cast<ModuleState*>(PyModule_GetState(static_cast<PyObject*>(module)));
  if (!state || !state->module) return;
  if (state->recycler) {
    free_idle_spans(*state);
    free_idle_managers(*state);
    state->recycler->close();
  }
  for (PyTypeObject* type :
       {state->span_base, state->recording_base, state->nonrecording_base, state->provider_type,
        state->tracer_base, state->manager_type, state->pipeline_type}) {
    Py_XDECREF(reinterpret_cast<PyObject*>(type));
  }
  state->~ModuleState();
}

PyModuleDef_Slot kSlots[] = {{Py_mod_exec, reinterpret_cast<void*>(execute)},
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
                             {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#endif
                             {0, nullptr}};

PyModuleDef kModule = {PyModuleDef_HEAD_INIT,
                       "nuages._native",
                       "The native core of nuages; use nuages and opentelemetry instead.",
                       sizeof(ModuleState),
                       kFunctions,
                       kSlots,
                       traverse,
                       clear,
                       free_module};

}  // namespace

ModuleState* module_state(PyObject* module) noexcept {
  if (PyModule_Check(module) && PyModule_GetDef(module) == &kModule) return &state_of(module);
  PyErr_SetString(PyExc_TypeError, "not the nuages._native module");
  return nullptr;
}

}  // namespace nuages::python

// NOLINTNEXTLINE(bugprone-reserved-identifier): the name CPython looks up
PyMODINIT_FUNC PyInit__native() { return PyModuleDef_Init(&nuages::python::kModule); }
