// TracerBase: start_span and start_as_current_span without a Python frame.
#include <optional>

#include "python/args.h"
#include "python/convert.h"
#include "python/manager.h"
#include "python/provider.h"
#include "python/span_object.h"
#include "trace/scope.h"

namespace nuages::python {
namespace {

TracerObject* self_of(PyObject* object) { return reinterpret_cast<TracerObject*>(object); }

// The state comes from our own type, wherever it is in the subclass's bases.
ModuleState* state_of_type(PyTypeObject* type) {
  for (PyTypeObject* base = type; base; base = base->tp_base) {
    if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) continue;
    if (void* state = PyType_GetModuleState(base)) return static_cast<ModuleState*>(state);
    PyErr_Clear();
  }
  PyErr_SetString(PyExc_TypeError, "not a subclass of nuages._native.TracerBase");
  return nullptr;
}

PyObject* tracer_start_span(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* kwnames) {
  StartArguments arguments;
  if (!arguments.read("start_span", 8, args, nargs, kwnames)) return nullptr;
  return arguments.start(*self_of(self)).release();
}

PyObject* tracer_start_current(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                               PyObject* kwnames) {
  return make_manager(*self_of(self), args, nargs, kwnames);
}

PyMethodDef kHotMethods[] = {
    {"start_span", method(tracer_start_span), METH_FASTCALL | METH_KEYWORDS,
     "Starts a span without making it current."},
    {"start_as_current_span", method(tracer_start_current), METH_FASTCALL | METH_KEYWORDS,
     "A context manager, and decorator for functions and coroutine functions."},
    {}};

PyObject* tracer_new(PyTypeObject* type, PyObject*, PyObject*) {
  ModuleState* state = state_of_type(type);
  if (!state) return nullptr;
  PyObject* object = type->tp_alloc(type, 0);
  if (object) {
    if (!state->exact_tracer) {  // the first is of nuages.sdk.trace.Tracer
      state->exact_tracer = Ref::share(reinterpret_cast<PyObject*>(type));
      if (!add_exact_methods(state->exact_tracer.get(), kHotMethods)) PyErr_Clear();
    }
    self_of(object)->state = state;
    self_of(object)->enabled = true;
  }
  return object;
}

int tracer_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(self_of(self)->provider));
  Py_VISIT(self_of(self)->scope_object);
  return 0;
}

int tracer_clear(PyObject*) { return 0; }  // start_span relies on both; the cycle breaks elsewhere

void tracer_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(self_of(self)->provider);
  Py_CLEAR(self_of(self)->scope_object);
  type->tp_free(self);
  Py_DECREF(type);
}

