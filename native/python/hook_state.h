// HookState: what all hooks of one interpreter share: types, interned names, the failure counter.
//
// One per module object (multi-phase initialisation: no static PyObject*), owned by a capsule in the
// module's dictionary that every hook references, so that a hook outlives the module's teardown.
// Used under the GIL only.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace nuages::python {

// Py_NewRef and Py_XNewRef, which Python 3.9 lacks.
inline PyObject* new_reference(PyObject* object) {
  Py_XINCREF(object);
  return object;
}

// An owned reference; null is "none or error".
class Reference {
 public:
  Reference() = default;
  explicit Reference(PyObject* owned) : object_(owned) {}
  Reference(Reference&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    if (this != &other) {
      PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
      Py_XDECREF(old);
    }
    return *this;
  }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() { Py_XDECREF(object_); }

  static Reference borrowed(PyObject* object) {
    Py_XINCREF(object);
    return Reference(object);
  }

  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_ = nullptr;
};

// Sets the application's exception aside while a hook works, and puts it back unchanged.
class SavedException {
 public:
  SavedException() { PyErr_Fetch(&type_, &value_, &traceback_); }
  SavedException(const SavedException&) = delete;
  SavedException& operator=(const SavedException&) = delete;
  ~SavedException() {
    if (type_ != nullptr) {
      PyErr_Restore(type_, value_, traceback_);
    } else {
      PyErr_Clear();
    }
  }

  bool any() const { return type_ != nullptr; }
  // Borrowed, normalised, with its traceback attached; null when there is no exception.
  PyObject* value() {
    if (type_ == nullptr) return nullptr;
    PyErr_NormalizeException(&type_, &value_, &traceback_);
    if (traceback_ != nullptr && value_ != nullptr) PyException_SetTraceback(value_, traceback_);
    return value_;
  }

 private:
  PyObject* type_ = nullptr;
  PyObject* value_ = nullptr;
  PyObject* traceback_ = nullptr;
};

struct HookState {
  PyTypeObject* hook_type = nullptr;
  uint64_t failures = 0;
  std::unordered_set<std::string> logged;  // one log line per place that failed
};

// The UTF-8 of a str; empty for anything else. Never leaves an exception set. The view lives as
// long as the object.
std::string_view text_of(PyObject* object);

// Attribute or dictionary look-ups that never leave an exception set; null when absent.
Reference attribute_of(PyObject* object, const char* name);
PyObject* item_of(PyObject* dict, const char* name);  // borrowed

// Something in a hook itself went wrong at `place`: counts it, logs the first time, clears the
// exception if one is set. The application never notices.
void hook_failed(HookState& state, std::string_view place);

// Creates the state, the hook type and the functions of `_native` that install hooks. Called once
// from the module's exec slot; -1 with an exception set on failure.
int add_hooks(PyObject* module);

}  // namespace nuages::python
