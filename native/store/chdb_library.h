// ClickHouse in-process: the C functions of libchdb.so, found at run time.
//
// The package that brings the library has no header, so the functions we use are declared here as
// chDB's public C interface documents them. The library is 560 MB and needs AVX2, so nothing links
// to it: without it the server still starts, receives and says what is missing.
//
// Loaded once per process and never unloaded (its threads outlive any handle). One data path per
// process is the engine's rule; several connections to it run in parallel, one statement each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace nuages::store {

// Opaque to us; the engine owns what they point to.
struct ChdbResult;
struct ChdbConnectionHandle;
struct ChdbInsertHandle;
using ChdbConnection = ChdbConnectionHandle*;
using ChdbInsertStream = ChdbInsertHandle*;

struct ChdbLibrary {
  const char* (*version)();
  void (*set_signal_handlers_enabled)(int);
  ChdbConnection* (*connect)(int argc, char** argv);
  void (*close)(ChdbConnection*);
  ChdbResult* (*query)(ChdbConnection, const char* sql, size_t sql_size, const char* format,
                       size_t format_size, const char* const* names, const size_t* name_sizes,
                       const char* const* values, const size_t* value_sizes, size_t count);
  ChdbResult* (*stream_query)(ChdbConnection, const char* sql, size_t sql_size, const char* format,
                              size_t format_size, const char* const* names,
                              const size_t* name_sizes, const char* const* values,
                              const size_t* value_sizes, size_t count);
  ChdbResult* (*stream_fetch)(ChdbConnection, ChdbResult* stream);
  void (*stream_cancel)(ChdbConnection, ChdbResult* stream);
  void (*destroy_result)(ChdbResult*);
  ChdbInsertStream (*insert_open)(ChdbConnection, const char* sql, size_t sql_size,
                                  const char* format, size_t format_size);
  int (*insert_append)(ChdbInsertStream, const void* data, size_t size);  // 0: good
  ChdbResult* (*insert_done)(ChdbInsertStream);
  void (*insert_cancel)(ChdbInsertStream);
  const char* (*insert_error)(ChdbInsertStream);
  void (*insert_destroy)(ChdbInsertStream);
  char* (*result_buffer)(ChdbResult*);
  size_t (*result_length)(ChdbResult*);
  const char* (*result_error)(ChdbResult*);
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kChdbRuns = false;
#else
inline constexpr bool kChdbRuns = true;
#endif

// Loads the library at `path`, or returns the one already loaded. Signal handlers of the process
// are left alone. The error names the path and the fix. Under the address and thread sanitizers of
// GCC 12 it is always an Error: their interceptors crash the library's start-up code.
Result<const ChdbLibrary*> load_chdb_library(const std::string& path);

}  // namespace nuages::store
