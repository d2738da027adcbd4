// Ref: an owned reference to a Python object; and the few other helpers every file here needs.
//
// Steal it with Ref::take(new_reference), share it with Ref::share(borrowed). Needs the GIL
// wherever it is copied or destroyed. No exceptions, no cost over a raw pointer.
#pragma once

#include <cxxabi.h>

#include <string_view>
#include <utility>

#include "python/compat.h"

namespace nuages::python {

class Ref {
 public:
  Ref() noexcept = default;
  static Ref take(PyObject* owned) noexcept {
    Ref ref;
    ref.object_ = owned;
    return ref;
  }
  static Ref share(PyObject* borrowed) noexcept {
    Py_XINCREF(borrowed);
    return take(borrowed);
  }
  Ref(const Ref& other) noexcept : object_(other.object_) { Py_XINCREF(object_); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }

  PyObject* get() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  PyObject* release() noexcept { return std::exchange(object_, nullptr); }  // gives it away
  void reset() noexcept { Py_CLEAR(object_); }
  PyObject** slot() noexcept { return &object_; }  // for tp_traverse: Py_VISIT(ref.get()) suffices

 private:
  PyObject* object_ = nullptr;
};

// Never returns while the interpreter is being finalised, otherwise returns at once.
void hang_if_finalizing() noexcept;

// Calls into Python. Before 3.14 a daemon thread that wants the GIL while the interpreter is being
// finalised is unwound by pthread_exit(): C++ frames would run destructors without the GIL and end
// the process at the first noexcept. It sleeps here instead, as in 3.14, until the process is gone.
template <typename Function, typename... Arguments>
decltype(auto) call_python(Function function, Arguments... arguments) {
  try {
    return function(arguments...);
  } catch (const abi::__forced_unwind&) {
    hang_if_finalizing();
    throw;
  }
}

// What a signal handler raised while our Python code ran (SystemExit, KeyboardInterrupt, Celery's
// SoftTimeLimitExceeded) is the application's: it is raised again as soon as the application runs
// on. Other exceptions are left alone. Main thread only, as signal handlers are.
void postpone_interrupt(PyObject* exception) noexcept;

// PyErr_Clear() for an error that came out of Python code: interrupts are postponed, not lost.
void drop_error() noexcept;

// A method of any calling convention as CPython's tables want it.
template <typename F>
PyCFunction method(F* function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// UTF-8 of a str, valid as long as this object and the str. Lone surrogates become '?'; what is not
// a str is shown by str(). Empty (and no Python error) when even that fails.
class Utf8 {
 public:
  explicit Utf8(PyObject* object) noexcept;
  std::string_view view() const noexcept { return view_; }

 private:
  Ref kept_;
  std::string_view view_;
};

}  // namespace nuages::python
