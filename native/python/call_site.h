// What an N+1 finding says besides the count: where the application asked, and where it had fetched
// the rows that it asked for. Both come from nuages.hooks.places, which walks the Python frames.
#pragma once

#include "python/hook_function.h"
#include "trace/local_root.h"

namespace nuages::python {

// Asks for the place of the execution that is just over and notes it in the table. `sql` is the
// text as the application gave it. Leaves no Python error; costs a frame walk, so only when asked
// for.
void add_call_site(Hooks& hooks, trace::LocalRoot& table, uint64_t alias, uint64_t fingerprint,
                   std::string_view sql, PyObject* parameters) noexcept;

}  // namespace nuages::python
