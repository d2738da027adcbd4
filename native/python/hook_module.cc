// The hooks' entry into the extension: register_hooks() and the functions of `_native` they add.
#include <iterator>

#include "base/log.h"
#include "python/hook_function.h"
#include "python/hook_request.h"
#include "python/hook_span.h"
#include "python/off_switch.h"
#include "python/propagation.h"
#include "python/query_counter.h"

namespace nuages::python {
namespace {

struct Kind {
  const char* name;
  HookHandler handler;
};
constexpr Kind kKinds[] = {
    {"span", handle_span},
    {"view", handle_view},
    {"view_seam", handle_view_seam},
    {"serializer", handle_serializer},
    {"cache", handle_cache},
    {"redis_command", handle_redis_command},
    {"redis_pipeline", handle_redis_pipeline},
    {"template_render", handle_template_render},
    {"template_body", handle_template_body},
    {"template_block", handle_template_block},
    {"execute", handle_execute},
    {"executemany", handle_executemany},
    {"callproc", handle_callproc},
    {"transaction_end", handle_transaction_end},
    {"fetch_all", handle_fetch_all},
    {"on_commit", handle_on_commit},
    {"connect", handle_connect},
    {"cursor_attribute", handle_cursor_attribute},
    {"driver_execute", handle_driver_execute},
    {"driver_executemany", handle_driver_executemany},
    {"driver_callproc", handle_driver_callproc},
    {"connection_execute", handle_connection_execute},
    {"connection_executemany", handle_connection_executemany},
    {"silent", handle_silent},
    {"driver_transaction", handle_driver_transaction},
    {"atomic_enter", handle_atomic_enter},
    {"atomic_exit", handle_atomic_exit},
    {"wsgi", handle_wsgi},
    {"get_response", handle_get_response},
    {"resolve", handle_resolve},
    {"exception_response", handle_exception_response},
    {"part", handle_part},
    {"around", handle_around},
};

Hooks* hooks_of(PyObject* module) {
  ModuleState* state = module_state(module);
  if (state == nullptr) return nullptr;
  if (!state->hooks) {
    PyErr_SetString(PyExc_RuntimeError, "the hooks of this module are gone");
    return nullptr;
  }
  return static_cast<Hooks*>(state->hooks.get());
}

// hook(original, kind, data=None)
PyObject* make_hook(PyObject* module, PyObject* arguments) {
  PyObject *original = nullptr, *data = nullptr;
  const char* kind = nullptr;
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr || !PyArg_ParseTuple(arguments, "Os|O", &original, &kind, &data))
    return nullptr;
  if (!PyCallable_Check(original)) {
    PyErr_Format(PyExc_TypeError, "hook() needs a callable, not %R", original);
    return nullptr;
  }
  for (const Kind& known : kKinds) {
    if (std::string_view(known.name) == kind) {
      return new_hook(*hooks, original, known.handler, data == Py_None ? nullptr : data, true);
    }
  }
  return PyErr_Format(PyExc_ValueError, "there is no hook of the kind %s", kind);
}

// configure_hooks(options, route_name, call_site, client_errors, note_batch): what the native side
// calls back.
PyObject* configure_hooks(PyObject* module, PyObject* arguments) {
  PyObject *options = nullptr, *route_name = nullptr, *call_site = nullptr,
           *client_errors = nullptr, *note_batch = nullptr;
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr ||
      !PyArg_ParseTuple(arguments, "O!OOO!O", &PyDict_Type, &options, &route_name, &call_site,
                        &PyTuple_Type, &client_errors, &note_batch)) {
    return nullptr;
  }
  hooks->options = Ref::share(options);
  hooks->route_name = route_name == Py_None ? Ref() : Ref::share(route_name);
  hooks->call_site = Ref::share(call_site);
  hooks->client_errors = Ref::share(client_errors);
  hooks->note_batch = Ref::share(note_batch);
  Py_RETURN_NONE;
}

PyObject* count_failure(PyObject* module, PyObject* /*place*/) {
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr) return nullptr;
  ++hooks->failures;
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_GetExcInfo(&type, &value, &traceback);  // the caller is in an except block
  const Ref kept_type = Ref::take(type), kept_value = Ref::take(value),
            kept_traceback = Ref::take(traceback);
  postpone_interrupt(value);
  Py_RETURN_NONE;
}

