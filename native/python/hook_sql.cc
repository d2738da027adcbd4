// Django's cursors: execute, executemany, callproc, the fetches; connections: connect, commit,
// rollback, on_commit.
#include "python/hook_sql.h"

#include <algorithm>
#include <optional>

#include "python/convert.h"
#include "python/hook_leaf.h"
#include "python/hook_span.h"

namespace nuages::python {
namespace {

constexpr const char* kCallName = "nuages.query";

// A query whose rows are still to be fetched, kept in the __dict__ of Django's cursor.
void destroy_query(PyObject* capsule) {
  auto* made = static_cast<SqlCall*>(PyCapsule_GetPointer(capsule, kCallName));
  if (made == nullptr) return;
  const ErrorGuard guard;
  made->finish(nullptr);
  delete made;
}

SqlCall* query_of(PyObject* capsule) noexcept {
  return capsule != nullptr && PyCapsule_IsValid(capsule, kCallName)
             ? static_cast<SqlCall*>(PyCapsule_GetPointer(capsule, kCallName))
             : nullptr;
}

// Records the query of before, if one is waiting for its rows; a fetch method that somebody has
// kept may hold it longer.
void settle(Hooks& hooks, PyObject* dict) noexcept {
  const Ref capsule = Ref::share(item_of(dict, hooks.n_dict_query.get()));
  if (!capsule) return;
  const ErrorGuard guard;
  if (SqlCall* made = query_of(capsule.get())) made->finish(nullptr);
  if (PyDict_DelItem(dict, hooks.n_dict_query.get()) < 0) PyErr_Clear();
}

void put_off(Hooks& hooks, PyObject* dict, SqlCall& made) {
  auto kept = std::make_unique<SqlCall>(std::move(made));
  const Ref capsule = Ref::take(hand_over(std::move(kept), kCallName, destroy_query));
  if (!capsule || PyDict_SetItem(dict, hooks.n_dict_query.get(), capsule.get()) < 0) PyErr_Clear();
}

// One statement: executes it and records the leaf. The hook's data is true where fetches are hooked
// as well.
PyObject* run_statement(HookFunction& hook, const HookCall& call, PyObject* sql,
                        PyObject* parameters, SqlKind kind) {
  Hooks& hooks = *hook.hooks;
  PyObject* wrapper = call.positional(0);
  SqlCall made(hooks);
  if (wrapper == nullptr || sql == nullptr || !made.begin()) return call_original(hook, call);
  const Ref connection = attribute_of(wrapper, hooks.n_db_attribute.get());
  const Ref cursor = attribute_of(wrapper, hooks.n_cursor.get());
  Ref dict = Ref::take(PyObject_GenericGetDict(wrapper, nullptr));
  if (!dict) PyErr_Clear();
  settle(hooks, dict.get());
  if (!connection ||
      !made.describe(kind, sql, parameters, cursor.get(), database_of(hooks, connection.get()))) {
    return call_original(hook, call);
  }
  const bool percent = kind == SqlKind::kMany || (parameters != nullptr && parameters != Py_None);
  const Ref commented = made.comment(connection.get(), percent);
  const Ref inner = innermost_cursor(hooks, cursor.get());
  PyObject* result = nullptr;
  {
    std::optional<OpenCall> open;
    if (!hooks.cursor_types.empty()) open.emplace(hooks, inner.get());
    made.start();
    if (commented) {
      const Ref name = Ref::take(PyUnicode_InternFromString("sql"));
      const ChangedCall changed(call, 1, name.get(), commented.get());
      result = call_original(hook, changed.get());
    } else {
      result = call_original(hook, call);
    }
    made.stop();
  }
  SavedException saved;
  made.count(result);
  if (result != nullptr && dict && hook.data == Py_True && made.returns_rows() &&
      made.recording()) {
    put_off(hooks, dict.get(), made);
  } else {
    made.finish(saved.value());
  }
  return result;
}

}  // namespace

PyObject* handle_execute(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, call.argument(1, "sql"), call.argument(2, "params"),
                       SqlKind::kExecute);
}

PyObject* handle_executemany(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, call.argument(1, "sql"), call.argument(2, "param_list"),
                       SqlKind::kMany);
}

PyObject* handle_callproc(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, call.argument(1, "procname"), call.argument(2, "params"),
                       SqlKind::kProcedure);
}

// CursorWrapper.__getattr__(name): what it gives for fetchone, fetchmany and fetchall is timed
// while a query waits for its rows; close() ends the waiting.
PyObject* handle_cursor_attribute(HookFunction& hook, const HookCall& call) {
  PyObject* result = call_original(hook, call);
  Hooks& hooks = *hook.hooks;
  PyObject *wrapper = call.positional(0), *name = call.positional(1);
  std::string_view word;
  if (result == nullptr || wrapper == nullptr || name == nullptr || !ascii_text(name, word)) {
    return result;
  }
  const bool fetch = word.starts_with("fetch");
  if (!fetch && word != "close") return result;
  const Ref dict = Ref::take(PyObject_GenericGetDict(wrapper, nullptr));
  PyObject* capsule = dict ? item_of(dict.get(), hooks.n_dict_query.get()) : nullptr;
  if (capsule == nullptr) {
    PyErr_Clear();
    return result;
  }
  if (!fetch) {
    settle(hooks, dict.get());
    return result;
  }
  const Ref held = Ref::take(result);
  const Ref data = Ref::take(PyTuple_Pack(3, capsule, dict.get(), name));
  Ref timed = data ? Ref::take(new_hook(hooks, result, handle_fetch, data.get(), false)) : Ref();
  if (timed) return timed.release();
  hook_failed(hooks, "timing a fetch");
  return Ref(held).release();
}

