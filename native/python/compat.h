// The differences between CPython 3.9 and 3.14 that this folder meets, in one place.
//
// Everything else used here means the same in all of them; tools/pythons.py proves it on the
// interpreters it finds. Needs the GIL. Source: "What's New" of each version, section C API.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

namespace nuages::python {

// Whether the GIL keeps threads apart, so that spans and queues need no locks of their own.
#ifdef Py_GIL_DISABLED
inline constexpr bool kSerialised = false;
#else
inline constexpr bool kSerialised = true;
#endif

// Types whose objects only native code makes.
#if PY_VERSION_HEX >= 0x030A0000
inline constexpr unsigned long kNoConstructor = Py_TPFLAGS_DISALLOW_INSTANTIATION;
#else
inline constexpr unsigned long kNoConstructor = 0;  // calling one is an error of the caller's
#endif

inline bool is_finalizing() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

// Whether a weak reference still means this object.
inline bool weakly_refers_to(PyObject* weak, PyObject* object) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* found = nullptr;
  if (PyWeakref_GetRef(weak, &found) < 0) PyErr_Clear();
  Py_XDECREF(found);
  return found == object;
#else
  return PyWeakref_GetObject(weak) == object;
#endif
}

// A number that changes with every change of a dict; 0 where there is no such number.
inline uint64_t dict_version(PyObject* dict) noexcept {
#if PY_VERSION_HEX < 0x030C0000
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  static_cast<void>(dict);
  return 0;
#endif
}

// The exception that is set, as an instance with its traceback (a new reference), and clears it;
// null when none is set.
inline PyObject* take_exception() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return nullptr;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr && value != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

// Sets the exception that is set aside while code of ours runs, and puts it back unchanged.
class ErrorGuard {
 public:
#if PY_VERSION_HEX >= 0x030C0000
  ErrorGuard() noexcept : value_(PyErr_GetRaisedException()) {}
  ~ErrorGuard() { PyErr_SetRaisedException(value_); }
  bool any() const noexcept { return value_ != nullptr; }
  // Borrowed, with its traceback attached; null when there is no exception.
  PyObject* value() noexcept { return value_; }
#else
  ErrorGuard() noexcept { PyErr_Fetch(&type_, &value_, &traceback_); }
  ~ErrorGuard() { PyErr_Restore(type_, value_, traceback_); }
  bool any() const noexcept { return type_ != nullptr; }
  PyObject* value() noexcept {
    if (type_ == nullptr) return nullptr;
    PyErr_NormalizeException(&type_, &value_, &traceback_);
    if (traceback_ != nullptr && value_ != nullptr) PyException_SetTraceback(value_, traceback_);
    return value_;
  }
#endif
  ErrorGuard(const ErrorGuard&) = delete;
  ErrorGuard& operator=(const ErrorGuard&) = delete;

 private:
#if PY_VERSION_HEX < 0x030C0000
  PyObject* type_ = nullptr;
  PyObject* traceback_ = nullptr;
#endif
  PyObject* value_ = nullptr;
};

}  // namespace nuages::python
