// Fork safety of all pipelines of a process: one registration of pthread_atfork handlers.
//
// prepare brings every exporter thread to a safe point and holds it there; the parent lets them go
// on; the child resets every exporter to empty. Works for any fork() through libc (Python, uWSGI,
// multiprocessing); vfork and posix_spawn run no handlers and need none.
#pragma once

namespace nuages::exporter {

class Exporter;

void register_exporter(Exporter* exporter);
void unregister_exporter(Exporter* exporter);

}  // namespace nuages::exporter
