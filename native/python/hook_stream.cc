// A streaming body: each step of its iterator runs with the request's span current, so that queries
// made while streaming belong to the request, and stay silent when the request does.
#include "python/hook_request.h"
#include "python/hook_span.h"

namespace nuages::python {
namespace {

struct StreamObject {
  PyObject_HEAD RequestObject* request;  // owned
  PyObject* inner;                       // owned iterator
};

PyObject* stream_next(PyObject* self) {
  auto& stream = *reinterpret_cast<StreamObject*>(self);
  Hooks& hooks = *stream.request->hooks;
  Activation activation;
  activate(hooks.module, stream.request->span->get(), activation);
  PyObject* item = call_python(Py_TYPE(stream.inner)->tp_iternext, stream.inner);
  deactivate(hooks.module, activation);
  if (item == nullptr && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
    SavedException saved;
    request_failed(*stream.request, saved.value());
  }
  return item;
}

PyObject* stream_iter(PyObject* self) {
  Py_INCREF(self);
  return self;
}

int stream_traverse(PyObject* self, visitproc visit, void* arg) {
  auto& stream = *reinterpret_cast<StreamObject*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(stream.request));
  Py_VISIT(stream.inner);
  return 0;
}

void stream_dealloc(PyObject* self) {
  auto& stream = *reinterpret_cast<StreamObject*>(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(stream.inner);
  Py_CLEAR(stream.request);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot stream_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(stream_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(stream_traverse)},
    {Py_tp_iter, reinterpret_cast<void*>(stream_iter)},
    {Py_tp_iternext, reinterpret_cast<void*>(stream_next)},
    {0, nullptr},
};
PyType_Spec stream_spec = {"nuages._native.Stream", sizeof(StreamObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | kNoConstructor, stream_slots};

// response._iterator is where StreamingHttpResponse keeps the body it was given.
}  // namespace

void wrap_stream(RequestObject& request, PyObject* response) noexcept {
  Hooks& hooks = *request.hooks;
  const Ref streaming = attribute_of(response, hooks.n_streaming.get());
  const Ref is_async = attribute_of(response, hooks.n_is_async.get());
  if (!streaming || streaming.get() != Py_True || (is_async && is_async.get() == Py_True)) return;
  Ref inner = attribute_of(response, hooks.n_iterator.get());
  if (!inner || Py_TYPE(inner.get())->tp_iternext == nullptr) return;
  PyObject* object = hooks.stream_type->tp_alloc(hooks.stream_type, 0);
  if (object == nullptr) {
    hook_failed(hooks, "following a streaming response");
    return;
  }
  auto& stream = *reinterpret_cast<StreamObject*>(object);
  Py_INCREF(reinterpret_cast<PyObject*>(&request));
  stream.request = &request;
  stream.inner = inner.release();
  const Ref wrapper = Ref::take(object);
  if (call_python(PyObject_SetAttr, response, hooks.n_iterator.get(), wrapper.get()) < 0) {
    hook_failed(hooks, "following a streaming response");
  }
}

bool add_stream_type(PyObject* module, Hooks& hooks) noexcept {
  PyObject* type = PyType_FromModuleAndSpec(module, &stream_spec, nullptr);
  hooks.stream_type = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

}  // namespace nuages::python
