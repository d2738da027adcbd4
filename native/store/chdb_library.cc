#include "store/chdb_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <mutex>

namespace nuages::store {
namespace {

struct Loaded {
  std::mutex mutex;
  std::string path;
  ChdbLibrary functions{};
};

Loaded& loaded() {
  static auto* instance = new Loaded;  // never destroyed: engine threads may outlive main
  return *instance;
}

std::string fix() { return "run 'make setup' or name the file with --store-library"; }

template <typename Function>
bool find(void* library, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(library, name));
  return out != nullptr;
}

const char* find_all(void* library, ChdbLibrary& f) {
  const char* missing = nullptr;
  auto need = [&](const char* name, auto& out) {
    if (!find(library, name, out) && missing == nullptr) missing = name;
  };
  need("chdb_version", f.version);
  need("chdb_set_signal_handlers_enabled", f.set_signal_handlers_enabled);
  need("chdb_connect", f.connect);
  need("chdb_close_conn", f.close);
  need("chdb_query_with_params_n", f.query);
  need("chdb_stream_query_with_params_n", f.stream_query);
  need("chdb_stream_fetch_result", f.stream_fetch);
  need("chdb_stream_cancel_query", f.stream_cancel);
  need("chdb_destroy_query_result", f.destroy_result);
  need("chdb_stream_insert_n", f.insert_open);
  need("chdb_stream_append", f.insert_append);
  need("chdb_stream_done", f.insert_done);
  need("chdb_stream_cancel_insert", f.insert_cancel);
  need("chdb_stream_insert_error", f.insert_error);
  need("chdb_destroy_insert_stream", f.insert_destroy);
  need("chdb_result_buffer", f.result_buffer);
  need("chdb_result_length", f.result_length);
  need("chdb_result_error", f.result_error);
  return missing;
}

}  // namespace

Result<const ChdbLibrary*> load_chdb_library(const std::string& path) {
  if (!kChdbRuns) {
    return Error{ErrorCode::kUnavailable,
                 "the embedded store does not run in a program built with a sanitizer: use the "
                 "preset dev or release"};
  }
  Loaded& state = loaded();
  const std::lock_guard lock(state.mutex);
  if (!state.path.empty()) {
    if (state.path == path) return &state.functions;
    return Error{ErrorCode::kInvalid, "the store library " + state.path +
                                          " is loaded already; a process cannot load " + path +
                                          " too"};
  }
  if (path.empty() || access(path.c_str(), R_OK) != 0) {
    return Error{ErrorCode::kUnavailable, "the store library is not at '" + path + "': " + fix()};
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();  // NOLINT(concurrency-mt-unsafe): the mutex is held
    return Error{ErrorCode::kUnavailable, "the store library '" + path + "' does not load (" +
                                              (reason != nullptr ? reason : "no reason given") +
                                              "): " + fix()};
  }
  ChdbLibrary functions{};
  if (const char* missing = find_all(library, functions); missing != nullptr) {
    dlclose(library);
    return Error{ErrorCode::kUnavailable, "the store library '" + path + "' lacks the function " +
                                              missing + " (chDB 26.7 has it): " + fix()};
  }
  functions.set_signal_handlers_enabled(0);
  state.functions = functions;
  state.path = path;
  return &state.functions;
}

}  // namespace nuages::store