// _bind(core, scope object, name, version, schema_url, attributes)
PyObject* tracer_bind(PyObject* self, PyObject* args) {
  PyObject *core = nullptr, *scope_object = nullptr, *attributes = nullptr;
  PyObject *name = nullptr, *version = nullptr, *schema_url = nullptr;
  TracerObject* tracer = self_of(self);
  if (!PyArg_ParseTuple(args, "O!OOOOO:_bind", tracer->state->provider_type, &core, &scope_object,
                        &name, &version, &schema_url, &attributes)) {
    return nullptr;
  }
  AttributeList list(*tracer->state);
  list.add_mapping(attributes);
  const Utf8 name_text(name), version_text(version), schema_text(schema_url);
  try {
    tracer->scope = trace::intern_scope(
        {name_text.view(), version == Py_None ? std::string_view() : version_text.view(),
         schema_url == Py_None ? std::string_view() : schema_text.view()},
        list.views());
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  const Ref old_provider = Ref::take(reinterpret_cast<PyObject*>(tracer->provider));
  const Ref old_scope = Ref::take(tracer->scope_object);
  tracer->provider = reinterpret_cast<ProviderObject*>(Ref::share(core).release());
  tracer->scope_object = Ref::share(scope_object).release();
  Py_RETURN_NONE;
}

PyObject* tracer_set_enabled(PyObject* self, PyObject* value) {
  const int enabled = PyObject_IsTrue(value);
  if (enabled < 0) return nullptr;
  self_of(self)->enabled = enabled != 0;
  Py_RETURN_NONE;
}

PyMethodDef kMethods[] = {
    kHotMethods[0],
    kHotMethods[1],
    {"_bind", tracer_bind, METH_VARARGS,
     "(core, scope, name, version, schema_url, attributes): what __init__ does natively."},
    {"_set_enabled", tracer_set_enabled, METH_O, "False: spans are no-ops."},
    {}};
PyType_Slot kSlots[] = {{Py_tp_new, reinterpret_cast<void*>(tracer_new)},
                        {Py_tp_dealloc, reinterpret_cast<void*>(tracer_dealloc)},
                        {Py_tp_traverse, reinterpret_cast<void*>(tracer_traverse)},
                        {Py_tp_clear, reinterpret_cast<void*>(tracer_clear)},
                        {Py_tp_methods, kMethods},
                        {}};
PyType_Spec kSpec = {"nuages._native.TracerBase", sizeof(TracerObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, kSlots};

}  // namespace

bool StartArguments::read(const char* function, size_t count, PyObject* const* args,
                          Py_ssize_t nargs, PyObject* kwnames) noexcept {
  static const char* const kNames[] = {"name",
                                       "context",
                                       "kind",
                                       "attributes",
                                       "links",
                                       "start_time",
                                       "record_exception",
                                       "set_status_on_exception",
                                       "end_on_exit"};
  PyObject* values[9] = {};
  if (!read_arguments(function, std::span(kNames, count), 1, args, nargs, kwnames, values)) {
    return false;
  }
  name = Ref::share(values[0]);
  context = Ref::share(values[1] ? or_null(values[1]) : nullptr);
  kind = Ref::share(values[2] ? or_null(values[2]) : nullptr);
  attributes = Ref::share(values[3] ? or_null(values[3]) : nullptr);
  links = Ref::share(values[4] ? or_null(values[4]) : nullptr);
  read_time(values[5], start_ns);
  const int flags[] = {flag_or(values[6], true), flag_or(values[7], true),
                       flag_or(values[8], true)};
  if (flags[0] < 0 || flags[1] < 0 || flags[2] < 0) return false;
  record_exception = flags[0] != 0;
  set_status_on_exception = flags[1] != 0;
  end_on_exit = flags[2] != 0;
  return true;
}

Ref StartArguments::start(TracerObject& tracer, PyObject* current) const noexcept {
  ModuleState& state = *tracer.state;
  SpanSpec spec;
  std::optional<Utf8> text;
  if (!ascii_text(name.get(), spec.name)) spec.name = text.emplace(name.get()).view();
  spec.name_object = name.get();
  if (kind) {
    size_t index = 0;
    while (index < 5 && state.kinds[index].get() != kind.get()) ++index;
    if (index < 5) spec.kind = static_cast<wire::SpanKind>(index + 1);
  }
  spec.context = context.get();
  spec.current = current;
  spec.attributes_object = attributes.get();
  // An empty tuple, the default of the API, is no link at all.
  if (links && !(PyTuple_Check(links.get()) && PyTuple_GET_SIZE(links.get()) == 0)) {
    spec.links_object = links.get();
  }
  spec.start_ns = start_ns;
  spec.record_exception = record_exception;
  spec.set_status_on_exception = set_status_on_exception;
  return start_span(tracer, spec);
}

TracerObject* hook_tracer(ModuleState& state, PyObject* scope_name) noexcept {
  if (!state.configured() || !state.hook_tracers) return nullptr;
  // However the provider was set, the next hook sees it.
  PyObject* provider =
      PyDict_GetItemWithError(state.trace_globals.get(), state.s_tracer_provider.get());
  if (provider != state.hook_provider.get()) {
    state.hook_provider = Ref::share(provider);
    PyDict_Clear(state.hook_tracers.get());
  }
  PyObject* known = PyDict_GetItemWithError(state.hook_tracers.get(), scope_name);
  if (!known) {
    const ErrorGuard guard;
    Ref made = Ref::take(call_python(PyObject_CallOneArg, state.hook_tracer.get(), scope_name));
    if (!made) {
      PyErr_Clear();
      return nullptr;
    }
    // None is remembered too, until the provider changes (forget_hook_tracers).
    if (PyDict_SetItem(state.hook_tracers.get(), scope_name, made.get()) < 0) {
      PyErr_Clear();
      return nullptr;
    }
    known = PyDict_GetItemWithError(state.hook_tracers.get(), scope_name);
    if (!known) {
      PyErr_Clear();
      return nullptr;
    }
  }
  return PyObject_TypeCheck(known, state.tracer_base) ? self_of(known) : nullptr;
}

int add_tracer_types(PyObject* module, ModuleState& state) noexcept {
  state.tracer_base =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kSpec, nullptr));
  if (!state.tracer_base || PyModule_AddType(module, state.tracer_base) < 0) return -1;
  return add_manager_type(module, state);
}

}  // namespace nuages::python