PyObject* failure_count(PyObject* module, PyObject* /*unused*/) {
  Hooks* hooks = hooks_of(module);
  return hooks == nullptr ? nullptr : PyLong_FromUnsignedLongLong(hooks->failures);
}

PyObject* note_queries(PyObject* module, PyObject* span) {
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr) return nullptr;
  annotate_queries(*hooks, as_span(hooks->module, span));
  Py_RETURN_NONE;
}

// set_keep(errors, n_plus_one, slow_ns): which unsampled traces stay.
PyObject* set_keep(PyObject* /*module*/, PyObject* arguments) {
  int errors = 0, n_plus_one = 0;
  unsigned long long slow_ns = 0;
  if (!PyArg_ParseTuple(arguments, "ppK", &errors, &n_plus_one, &slow_ns)) return nullptr;
  trace::set_keep_rules({errors != 0, n_plus_one != 0, slow_ns});
  Py_RETURN_NONE;
}

// set_n_plus_one(threshold, many, allow)
PyObject* set_n_plus_one(PyObject* /*module*/, PyObject* arguments) {
  unsigned threshold = 0, many = 0;
  PyObject* allow = nullptr;
  if (!PyArg_ParseTuple(arguments, "IIO!", &threshold, &many, &PyTuple_Type, &allow)) {
    return nullptr;
  }
  try {
    trace::NPlusOneOptions options;
    options.threshold = threshold;
    options.many = many;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(allow); ++i) {
      options.allow.emplace_back(Utf8(PyTuple_GET_ITEM(allow, i)).view());
    }
    trace::set_n_plus_one_options(std::move(options));
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"hook", make_hook, METH_VARARGS,
     "hook(original, kind, data=None): a native hook around a callable."},
    {"configure_hooks", configure_hooks, METH_VARARGS, "Hands over what hooks call back."},
    {"hook_failed", count_failure, METH_O, "Counts an error inside a hook."},
    {"hook_failures", failure_count, METH_NOARGS, "How many errors hooks have swallowed."},
    {"span_template", make_span_template, METH_VARARGS,
     "span_template(name, attributes, methods=None)"},
    {"enter_span", enter_span, METH_O, "enter_span(template): an open span or None."},
    {"leave_span", leave_span, METH_VARARGS, "leave_span(open, exception, share)"},
    {"enter_part", enter_part, METH_VARARGS, "enter_part(data, self, argument): as enter_span."},
    {"enter_cache", enter_cache, METH_VARARGS, "enter_cache(template, cache, args, kwargs)"},
    {"leave_cache", leave_cache, METH_VARARGS, "leave_cache(open, result, exception)"},
    {"begin_redis", begin_redis, METH_VARARGS,
     "begin_redis(client, words or None for a pipeline): an open call or None."},
    {"end_redis", end_redis, METH_VARARGS, "end_redis(open, exception)"},
    {"begin_sql", begin_sql, METH_VARARGS,
     "begin_sql(kind, cursor, connection, sql, parameters, driver, comment=True): (open call, "
     "statement to run) "
     "or None. kind: 0 execute, 1 executemany, 2 callproc, 3 a word."},
    {"end_sql", end_sql, METH_VARARGS,
     "end_sql(open, exception, rows=-1, connection=None, driver=None)"},
    {"know_connection", know_connection, METH_VARARGS,
     "know_connection(connection, driver, (name, host, port, user))"},
    {"set_cursor_types", set_cursor_types, METH_O, "The drivers' cursor classes that are hooked."},
    {"patch_type", patch_type, METH_VARARGS,
     "patch_type(type, name, value): also a built-in type's attribute; the one before."},
    {"start_task_span", start_task_span, METH_VARARGS,
     "start_task_span(name, relation, producer, attributes, start_ns=0): relation is link, child "
     "or "
     "local."},
    {"begin_request", begin_request_span, METH_O,
     "begin_request(request): (Request, whether it was opened here) or None."},
    {"begin_asgi", begin_asgi, METH_O, "begin_asgi(scope): a Request; None where one is open."},
    {"start_message_span", start_message_span, METH_VARARGS,
     "start_message_span(name, connection, attributes)"},
    {"annotate_queries", note_queries, METH_O, "Writes query counts and N+1 findings on a span."},
    {"set_paused", set_paused, METH_O, "set_paused(bool): nothing is recorded while it is true."},
    {"set_off_file", set_off_file, METH_O, "set_off_file(path): recording is off while it exists."},
    {"set_keep", set_keep, METH_VARARGS, "set_keep(errors, n_plus_one, slow_ns)"},
    {"set_n_plus_one", set_n_plus_one, METH_VARARGS, "set_n_plus_one(threshold, many, allow)"},
    {nullptr, nullptr, 0, nullptr},
};

