// Native log lines on their way to Python's logging.
//
// Any native thread may log; lines wait in a bounded list and are handed to logging.getLogger(
// "nuages") by the next span that ends, by flushes and at exit. The agent never prints, and native
// threads never take the GIL.
#pragma once

#include "python/module_state.h"

namespace nuages::python {

void install_log_sink() noexcept;

// Calls the Python side when lines are waiting: one relaxed load otherwise. Keeps a pending error.
void drain_logs(ModuleState& state) noexcept;

// The waiting lines as a list of (level, component, text, lost); module function.
PyObject* take_logs(PyObject* module, PyObject* unused) noexcept;

}  // namespace nuages::python
