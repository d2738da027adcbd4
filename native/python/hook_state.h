// Hooks: what all hooks of one interpreter share: types, interned names, caches, counters.
//
// Lives in ModuleState::hooks (multi-phase initialisation, no static PyObject*). Hook objects keep
// their type, and so the module and this, alive. Used under the GIL only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "python/database_info.h"
#include "python/hook_renders.h"
#include "python/module_state.h"
#include "python/span_object.h"
#include "sql/statement_cache.h"

namespace nuages::python {

struct Hooks : HookState {
  explicit Hooks(ModuleState& state) noexcept : module(state) {}
  int traverse(visitproc visit, void* arg) override;
  void clear() override;

  ModuleState& module;
  PyTypeObject* function_type = nullptr;  // HookFunction
  PyTypeObject* request_type = nullptr;   // RequestObject
  PyTypeObject* stream_type = nullptr;    // StreamObject

  Ref request_var;    // ContextVar: the RequestObject of the request being served
  Ref options;        // dict nuages.hooks.support.request_options, set by configure_hooks()
  Ref route_name;     // (route) -> normalised route
  Ref routes;         // dict: route -> normalised route
  Ref call_site;      // (parameters) -> nuages.hooks.places.CallSite or None
  Ref note_batch;     // (queryset) -> nuages.hooks.places.Batch or None
  Ref client_errors;  // tuple of exception classes that become 4xx responses

  // Interned names: scopes, attributes of Django objects, keys of the WSGI environment.
  Ref n_django, n_db, n_rest, n_celery, n_name, n_method, n_db_attribute, n_cursor, n_rowcount,
      n_result_cache, n_dict_database, n_dict_atomic, n_settings_dict, n_database_name, n_using,
      n_route, n_status_code, n_resource_closers, n_streaming, n_is_async, n_iterator, n_meta,
      n_scheme, n_connection, n_request_hook, n_response_hook, n_excluded, n_cache_alias, n_redis,
      n_connection_pool, n_connection_kwargs, n_command_stack, n_args, n_parameters, n_extract,
      n_propagate, n_propagator, n_usual_propagator, n_semconv_http, n_semconv_database, n_wrapped,
      n_database_module, n_commenter, n_dict_query, n_prepare, n_run_on_commit, n_module,
      n_qualname, n_user, n_headers;

  Ref counters_var;            // ContextVar: tuple of the QueryCounters that are open
  uint32_t open_counters = 0;  // in any Context

  // What the database hooks know: see hook_sql.h and database_info.h.
  struct OpenObject {
    PyObject* object;  // only compared
    unsigned long thread;
  };
  std::vector<OpenObject> open_calls;  // drivers' objects whose statement is being recorded
  Ref silent_var;                      // ContextVar: the drivers' hooks record nothing here
  uint32_t silenced = 0;               // how often that is set, in any Context
  std::vector<Ref> cursor_types;       // the drivers' hooked cursor classes
  enum class CursorShape : uint8_t { kDriver, kWrapped, kCursor, kOpaque };
  std::vector<std::pair<Ref, CursorShape>> cursor_shapes;  // by exact class
  DriverConnections connections;
  // Open spans of asynchronous cache operations and the cache each works on.
  std::unordered_map<const void*, const void*> caching_later;
  // What renders of one template right below another's span; the outer span's address is the key.
  std::unordered_map<const void*, RepeatedRenders> renders;