struct Name {
  Ref Hooks::* place;
  const char* text;
};
constexpr Name kNames[] = {
    {&Hooks::n_django, "nuages.django"},
    {&Hooks::n_db, "nuages.db"},
    {&Hooks::n_rest, "nuages.rest_framework"},
    {&Hooks::n_celery, "nuages.celery"},
    {&Hooks::n_name, "name"},
    {&Hooks::n_method, "method"},
    {&Hooks::n_db_attribute, "db"},
    {&Hooks::n_cursor, "cursor"},
    {&Hooks::n_rowcount, "rowcount"},
    {&Hooks::n_result_cache, "_result_cache"},
    {&Hooks::n_dict_database, "_nuages_database"},
    {&Hooks::n_dict_atomic, "_nuages_atomic"},
    {&Hooks::n_settings_dict, "settings_dict"},
    {&Hooks::n_database_name, "NAME"},
    {&Hooks::n_using, "using"},
    {&Hooks::n_route, "route"},
    {&Hooks::n_status_code, "status_code"},
    {&Hooks::n_resource_closers, "_resource_closers"},
    {&Hooks::n_streaming, "streaming"},
    {&Hooks::n_is_async, "is_async"},
    {&Hooks::n_iterator, "_iterator"},
    {&Hooks::n_meta, "META"},
    {&Hooks::n_scheme, "scheme"},
    {&Hooks::n_connection, "connection"},
    {&Hooks::n_request_hook, "request_hook"},
    {&Hooks::n_response_hook, "response_hook"},
    {&Hooks::n_excluded, "excluded"},
    {&Hooks::n_cache_alias, "_nuages_alias"},
    {&Hooks::n_redis, "nuages.redis"},
    {&Hooks::n_connection_pool, "connection_pool"},
    {&Hooks::n_connection_kwargs, "connection_kwargs"},
    {&Hooks::n_command_stack, "command_stack"},
    {&Hooks::n_args, "args"},
    {&Hooks::n_parameters, "parameters"},
    {&Hooks::n_extract, "extract"},
    {&Hooks::n_propagate, "propagate"},
    {&Hooks::n_propagator, "_HTTP_TEXT_FORMAT"},
    {&Hooks::n_usual_propagator, "usual_propagator"},
    {&Hooks::n_semconv_http, "semconv_http"},
    {&Hooks::n_semconv_database, "semconv_database"},
    {&Hooks::n_wrapped, "__wrapped__"},
    {&Hooks::n_database_module, "Database"},
    {&Hooks::n_commenter, "commenter"},
    {&Hooks::n_dict_query, "_nuages_query"},
    {&Hooks::n_prepare, "prepare"},
    {&Hooks::n_run_on_commit, "run_on_commit"},
    {&Hooks::n_module, "__module__"},
    {&Hooks::n_qualname, "__qualname__"},
    {&Hooks::n_user, "user"},
    {&Hooks::n_headers, "headers"},
};

}  // namespace

int Hooks::traverse(visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<PyObject*>(function_type));
  Py_VISIT(reinterpret_cast<PyObject*>(request_type));
  Py_VISIT(reinterpret_cast<PyObject*>(stream_type));
  for (const Ref* ref : {&request_var, &counters_var, &silent_var, &options, &route_name, &routes,
                         &call_site, &note_batch, &client_errors}) {
    Py_VISIT(ref->get());
  }
  for (const Ref& type : cursor_types) Py_VISIT(type.get());
  for (const auto& shape : cursor_shapes) Py_VISIT(shape.first.get());
  return 0;
}

