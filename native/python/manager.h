// CurrentSpanManager: what start_as_current_span() returns.
//
// The span starts at __enter__, as with the SDK's generator. __exit__ gives the context back,
// records an Exception, ends the span and never swallows anything. As a decorator every call of the
// function makes a new span; coroutine functions end it after the awaited body (wrapping is done in
// Python).
//
// Before CPython 3.14 a `with` statement makes two bound method objects, which cost as much as the
// span's clock. Here `manager.__enter__` and `manager.__exit__` are the manager itself, which tells
// by the number of arguments what it is called as: none to enter, three to exit, one to decorate.
#pragma once

#include "python/context.h"
#include "python/module_state.h"
#include "python/provider.h"

namespace nuages::python {

// The arguments of start_span and start_as_current_span, owned.
struct StartArguments {
  Ref name, context, kind, attributes, links;
  uint64_t start_ns = 0;
  bool record_exception = true;
  bool set_status_on_exception = true;
  bool end_on_exit = true;

  // `count` of the nine names are accepted. False with a Python error.
  bool read(const char* function, size_t count, PyObject* const* args, Py_ssize_t nargs,
            PyObject* kwnames) noexcept;
  // `current`: the current Context, if known.
  Ref start(TracerObject& tracer, PyObject* current = nullptr) const noexcept;
};

// Called as start_as_current_span. Null with a Python error.
PyObject* make_manager(TracerObject& tracer, PyObject* const* args, Py_ssize_t nargs,
                       PyObject* kwnames) noexcept;
void free_idle_managers(ModuleState& state) noexcept;

int add_manager_type(PyObject* module, ModuleState& state) noexcept;

}  // namespace nuages::python
