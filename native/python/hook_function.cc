#include "python/hook_function.h"

#include <structmember.h>

#include <cstddef>

namespace nuages::python {
namespace {

HookFunction& as_hook(PyObject* object) { return *reinterpret_cast<HookFunction*>(object); }

PyObject* hook_vectorcall(PyObject* callable, PyObject* const* args, size_t flagged_count,
                          PyObject* keywords) {
  HookFunction& hook = as_hook(callable);
  const HookCall call{args, flagged_count, keywords};
  if (!hook.enabled) return call_original(hook, call);
  try {
    return hook.handler(hook, call);
  } catch (const abi::__forced_unwind&) {
    throw;         // somebody ends this thread
  } catch (...) {  // std::bad_alloc is all that can come
    return PyErr_NoMemory();
  }
}

PyObject* hook_bind(PyObject* self, PyObject* object, PyObject* /*type*/) {
  if (object == nullptr || object == Py_None) {
    Py_INCREF(self);
    return self;
  }
  return PyMethod_New(self, object);
}

// What is not ours is the original's: __code__, __defaults__, __self__, marks of decorators, ...
PyObject* hook_getattro(PyObject* self, PyObject* name) {
  PyObject* own = PyObject_GenericGetAttr(self, name);
  if (own != nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) return own;
  PyErr_Clear();
  return call_python(PyObject_GetAttr, as_hook(self).original, name);
}

PyObject* hook_repr(PyObject* self) { return call_python(PyObject_Repr, as_hook(self).original); }

// Pickled as functions are: by the name it is found under.
PyObject* hook_reduce(PyObject* self, PyObject* /*unused*/) {
  return call_python(PyObject_GetAttrString, self, "__qualname__");
}

int hook_traverse(PyObject* self, visitproc visit, void* arg) {
  HookFunction& hook = as_hook(self);
  Py_VISIT(hook.original);
  Py_VISIT(hook.dict);
  Py_VISIT(hook.data);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int hook_clear(PyObject* self) {
  HookFunction& hook = as_hook(self);
  hook.enabled = false;  // its data is gone; the original stays until deallocation
  Py_CLEAR(hook.dict);
  Py_CLEAR(hook.data);
  return 0;
}

void hook_dealloc(PyObject* self) {
  HookFunction& hook = as_hook(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (hook.weak_references != nullptr) PyObject_ClearWeakRefs(self);
  hook_clear(self);
  Py_CLEAR(hook.original);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef hook_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(HookFunction, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(HookFunction, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(HookFunction, weak_references), READONLY, nullptr},
    {"nuages_enabled", T_BOOL, offsetof(HookFunction, enabled), 0, nullptr},
    {"nuages_original", T_OBJECT, offsetof(HookFunction, original), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyGetSetDef hook_properties[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMethodDef hook_methods[] = {
    {"__reduce__", hook_reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot hook_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(hook_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(hook_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(hook_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_descr_get, reinterpret_cast<void*>(hook_bind)},
    {Py_tp_getattro, reinterpret_cast<void*>(hook_getattro)},
    {Py_tp_setattro, reinterpret_cast<void*>(PyObject_GenericSetAttr)},
    {Py_tp_repr, reinterpret_cast<void*>(hook_repr)},
    {Py_tp_members, hook_members},
    {Py_tp_getset, hook_properties},
    {Py_tp_methods, hook_methods},
    {0, nullptr},
};
PyType_Spec hook_spec = {"nuages._native.HookFunction", sizeof(HookFunction), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                             Py_TPFLAGS_METHOD_DESCRIPTOR | kNoConstructor,
                         hook_slots};

// As functools.update_wrapper does it; a missing attribute is simply not there.
bool copy_identity(HookFunction& hook) noexcept {
  hook.dict = PyDict_New();
  if (hook.dict == nullptr) return false;
  for (const char* name : {"__module__", "__name__", "__qualname__", "__doc__"}) {
    const Ref value = Ref::take(call_python(PyObject_GetAttrString, hook.original, name));
    if (!value) {
      PyErr_Clear();
    } else if (PyDict_SetItemString(hook.dict, name, value.get()) < 0) {
      return false;
    }
  }
  if (PyFunction_Check(hook.original)) {
    const Ref dict = Ref::take(PyObject_GenericGetDict(hook.original, nullptr));
    if (!dict || PyDict_Update(hook.dict, dict.get()) < 0) return false;
  }
  return PyDict_SetItemString(hook.dict, "__wrapped__", hook.original) == 0;
}

}  // namespace

PyObject* HookCall::argument(Py_ssize_t index, const char* name) const noexcept {
  if (PyObject* found = positional(index)) return found;
  if (keywords == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); ++i) {
    if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, i), name) == 0) {
      return args[count() + i];
    }
  }
  return nullptr;
}

PyObject* new_hook(Hooks& hooks, PyObject* original, HookHandler handler, PyObject* data,
                   bool identity) noexcept {
  PyObject* self = hooks.function_type->tp_alloc(hooks.function_type, 0);
  if (self == nullptr) return nullptr;
  HookFunction& hook = as_hook(self);
  Py_INCREF(original);
  Py_XINCREF(data);
  hook.vectorcall = hook_vectorcall;
  hook.handler = handler;
  hook.original = original;
  hook.data = data;
  hook.hooks = &hooks;
  hook.enabled = true;
  if (identity && !copy_identity(hook)) {
    Py_DECREF(self);
    return nullptr;
  }
  return self;
}

bool add_function_type(PyObject* module, Hooks& hooks) noexcept {
  PyObject* type = PyType_FromModuleAndSpec(module, &hook_spec, nullptr);
  if (type == nullptr) return false;
  hooks.function_type = reinterpret_cast<PyTypeObject*>(type);
  return PyModule_AddType(module, hooks.function_type) == 0;
}

}  // namespace nuages::python