// One fetch; data: (the waiting query, the __dict__ it waits in, the method's name).
PyObject* handle_fetch(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* capsule = PyTuple_GET_ITEM(hook.data, 0);
  PyObject* dict = PyTuple_GET_ITEM(hook.data, 1);
  SqlCall* made = query_of(capsule);
  if (made == nullptr || item_of(dict, hooks.n_dict_query.get()) != capsule) {
    return call_original(hook, call);  // recorded meanwhile
  }
  const uint64_t start_ns = made->now();
  PyObject* result = call_original(hook, call);
  const uint64_t duration_ns = made->now() - start_ns;
  SavedException saved;
  int64_t rows = 1;
  bool last = false;
  if (result == nullptr || result == Py_None) {
    rows = 0;
    last = true;
  } else if (PyList_Check(result) || PyTuple_CheckExact(result)) {
    const Utf8 name(PyTuple_GET_ITEM(hook.data, 2));
    if (name.view() != "fetchone") {
      rows = PySequence_Size(result);
      last = rows == 0 || name.view() == "fetchall";
    }
  }
  made->fetched(rows, duration_ns);
  if (!last) return result;
  made->finish(saved.value());
  settle(hooks, dict);
  return result;
}

// BaseDatabaseWrapper._commit and ._rollback; data is the word.
PyObject* handle_transaction_end(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* connection = call.positional(0);
  SqlCall made(hooks);
  const Parent parent = current_parent(hooks);
  if (connection == nullptr || hook.data == nullptr || parent.kind == ParentKind::kSilent ||
      parent.kind == ParentKind::kNone || !made.begin()) {
    return call_original(hook, call);
  }
  const Ref driver = attribute_of(connection, hooks.n_connection.get());
  if (!driver || driver.get() == Py_None ||
      !made.describe(SqlKind::kWord, hook.data, nullptr, nullptr, database_of(hooks, connection))) {
    return call_original(hook, call);
  }
  PyObject* result = nullptr;
  {
    const OpenCall open(hooks, driver.get());
    made.start();
    result = call_original(hook, call);
    made.stop();
  }
  SavedException saved;
  made.count(result);
  made.finish(saved.value());
  return result;
}

// BaseDatabaseWrapper.connect(): what the backend runs through the driver to set the connection up
// is part of it. Only below a span: a process that starts has nobody to tell.
PyObject* handle_connect(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* connection = call.positional(0);
  SqlCall made(hooks);
  const Parent parent = current_parent(hooks);
  const Ref word = Ref::take(PyUnicode_InternFromString("CONNECT"));
  if (connection == nullptr || parent.kind == ParentKind::kSilent ||
      parent.kind == ParentKind::kNone || !made.begin() ||
      !made.describe(SqlKind::kWord, word.get(), nullptr, nullptr,
                     database_of(hooks, connection))) {
    PyErr_Clear();
    const OpenCall silent(hooks, nullptr);
    return call_original(hook, call);
  }
  PyObject* result = nullptr;
  {
    const OpenCall silent(hooks, nullptr);
    made.start();
    result = call_original(hook, call);
    made.stop();
  }
  SavedException saved;
  made.count(result);
  made.finish(saved.value());
  return result;
}

// BaseDatabaseWrapper.run_and_clear_commit_hooks(): a span around the callbacks of on_commit().
PyObject* handle_on_commit(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* connection = call.positional(0);
  const Ref waiting = attribute_of(connection, hooks.n_run_on_commit.get());
  const Py_ssize_t callbacks =
      waiting && PyList_Check(waiting.get()) ? PyList_GET_SIZE(waiting.get()) : 0;
  const Database database = callbacks > 0 ? database_of(hooks, connection) : Database();
  if (!database || current_parent(hooks).kind != ParentKind::kOurs) {
    return call_original(hook, call);
  }
  LeafAttributes attributes;
  const SemconvNames names = database_names(hooks);
  attributes.text("nuages.kind", "transaction");
  attributes.system(names, database.info->system);
  attributes.text(names, kDbName, database.info->name);
  attributes.text("nuages.db.alias", database.info->alias);
  attributes.number("db.transaction.callbacks", callbacks);
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = "transaction.on_commit";
  spec.attributes = attributes.views();
  if (!span.start(hooks.n_db.get(), spec)) return call_original(hook, call);
  PyObject* result = call_original(hook, call);
  span.finish(result);
  return result;
}

}  // namespace nuages::python
