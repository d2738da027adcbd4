#include "python/ref.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace nuages::python {
namespace {

int raise_postponed(void* context) {
  const Ref exception = Ref::take(static_cast<PyObject*>(context));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  return -1;
}

bool is_interrupt(PyObject* exception) noexcept {
  return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) != 0 ||
         PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) != 0 ||
         std::string_view(Py_TYPE(exception)->tp_name) == "SoftTimeLimitExceeded";
}

}  // namespace

void hang_if_finalizing() noexcept {
  if (!is_finalizing()) return;
  for (;;) pause();
}

void postpone_interrupt(PyObject* exception) noexcept {
  if (exception == nullptr || !PyExceptionInstance_Check(exception) || !is_interrupt(exception) ||
      syscall(SYS_gettid) != getpid()) {
    return;
  }
  Py_INCREF(exception);
  if (Py_AddPendingCall(raise_postponed, exception) != 0) Py_DECREF(exception);
}

void drop_error() noexcept {
  if (PyErr_Occurred() == nullptr) return;
  const Ref error = Ref::take(take_exception());
  postpone_interrupt(error.get());
}

Utf8::Utf8(PyObject* object) noexcept {
  Py_ssize_t size = 0;
  if (PyUnicode_Check(object)) {
    if (const char* text = PyUnicode_AsUTF8AndSize(object, &size)) {
      view_ = {text, static_cast<size_t>(size)};
      return;
    }
    PyErr_Clear();  // lone surrogates
    kept_ = Ref::take(PyUnicode_AsEncodedString(object, "utf-8", "replace"));
  } else {
    const Ref shown = Ref::take(call_python(PyObject_Str, object));
    if (shown) kept_ = Ref::take(PyUnicode_AsEncodedString(shown.get(), "utf-8", "replace"));
  }
  if (!kept_) {
    PyErr_Clear();
    return;
  }
  view_ = {PyBytes_AS_STRING(kept_.get()), static_cast<size_t>(PyBytes_GET_SIZE(kept_.get()))};
}

}  // namespace nuages::python