  sql::StatementCache statements;
  uint64_t failures = 0;
  std::unordered_set<std::string> logged;  // places that failed and were logged
};

// The application's exception while a hook works.
using SavedException = ErrorGuard;

// Attribute and item look-ups that leave no exception; empty when absent.
Ref attribute_of(PyObject* object, PyObject* name) noexcept;
PyObject* item_of(PyObject* dict, PyObject* name) noexcept;    // borrowed
PyObject* item_of(PyObject* dict, const char* name) noexcept;  // borrowed

// A capsule that owns the object from now on; null with a Python error (and the object gone).
template <typename T>
PyObject* hand_over(std::unique_ptr<T> object, const char* name, PyCapsule_Destructor destructor) {
  T* owned = object.release();
  PyObject* capsule = PyCapsule_New(owned, name, destructor);
  if (capsule == nullptr) delete owned;
  return capsule;
}

// Something in a hook itself went wrong at `place`: counted, logged the first time, and a Python
// error that is set is cleared. The application never notices.
void hook_failed(Hooks& hooks, std::string_view place) noexcept;

// What the span of this call would hang below.
enum class ParentKind : uint8_t {
  kNone,    // no current span: a new one would be a root
  kOurs,    // a recording span of ours
  kSilent,  // a span of ours that does not record: unsampled or excluded; record nothing
  kForeign  // somebody else's span object, for example a remote parent
};
struct Parent {
  ParentKind kind = ParentKind::kNone;
  Ref object;
  SpanObject* span() const noexcept { return reinterpret_cast<SpanObject*>(object.get()); }
};
Parent current_parent(Hooks& hooks) noexcept;

// The kinds of hooks, by name: `_native.hook(original, kind, data)`.
struct HookFunction;
struct HookCall;
using HookHandler = PyObject* (*)(HookFunction& hook, const HookCall& call);

PyObject* handle_span(HookFunction& hook, const HookCall& call);
PyObject* handle_view(HookFunction& hook, const HookCall& call);
PyObject* handle_view_seam(HookFunction& hook, const HookCall& call);
PyObject* handle_serializer(HookFunction& hook, const HookCall& call);
PyObject* handle_cache(HookFunction& hook, const HookCall& call);
PyObject* handle_redis_command(HookFunction& hook, const HookCall& call);
PyObject* handle_redis_pipeline(HookFunction& hook, const HookCall& call);
PyObject* handle_template_render(HookFunction& hook, const HookCall& call);
PyObject* handle_template_body(HookFunction& hook, const HookCall& call);
PyObject* handle_template_block(HookFunction& hook, const HookCall& call);
PyObject* handle_execute(HookFunction& hook, const HookCall& call);
PyObject* handle_executemany(HookFunction& hook, const HookCall& call);
PyObject* handle_callproc(HookFunction& hook, const HookCall& call);
PyObject* handle_transaction_end(HookFunction& hook, const HookCall& call);
PyObject* handle_fetch_all(HookFunction& hook, const HookCall& call);
PyObject* handle_on_commit(HookFunction& hook, const HookCall& call);
PyObject* handle_connect(HookFunction& hook, const HookCall& call);
PyObject* handle_cursor_attribute(HookFunction& hook, const HookCall& call);
PyObject* handle_fetch(HookFunction& hook, const HookCall& call);
PyObject* handle_driver_execute(HookFunction& hook, const HookCall& call);
PyObject* handle_driver_executemany(HookFunction& hook, const HookCall& call);
PyObject* handle_driver_callproc(HookFunction& hook, const HookCall& call);
PyObject* handle_connection_execute(HookFunction& hook, const HookCall& call);
PyObject* handle_connection_executemany(HookFunction& hook, const HookCall& call);
PyObject* handle_silent(HookFunction& hook, const HookCall& call);
PyObject* handle_driver_transaction(HookFunction& hook, const HookCall& call);
PyObject* handle_atomic_enter(HookFunction& hook, const HookCall& call);
PyObject* handle_atomic_exit(HookFunction& hook, const HookCall& call);
PyObject* handle_wsgi(HookFunction& hook, const HookCall& call);
PyObject* handle_get_response(HookFunction& hook, const HookCall& call);
PyObject* handle_resolve(HookFunction& hook, const HookCall& call);
PyObject* handle_exception_response(HookFunction& hook, const HookCall& call);
PyObject* handle_part(HookFunction& hook, const HookCall& call);
PyObject* handle_around(HookFunction& hook, const HookCall& call);

// Module functions and types of the single files, added by register_hooks().
bool add_function_type(PyObject* module, Hooks& hooks) noexcept;
bool add_request_type(PyObject* module, Hooks& hooks) noexcept;
bool add_stream_type(PyObject* module, Hooks& hooks) noexcept;
PyObject* make_span_template(PyObject* module, PyObject* arguments);
PyObject* enter_span(PyObject* module, PyObject* capsule);
PyObject* leave_span(PyObject* module, PyObject* arguments);
PyObject* enter_part(PyObject* module, PyObject* arguments);
PyObject* enter_cache(PyObject* module, PyObject* arguments);
PyObject* leave_cache(PyObject* module, PyObject* arguments);
PyObject* begin_redis(PyObject* module, PyObject* arguments);
PyObject* end_redis(PyObject* module, PyObject* arguments);
PyObject* begin_sql(PyObject* module, PyObject* arguments);
PyObject* end_sql(PyObject* module, PyObject* arguments);
PyObject* know_connection(PyObject* module, PyObject* arguments);
PyObject* set_cursor_types(PyObject* module, PyObject* types);
PyObject* patch_type(PyObject* module, PyObject* arguments);
PyObject* start_task_span(PyObject* module, PyObject* arguments);
PyObject* begin_request_span(PyObject* module, PyObject* request);
PyObject* begin_asgi(PyObject* module, PyObject* scope);
PyObject* start_message_span(PyObject* module, PyObject* arguments);

}  // namespace nuages::python
