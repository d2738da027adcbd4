// The run-time off switch: pause() and resume(), and a file whose presence switches recording off.
//
// While it is off no span starts, no leaf is recorded and nothing that ends is published; what is
// queued already leaves. The file is looked for when a trace starts, at most once a second. One
// atomic read otherwise. Any thread.
#pragma once

#include "python/ref.h"

namespace nuages::python {

bool is_off() noexcept;
void look_for_off_file() noexcept;  // where a trace starts

PyObject* set_paused(PyObject* module, PyObject* paused) noexcept;
PyObject* set_off_file(PyObject* module, PyObject* path) noexcept;  // "": none

}  // namespace nuages::python