void Hooks::clear() {
  for (Ref* ref : {&options, &route_name, &routes, &call_site, &note_batch, &client_errors})
    ref->reset();
  cursor_types.clear();
  cursor_shapes.clear();
  connections.clear();
}

Ref attribute_of(PyObject* object, PyObject* name) noexcept {
  if (object == nullptr) return {};
  Ref value = Ref::take(call_python(PyObject_GetAttr, object, name));
  if (!value) PyErr_Clear();
  return value;
}

PyObject* item_of(PyObject* dict, PyObject* name) noexcept {
  if (dict == nullptr || name == nullptr || !PyDict_Check(dict)) return nullptr;
  PyObject* value = PyDict_GetItemWithError(dict, name);
  if (value == nullptr) PyErr_Clear();
  return value;
}

PyObject* item_of(PyObject* dict, const char* name) noexcept {
  const Ref key = Ref::take(PyUnicode_FromString(name));
  if (!key) PyErr_Clear();
  return item_of(dict, key.get());
}

void hook_failed(Hooks& hooks, std::string_view place) noexcept {
  ++hooks.failures;
  const Ref error = Ref::take(take_exception());
  postpone_interrupt(error.get());
  try {
    if (!hooks.logged.emplace(place).second) return;
    std::string text =
        "nuages failed while " + std::string(place) + "; the application is not affected";
    if (error) {
      const Ref shown = Ref::take(call_python(PyObject_Repr, error.get()));
      if (shown) text.append(": ").append(Utf8(shown.get()).view());
      PyErr_Clear();
    }
    log(LogLevel::kError, "hooks", text);
  } catch (...) {
    hooks.logged.clear();  // out of memory: the count above is all that is kept
  }
}

Parent current_parent(Hooks& hooks) noexcept {
  Parent parent;
  if (!hooks.module.configured() || is_off()) {
    parent.kind = ParentKind::kSilent;
    return parent;
  }
  const ErrorGuard guard;
  const Ref context = current_context(hooks.module).context;
  if (!context) return parent;
  if (is_suppressed(hooks.module, context.get())) {
    parent.kind = ParentKind::kSilent;
    return parent;
  }
  parent.object = span_in_context(hooks.module, context.get());
  if (!parent.object) return parent;
  if (SpanObject* span = as_span(hooks.module, parent.object.get())) {
    if (SpanObject* recorded = recorded_parent(span); recorded != span) {
      parent.object = Ref::share(reinterpret_cast<PyObject*>(recorded));
      span = recorded;
    }
    // Ended, or of the process before a fork: still a parent, but through the ordinary way.
    parent.kind = span->span == nullptr        ? ParentKind::kSilent
                  : span->span->is_recording() ? ParentKind::kOurs
                                               : ParentKind::kForeign;
  } else {
    parent.kind = ParentKind::kForeign;
  }
  return parent;
}

int register_hooks(PyObject* module, ModuleState& state) noexcept {
  auto hooks = std::make_unique<Hooks>(state);
  for (const Name& name : kNames) {
    Ref text = Ref::take(PyUnicode_InternFromString(name.text));
    if (!text) return -1;
    (*hooks).*name.place = std::move(text);
  }
  hooks->request_var = Ref::take(PyContextVar_New("nuages_request", Py_None));
  hooks->silent_var = Ref::take(PyContextVar_New("nuages_silent_drivers", Py_None));
  hooks->routes = Ref::take(PyDict_New());
  if (!hooks->request_var || !hooks->silent_var || !hooks->routes ||
      !add_function_type(module, *hooks) || !add_request_type(module, *hooks) ||
      !add_stream_type(module, *hooks) || !add_query_counter_type(module, *hooks) ||
      PyModule_AddFunctions(module, functions) < 0 || add_propagation(module) < 0) {
    return -1;
  }
  state.hooks = std::move(hooks);
  return 0;
}

}  // namespace nuages::python
