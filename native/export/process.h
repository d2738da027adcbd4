// What fork() and exit() of the process mean for all exporter threads: one place for both.
//
// fork: the prepare handler brings every exporter thread to a safe point (outside libcurl, OpenSSL
// and the allocator) and holds it there; the parent lets them go on; the child resets every
// exporter to empty. Works for any fork() through libc (Python, uWSGI, multiprocessing); vfork and
// posix_spawn run no handlers and need none.
// exit, draining: a process may call exit() with spans queued and without Python's exit handlers
// (uWSGI does so from its signal handler when a worker is busy), so our handler delivers what it
// can within the exit timeout: it does nothing when the pipelines were shut down before, allocates
// nothing itself and waits for no lock longer than a second, because it may have interrupted
// anything.
// exit, holding: libcurl and OpenSSL free their globals in exit handlers, also under a thread that
// is inside of them or whose thread-local state is just being freed. Our handler runs before theirs
// (exit handlers run last in, first out; it is registered after curl_global_init), holds every
// exporter thread at its safe point for good and joins those that are ending.
//
// Locks: the registry's is taken before any lock of an Exporter, the one of ended threads after.
#pragma once

#include <cstdint>
#include <memory>

namespace nuages::exporter {

class Exporter;

void add_exporter(Exporter* exporter);
// Forgets `exporter` and calls its destroy_client(), where neither a fork nor the exit can meet it.
void remove_exporter(Exporter* exporter);

// Waits until everything that is queued anywhere in the process has been delivered, is hopeless, or
// the time is over: for an end of the process after which neither Python's exit handlers of the
// other interpreters nor exit()'s run.
void flush_exporters(uint64_t deadline_ns) noexcept;

// Starts the thread that calls exporter->run(). False: no thread to be had, or the process exits.
bool start_exporter_thread(std::shared_ptr<Exporter> exporter);

// How long the exit may wait for delivery; 5 s unless it is set.
void set_exit_timeout(uint32_t milliseconds);

// Call once libcurl is initialised; later calls do nothing.
void register_exit_handler();

}  // namespace nuages::exporter
