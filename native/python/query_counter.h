// QueryCounter: counts the statements that run inside a `with` block, whatever is traced meanwhile.
//
// What `detect_n_plus_one` and nuages.testing are made of: the same table as a trace's own
// (trace::LocalRoot), open to Python. Counters nest and follow the Context: tasks of asyncio and
// threads of sync_to_async that copy it count into the counters of the code that started them.
// Threading: under the GIL. Cost for a query while no counter is open: one comparison.
#pragma once

#include <vector>

#include "python/hook_state.h"
#include "trace/local_root.h"

namespace nuages::python {

bool add_query_counter_type(PyObject* module, Hooks& hooks) noexcept;

// The tables of the counters that are open in the current Context, outermost first.
std::vector<trace::Ref<trace::LocalRoot>> open_query_counters(Hooks& hooks);

}  // namespace nuages::python
