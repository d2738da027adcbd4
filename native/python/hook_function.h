// HookFunction: the callable that stands where a hooked function stood.
//
// It binds like a function (a method descriptor, so that CPython's fast method call skips the bound
// method), keeps __dict__, __name__, __doc__, __module__, __qualname__ and __wrapped__, hands every
// other attribute through to the original, and vectorcalls the original from C++: no Python frame
// is added to the application's stack. What happens before and after the call is the handler's
// business; a handler is one C++ function per kind of hook and must call the original exactly once,
// hand its result or exception on unchanged and swallow its own errors through hook_failed().
//
// Threading: objects are immutable after creation but for `enabled`; everything runs under the GIL.
// Lifetime: a hook owns its original, its data and (by its type) the module state, so it works
// under somebody else's wrapper after uninstall (then `enabled` is false and it passes through).
// Cost: one indirect call and two branches per pass-through call.
#pragma once

#include "python/hook_state.h"

namespace nuages::python {

struct HookCall {
  PyObject* const* args;
  size_t flagged_count;  // as vectorcall got it, with PY_VECTORCALL_ARGUMENTS_OFFSET
  PyObject* keywords;    // tuple of names or null

  Py_ssize_t count() const noexcept { return PyVectorcall_NARGS(flagged_count); }
  // Borrowed; null when there is no such positional argument.
  PyObject* positional(Py_ssize_t index) const noexcept {
    return index < count() ? args[index] : nullptr;
  }
  // Borrowed: the positional argument, or the keyword of that name, or null.
  PyObject* argument(Py_ssize_t index, const char* name) const noexcept;
};

struct HookFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  HookHandler handler;
  PyObject* original;
  PyObject* dict;
  PyObject* weak_references;
  PyObject* data;  // what the kind needs; may be null
  Hooks* hooks;
  bool enabled;
};

// Calls the original with the same arguments. New reference, or null with the exception set.
inline PyObject* call_original(HookFunction& hook, const HookCall& call) {
  return call_python(PyObject_Vectorcall, hook.original, call.args, call.flagged_count,
                     call.keywords);
}

// A new hook around `original`; `data` may be null. With `identity` it gets the original's name,
// doc and __dict__ as functools.wraps would give them; hooks that live for one call do without.
PyObject* new_hook(Hooks& hooks, PyObject* original, HookHandler handler, PyObject* data,
                   bool identity) noexcept;

}  // namespace nuages::python
