#include "python/manager.h"

#include <new>

#include "python/span_object.h"
#include "python/span_read.h"

namespace nuages::python {
namespace {

struct ManagerData {
  StartArguments arguments;
  Activation activation;
  Ref span;
};

struct ManagerObject {
  PyObject_HEAD TracerObject* tracer;  // owned
  alignas(ManagerData) char storage[sizeof(ManagerData)];

  ManagerData& data() { return *std::launder(reinterpret_cast<ManagerData*>(storage)); }
};

ManagerObject* self_of(PyObject* object) { return reinterpret_cast<ManagerObject*>(object); }

int manager_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(self_of(self)->tracer));
  ManagerData& data = self_of(self)->data();
  Py_VISIT(data.arguments.name.get());
  Py_VISIT(data.arguments.context.get());
  Py_VISIT(data.arguments.kind.get());
  Py_VISIT(data.arguments.attributes.get());
  Py_VISIT(data.arguments.links.get());
  Py_VISIT(data.activation.ours.get());
  Py_VISIT(data.activation.previous.get());
  Py_VISIT(data.activation.token.get());
  Py_VISIT(data.span.get());
  return 0;
}

int manager_clear(PyObject* self) {
  ManagerData& data = self_of(self)->data();
  data.arguments.attributes.reset();
  data.arguments.links.reset();
  data.arguments.context.reset();
  data.activation = {};
  data.span.reset();
  return 0;
}

void manager_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  self_of(self)->data().~ManagerData();
  Py_CLEAR(self_of(self)->tracer);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* manager_enter(PyObject* self, PyObject*) {
  ManagerObject* manager = self_of(self);
  ManagerData& data = manager->data();
  if (data.span) {
    return PyErr_Format(PyExc_RuntimeError, "start_as_current_span() is entered already");
  }
  Ref span = data.arguments.start(*manager->tracer);
  if (!span) return nullptr;
  activate(*manager->tracer->state, span.get(), data.activation);
  data.span = span;
  return span.release();
}

PyObject* manager_exit(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  ManagerObject* manager = self_of(self);
  ManagerData& data = manager->data();
  const Ref span_object = std::move(data.span);
  data.span = {};
  if (!span_object) Py_RETURN_FALSE;
  deactivate(*manager->tracer->state, data.activation);
  auto* span = reinterpret_cast<SpanObject*>(span_object.get());
  if (!span->span) Py_RETURN_FALSE;
  // Exception only: GeneratorExit, KeyboardInterrupt and the like are no errors of the work.
  if (nargs >= 2 && args[1] != Py_None &&
      call_python(PyObject_IsInstance, args[1], PyExc_Exception) == 1 &&
      span->span->is_recording()) {
    if (data.arguments.record_exception) {
      record_exception(span, args[1], false, data.arguments.set_status_on_exception);
    } else if (data.arguments.set_status_on_exception) {
      set_error_status(span, args[1]);
    }
  }
  if (data.arguments.end_on_exit) end_span(span, 0);
  Py_RETURN_FALSE;
}

PyObject* manager_recreate(PyObject* self, PyObject*) {
  return make_manager(*self_of(self)->tracer, self_of(self)->data().arguments).release();
}

PyObject* manager_call(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* function = nullptr;
  if (kwargs && PyDict_GET_SIZE(kwargs) > 0) {
    return PyErr_Format(PyExc_TypeError, "a span decorator takes the function only");
  }
  if (!PyArg_ParseTuple(args, "O:start_as_current_span", &function)) return nullptr;
  return call_python(PyObject_CallFunctionObjArgs, self_of(self)->tracer->state->decorate.get(),
                     self, function, nullptr);
}

PyMethodDef kMethods[] = {
    {"__enter__", manager_enter, METH_NOARGS, nullptr},
    {"__exit__", method(manager_exit), METH_FASTCALL, nullptr},
    {"_recreate", manager_recreate, METH_NOARGS, "A fresh manager with the same arguments."},
    {}};
PyType_Slot kSlots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(manager_dealloc)},
                        {Py_tp_traverse, reinterpret_cast<void*>(manager_traverse)},
                        {Py_tp_clear, reinterpret_cast<void*>(manager_clear)},
                        {Py_tp_call, reinterpret_cast<void*>(manager_call)},
                        {Py_tp_methods, kMethods},
                        {}};
PyType_Spec kSpec = {"nuages._native.CurrentSpanManager", sizeof(ManagerObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, kSlots};

}  // namespace

Ref make_manager(TracerObject& tracer, const StartArguments& arguments) noexcept {
  PyTypeObject* type = tracer.state->manager_type;
  ManagerObject* manager = PyObject_GC_New(ManagerObject, type);
  if (!manager) return {};
  new (manager->storage) ManagerData();
  manager->data().arguments = arguments;
  manager->tracer = &tracer;
  Py_INCREF(reinterpret_cast<PyObject*>(&tracer));
  PyObject_GC_Track(reinterpret_cast<PyObject*>(manager));
  return Ref::take(reinterpret_cast<PyObject*>(manager));
}

int add_manager_type(PyObject* module, ModuleState& state) noexcept {
  state.manager_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kSpec, nullptr));
  return state.manager_type ? PyModule_AddType(module, state.manager_type) : -1;
}

}  // namespace nuages::python
