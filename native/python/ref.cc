#include "python/ref.h"

namespace nuages::python {

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
    const Ref shown = Ref::take(PyObject_Str(object));
    if (shown) kept_ = Ref::take(PyUnicode_AsEncodedString(shown.get(), "utf-8", "replace"));
  }
  if (!kept_) {
    PyErr_Clear();
    return;
  }
  view_ = {PyBytes_AS_STRING(kept_.get()), static_cast<size_t>(PyBytes_GET_SIZE(kept_.get()))};
}

}  // namespace nuages::python
