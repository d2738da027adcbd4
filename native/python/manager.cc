#include "python/manager.h"

#include <structmember.h>

#include <cstddef>
#include <new>

#include "python/span_object.h"
#include "python/span_read.h"

namespace nuages::python {
namespace {

PyObject* manager_call(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames);

struct ManagerData {
  StartArguments arguments;
  Activation activation;
  Ref span;
};

struct ManagerObject {
  PyObject_HEAD vectorcallfunc call;
  TracerObject* tracer;  // owned
  Recycler* recycler;
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
  Recycler* recycler = self_of(self)->recycler;  // the module's state may be gone
  Py_CLEAR(self_of(self)->tracer);
  if (recycler->closed || !recycler->managers.give(self)) type->tp_free(self);
  recycler->forget();
  Py_DECREF(type);
}

PyObject* manager_enter(PyObject* self, PyObject*) {
  ManagerObject* manager = self_of(self);
  ManagerData& data = manager->data();
  if (data.span) {
    return PyErr_Format(PyExc_RuntimeError, "start_as_current_span() is entered already");
  }
  ModuleState& state = *manager->tracer->state;
  Current current = current_context(state);
  Ref span = data.arguments.start(*manager->tracer, current.context.get());
  if (!span) return nullptr;
  activate_on(state, std::move(current), span.get(), data.activation);
  data.span = span;
  return span.release();
}

PyObject* manager_exit(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  ManagerObject* manager = self_of(self);
  ManagerData& data = manager->data();
  const Ref span_object = std::move(data.span);
  data.span = {};
  if (!span_object) Py_RETURN_FALSE;
  deactivate_at_exit(*manager->tracer->state, data.activation);
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
  if (data.arguments.end_on_exit && !finish_span(span, 0)) drop_error();
  Py_RETURN_FALSE;
}

ManagerObject* new_manager(TracerObject& tracer) {
  ModuleState& state = *tracer.state;
  auto* manager =
      reinterpret_cast<ManagerObject*>(state.recycler->managers.take(state.manager_type));
  if (!manager) manager = PyObject_GC_New(ManagerObject, state.manager_type);
  if (!manager) return nullptr;
  manager->call = manager_call;
  new (manager->storage) ManagerData();
  manager->recycler = state.recycler;
  ++state.recycler->live;
  manager->tracer = &tracer;
  Py_INCREF(reinterpret_cast<PyObject*>(&tracer));
  PyObject_GC_Track(reinterpret_cast<PyObject*>(manager));
  return manager;
}

PyObject* manager_recreate(PyObject* self, PyObject*) {
  ManagerObject* made = new_manager(*self_of(self)->tracer);
  if (made) made->data().arguments = self_of(self)->data().arguments;
  return reinterpret_cast<PyObject*>(made);
}

PyObject* manager_call(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  if (kwnames && PyTuple_GET_SIZE(kwnames) > 0) {
    return PyErr_Format(PyExc_TypeError, "a span decorator takes the function only");
  }
  if (nargs == 0) return manager_enter(self, nullptr);
  if (nargs == 3) return manager_exit(self, args, nargs);
  if (nargs != 1) {
    return PyErr_Format(PyExc_TypeError, "a span decorator takes one function, not %zd", nargs);
  }
  return call_python(PyObject_CallFunctionObjArgs, self_of(self)->tracer->state->decorate.get(),
                     self, args[0], nullptr);
}

// What stands in the class for __enter__ and __exit__: an object gives itself, the class a
// function.
struct SelfMethodObject {
  PyObject_HEAD PyObject* function;  // owned: of the class, takes the manager first
};

PyObject* self_method_get(PyObject* self, PyObject* object, PyObject*) {
  PyObject* function = reinterpret_cast<SelfMethodObject*>(self)->function;
  return Ref::share(object ? object : function).release();
}

int self_method_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<SelfMethodObject*>(self)->function);
  return 0;
}

int self_method_clear(PyObject* self) {
  Py_CLEAR(reinterpret_cast<SelfMethodObject*>(self)->function);
  return 0;
}

void self_method_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(reinterpret_cast<SelfMethodObject*>(self)->function);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot kSelfMethodSlots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(self_method_dealloc)},
                                  {Py_tp_traverse, reinterpret_cast<void*>(self_method_traverse)},
                                  {Py_tp_clear, reinterpret_cast<void*>(self_method_clear)},
                                  {Py_tp_descr_get, reinterpret_cast<void*>(self_method_get)},
                                  {}};
PyType_Spec kSelfMethodSpec = {"nuages._native.SelfMethod", sizeof(SelfMethodObject), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, kSelfMethodSlots};

bool make_self_methods(PyObject* type) {
  const Ref kind = Ref::take(PyType_FromSpec(&kSelfMethodSpec));
  if (!kind) return false;
  for (const char* name : {"__enter__", "__exit__"}) {
    Ref function = Ref::take(PyObject_GetAttrString(type, name));
    if (!function) return false;
    auto* made = PyObject_GC_New(SelfMethodObject, reinterpret_cast<PyTypeObject*>(kind.get()));
    if (!made) return false;
    made->function = function.release();
    PyObject_GC_Track(reinterpret_cast<PyObject*>(made));
    const Ref owned = Ref::take(reinterpret_cast<PyObject*>(made));
    if (PyObject_SetAttrString(type, name, owned.get()) < 0) return false;
  }
  return true;
}

PyMemberDef kMembers[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ManagerObject, call), READONLY, nullptr}, {}};

PyMethodDef kMethods[] = {
    {"__enter__", manager_enter, METH_NOARGS, nullptr},
    {"__exit__", method(manager_exit), METH_FASTCALL, nullptr},
    {"_recreate", manager_recreate, METH_NOARGS, "A fresh manager with the same arguments."},
    {}};
PyType_Slot kSlots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(manager_dealloc)},
                        {Py_tp_traverse, reinterpret_cast<void*>(manager_traverse)},
                        {Py_tp_clear, reinterpret_cast<void*>(manager_clear)},
                        {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                        {Py_tp_members, kMembers},
                        {Py_tp_methods, kMethods},
                        {}};
PyType_Spec kSpec = {"nuages._native.CurrentSpanManager", sizeof(ManagerObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, kSlots};

}  // namespace

PyObject* make_manager(TracerObject& tracer, PyObject* const* args, Py_ssize_t nargs,
                       PyObject* kwnames) noexcept {
  ManagerObject* manager = new_manager(tracer);
  if (!manager) return nullptr;
  StartArguments& arguments = manager->data().arguments;
  if (nargs == 1 && kwnames == nullptr) {
    arguments.name = Ref::share(args[0]);
  } else if (!arguments.read("start_as_current_span", 9, args, nargs, kwnames)) {
    Py_DECREF(manager);
    return nullptr;
  }
  return reinterpret_cast<PyObject*>(manager);
}

void free_idle_managers(ModuleState& state) noexcept {
  while (state.recycler->managers.count > 0) {
    PyObject_GC_Del(state.recycler->managers.objects[--state.recycler->managers.count]);
  }
}

int add_manager_type(PyObject* module, ModuleState& state) noexcept {
  state.manager_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kSpec, nullptr));
  if (!state.manager_type || !make_self_methods(reinterpret_cast<PyObject*>(state.manager_type))) {
    return -1;
  }
  return PyModule_AddType(module, state.manager_type);
}

}  // namespace nuages::python
