#include "python/query_counter.h"

#include <new>
#include <string_view>
#include <utility>

namespace nuages::python {
namespace {

struct CounterObject {
  PyObject_HEAD Hooks* hooks;  // lives as long as the module, which the type keeps
  trace::Ref<trace::LocalRoot> table;
  PyObject* token;  // of the ContextVar while open, else null
};

CounterObject& as_counter(PyObject* object) { return *reinterpret_cast<CounterObject*>(object); }

PyObject* counter_new(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*keywords*/) {
  auto* state = static_cast<ModuleState*>(PyType_GetModuleState(type));
  if (state == nullptr) return nullptr;
  PyObject* object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  CounterObject& counter = as_counter(object);  // zeroed: an empty Ref until the next lines
  counter.hooks = static_cast<Hooks*>(state->hooks.get());
  new (&counter.table) trace::Ref<trace::LocalRoot>(trace::LocalRoot::create());
  if (!counter.table) {
    Py_DECREF(object);
    return PyErr_NoMemory();
  }
  return object;
}

PyObject* counter_enter(PyObject* self, PyObject* /*unused*/) {
  CounterObject& counter = as_counter(self);
  Hooks& hooks = *counter.hooks;
  if (counter.token != nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this query counter is open already; use another one");
    return nullptr;
  }
  PyObject* current = nullptr;
  if (PyContextVar_Get(hooks.counters_var.get(), nullptr, &current) < 0) return nullptr;
  const Ref outer = Ref::take(current);
  const Py_ssize_t count = PyTuple_Check(outer.get()) ? PyTuple_GET_SIZE(outer.get()) : 0;
  const Ref open = Ref::take(PyTuple_New(count + 1));
  if (!open) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyTuple_SET_ITEM(open.get(), i, Ref::share(PyTuple_GET_ITEM(outer.get(), i)).release());
  }
  PyTuple_SET_ITEM(open.get(), count, Ref::share(self).release());
  counter.token = PyContextVar_Set(hooks.counters_var.get(), open.get());
  if (counter.token == nullptr) return nullptr;
  ++hooks.open_counters;
  return Ref::share(self).release();
}

PyObject* counter_exit(PyObject* self, PyObject* /*arguments*/) {
  CounterObject& counter = as_counter(self);
  if (counter.token == nullptr) Py_RETURN_NONE;
  const Ref token = Ref::take(std::exchange(counter.token, nullptr));
  --counter.hooks->open_counters;
  // Fails when the block was entered in another Context, whose value is gone with it.
  if (PyContextVar_Reset(counter.hooks->counters_var.get(), token.get()) < 0) PyErr_Clear();
  Py_RETURN_NONE;
}

bool put(PyObject* dict, const char* name, PyObject* value) {
  const Ref owned = Ref::take(value);
  return owned && PyDict_SetItemString(dict, name, owned.get()) == 0;
}

PyObject* text(std::string_view value) {
  return PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace");
}

Ref describe(const trace::RepeatedQuery& query) {
  Ref dict = Ref::take(PyDict_New());
  const trace::CallSite none;
  const trace::CallSite& site = query.sites.empty() ? none : query.sites.front();
  if (!dict || !put(dict.get(), "statement", text(query.statement)) ||
      !put(dict.get(), "count", PyLong_FromUnsignedLong(query.count)) ||
      !put(dict.get(), "duration_ns", PyLong_FromUnsignedLongLong(query.total_duration_ns)) ||
      !put(dict.get(), "file", text(site.file)) ||
      !put(dict.get(), "line", PyLong_FromUnsignedLong(site.line)) ||
      !put(dict.get(), "function", text(site.function)) ||
      !put(dict.get(), "relation", text(site.relation)) ||
      !put(dict.get(), "suggestion", text(trace::suggestion_of(query))) ||
      !put(dict.get(), "via", text(site.via)) ||
      !put(dict.get(), "origin_file", text(site.origin_file)) ||
      !put(dict.get(), "origin_line", PyLong_FromUnsignedLong(site.origin_line)) ||
      !put(dict.get(), "origin_function", text(site.origin_function)) ||
      !put(dict.get(), "rows", PyLong_FromUnsignedLong(site.origin_rows)) ||
      !put(dict.get(), "saved_ns", PyLong_FromUnsignedLongLong(query.saved_ns)) ||
      !put(dict.get(), "same_parameters", PyBool_FromLong(query.same_parameters ? 1 : 0))) {
    return {};
  }
  return dict;
}

// result(threshold) -> (query_count, max_repetitions, [repeated statement as a dict, ...])
PyObject* counter_result(PyObject* self, PyObject* argument) {
  const unsigned long threshold = PyLong_AsUnsignedLong(argument);
  if (PyErr_Occurred() != nullptr) return nullptr;
  try {
    const trace::NPlusOneResult result =
        as_counter(self).table->n_plus_one(static_cast<uint32_t>(threshold));
    const Ref list = Ref::take(PyList_New(0));
    if (!list) return nullptr;
    for (const trace::RepeatedQuery& query : result.flagged) {
      const Ref described = describe(query);
      if (!described || PyList_Append(list.get(), described.get()) < 0) return nullptr;
    }
    return Py_BuildValue("(IIO)", result.query_count, result.max_repetitions, list.get());
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

int counter_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_counter(self).token);
  return 0;
}

int counter_clear(PyObject* self) {
  Py_CLEAR(as_counter(self).token);
  return 0;
}

void counter_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  CounterObject& counter = as_counter(self);
  if (counter.token != nullptr) {
    --counter.hooks->open_counters;
    Py_CLEAR(counter.token);
  }
  counter.table.~Ref();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef counter_methods[] = {
    {"__enter__", counter_enter, METH_NOARGS, nullptr},
    {"__exit__", counter_exit, METH_VARARGS, nullptr},
    {"result", counter_result, METH_O,
     "result(threshold) -> (query_count, max_repetitions, statements repeated more than that)"},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot counter_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(counter_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(counter_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(counter_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(counter_clear)},
    {Py_tp_methods, counter_methods},
    {0, nullptr},
};
PyType_Spec counter_spec = {"nuages._native.QueryCounter", sizeof(CounterObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, counter_slots};

}  // namespace

std::vector<trace::Ref<trace::LocalRoot>> open_query_counters(Hooks& hooks) {
  std::vector<trace::Ref<trace::LocalRoot>> tables;
  if (hooks.open_counters == 0) return tables;
  PyObject* current = nullptr;
  if (PyContextVar_Get(hooks.counters_var.get(), nullptr, &current) < 0) {
    PyErr_Clear();
    return tables;
  }
  const Ref open = Ref::take(current);
  if (!PyTuple_Check(open.get())) return tables;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(open.get()); ++i) {
    tables.push_back(as_counter(PyTuple_GET_ITEM(open.get(), i)).table);
  }
  return tables;
}

bool add_query_counter_type(PyObject* module, Hooks& hooks) noexcept {
  hooks.counters_var = Ref::take(PyContextVar_New("nuages_query_counters", Py_None));
  if (!hooks.counters_var) return false;
  const Ref type = Ref::take(PyType_FromModuleAndSpec(module, &counter_spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace nuages::python
