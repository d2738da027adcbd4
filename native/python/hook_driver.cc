// The drivers' own cursors and connections, and what all database hooks know of each other.
#include <algorithm>

#include "python/convert.h"
#include "python/hook_leaf.h"
#include "python/hook_sql.h"

namespace nuages::python {
namespace {

using CursorShape = Hooks::CursorShape;

CursorShape shape_of(Hooks& hooks, PyObject* cursor) noexcept {
  PyTypeObject* type = Py_TYPE(cursor);
  for (const auto& [known, shape] : hooks.cursor_shapes) {
    if (known.get() == reinterpret_cast<PyObject*>(type)) return shape;
  }
  CursorShape shape = CursorShape::kOpaque;
  for (const Ref& driver : hooks.cursor_types) {
    if (PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(driver.get())) != 0) {
      shape = CursorShape::kDriver;
    }
  }
  if (shape == CursorShape::kOpaque) {
    if (attribute_of(cursor, hooks.n_wrapped.get())) {
      shape = CursorShape::kWrapped;
    } else if (attribute_of(cursor, hooks.n_cursor.get())) {
      shape = CursorShape::kCursor;
    }
  }
  constexpr size_t kMaxShapes = 256;  // classes made on the fly must not be kept for ever
  if (hooks.cursor_shapes.size() < kMaxShapes) {
    hooks.cursor_shapes.emplace_back(Ref::share(reinterpret_cast<PyObject*>(type)), shape);
  }
  return shape;
}

bool silenced(const Hooks& hooks) noexcept {
  if (hooks.silenced == 0) return false;
  PyObject* value = nullptr;
  if (PyContextVar_Get(hooks.silent_var.get(), nullptr, &value) < 0) {
    PyErr_Clear();
    return false;
  }
  const Ref held = Ref::take(value);
  return value == Py_True;
}

PyObject* keyword_argument(const HookCall& call, Py_ssize_t index, PyObject* name) noexcept {
  if (PyObject* found = call.positional(index)) return found;
  if (call.keywords == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(call.keywords); ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(call.keywords, i);
    if (keyword == name || PyUnicode_Compare(keyword, name) == 0)
      return call.args[call.count() + i];
  }
  return nullptr;
}

// With psycopg's prepare=True the text is a key of the server's: it stays as it is.
bool prepared(const Hooks& hooks, const HookCall& call) noexcept {
  PyObject* flag = call.keywords == nullptr
                       ? nullptr
                       : keyword_argument(call, PY_SSIZE_T_MAX, hooks.n_prepare.get());
  return flag == Py_True;
}

// A cursor's method, or (sqlite3) a connection's, which gives a new cursor.
PyObject* run_statement(HookFunction& hook, const HookCall& call, SqlKind kind,
                        bool of_connection = false) {
  Hooks& hooks = *hook.hooks;
  PyObject* self = call.positional(0);
  PyObject* cursor = of_connection ? nullptr : self;
  if (self == nullptr || is_open(hooks, self)) return call_original(hook, call);
  const Driver driver = driver_from(hook.data);
  SqlCall made(hooks);
  if (!driver || !made.begin()) return call_original(hook, call);
  PyObject* sql = keyword_argument(call, 1, driver.sql_name());
  PyObject* parameters = keyword_argument(call, 2, driver.parameters_name());
  const Ref connection =
      of_connection ? Ref::share(self) : attribute_of(cursor, hooks.n_connection.get());
  if (sql == nullptr || !connection || connection.get() == Py_None ||
      !made.describe(kind, sql, parameters, cursor,
                     hooks.connections.get(hooks, connection.get(), driver))) {
    return call_original(hook, call);
  }
  const bool bound = kind == SqlKind::kMany || (parameters != nullptr && parameters != Py_None);
  Ref commented;
  if (!prepared(hooks, call)) commented = made.comment(driver.module(), bound && driver.percent());
  PyObject* result = nullptr;
  {
    const OpenCall open(hooks, cursor);  // a connection's cursor is not known yet: null
    made.start();
    if (commented) {
      const ChangedCall changed(call, 1, driver.sql_name(), commented.get());
      result = call_original(hook, changed.get());
    } else {
      result = call_original(hook, call);
    }
    made.stop();
  }
  SavedException saved;
  if (of_connection) made.set_cursor(result);
  made.count(result);
  made.finish(saved.value());
  return result;
}

constexpr const char* kOpenName = "nuages.open_sql";

void destroy_open(PyObject* capsule) {
  delete static_cast<SqlCall*>(PyCapsule_GetPointer(capsule, kOpenName));  // dropped unrecorded
}

Hooks* hooks_of(PyObject* module) noexcept {
  ModuleState* state = module_state(module);
  if (state == nullptr) return nullptr;
  if (!state->hooks) {
    PyErr_SetString(PyExc_RuntimeError, "the hooks of this module are gone");
    return nullptr;
  }
  return static_cast<Hooks*>(state->hooks.get());
}

PyObject* none_or_null(PyObject* object) noexcept { return object == Py_None ? nullptr : object; }

}  // namespace

Ref innermost_cursor(Hooks& hooks, PyObject* wrapper) noexcept {
  constexpr int kMaxDepth = 5;
  Ref cursor = Ref::share(wrapper);
  for (int depth = 0; cursor && depth < kMaxDepth; ++depth) {
    const CursorShape shape = shape_of(hooks, cursor.get());
    if (shape == CursorShape::kDriver) return cursor;
    if (shape == CursorShape::kOpaque) return {};
    cursor = attribute_of(cursor.get(), shape == CursorShape::kWrapped ? hooks.n_wrapped.get()
                                                                       : hooks.n_cursor.get());
  }
  return {};
}

OpenCall::OpenCall(Hooks& hooks, PyObject* object) : hooks_(&hooks), object_(object) {
  if (object != nullptr) {
    thread_ = PyThread_get_thread_ident();
    hooks.open_calls.push_back({object, thread_});
    return;
  }
  token_ = Ref::take(PyContextVar_Set(hooks.silent_var.get(), Py_True));
  if (token_) ++hooks.silenced;
  if (!token_) PyErr_Clear();
}

void OpenCall::close() noexcept {
  Hooks* hooks = std::exchange(hooks_, nullptr);
  if (hooks == nullptr) return;
  if (token_) {
    const ErrorGuard guard;
    --hooks->silenced;
    if (PyContextVar_Reset(hooks->silent_var.get(), token_.get()) < 0) PyErr_Clear();
    token_.reset();
    return;
  }
  auto& open = hooks->open_calls;
  for (size_t i = open.size(); i-- > 0;) {
    if (open[i].object == object_ && open[i].thread == thread_) {
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
}

bool is_open(const Hooks& hooks, PyObject* object) noexcept {
  if (!hooks.open_calls.empty()) {
    const unsigned long thread = PyThread_get_thread_ident();
    for (const Hooks::OpenObject& open : hooks.open_calls) {
      if (open.object == object && open.thread == thread) return true;
    }
  }
  return silenced(hooks);
}

ChangedCall::ChangedCall(const HookCall& call, Py_ssize_t index, PyObject* name, PyObject* object)
    : call_{nullptr, static_cast<size_t>(call.count()), call.keywords} {
  const Py_ssize_t named = call.keywords == nullptr ? 0 : PyTuple_GET_SIZE(call.keywords);
  args_.assign(call.args, call.args + call.count() + named);
  if (index < call.count()) {
    args_[static_cast<size_t>(index)] = object;
  } else {
    for (Py_ssize_t i = 0; i < named; ++i) {
      if (PyUnicode_Compare(PyTuple_GET_ITEM(call.keywords, i), name) == 0) {
        args_[static_cast<size_t>(call.count() + i)] = object;
      }
    }
  }
  call_.args = args_.data();
}

PyObject* handle_driver_execute(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, SqlKind::kExecute);
}
PyObject* handle_driver_executemany(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, SqlKind::kMany);
}
PyObject* handle_driver_callproc(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, SqlKind::kProcedure);
}

PyObject* handle_connection_execute(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, SqlKind::kExecute, true);
}
PyObject* handle_connection_executemany(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, SqlKind::kMany, true);
}

// connection.commit() and .rollback(); data: (word, driver).
PyObject* handle_driver_transaction(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* connection = call.positional(0);
  if (connection == nullptr || is_open(hooks, connection) || hook.data == nullptr) {
    return call_original(hook, call);
  }
  const Driver driver = driver_from(PyTuple_GET_ITEM(hook.data, 1));
  SqlCall made(hooks);
  if (!driver || current_parent(hooks).kind != ParentKind::kOurs || !made.begin() ||
      !made.describe(SqlKind::kWord, PyTuple_GET_ITEM(hook.data, 0), nullptr, nullptr,
                     hooks.connections.get(hooks, connection, driver))) {
    return call_original(hook, call);
  }
  PyObject* result = nullptr;
  {
    const OpenCall open(hooks, connection);
    made.start();
    result = call_original(hook, call);
    made.stop();
  }
  SavedException saved;
  made.count(result);
  made.finish(saved.value());
  return result;
}

// What runs inside belongs to nobody's request: a pool that opens connections in a thread of its
// own.
PyObject* handle_silent(HookFunction& hook, const HookCall& call) {
  const OpenCall open(*hook.hooks, nullptr);
  return call_original(hook, call);
}

// For shims in Python, whose code awaits or yields between the two: coroutines, COPY, connect(),
// which has a tuple of facts where there is no connection yet.
PyObject* begin_sql(PyObject* module, PyObject* arguments) {
  int kind = 0;
  PyObject *cursor = nullptr, *connection = nullptr, *sql = nullptr, *parameters = nullptr,
           *driver_data = nullptr;
  Hooks* hooks = hooks_of(module);
  int comment = 1;
  if (hooks == nullptr || !PyArg_ParseTuple(arguments, "iOOOOO|p", &kind, &cursor, &connection,
                                            &sql, &parameters, &driver_data, &comment)) {
    return nullptr;
  }
  const Driver driver = driver_from(driver_data);
  if (!driver || kind < 0 || kind > static_cast<int>(SqlKind::kWord)) {
    PyErr_SetString(PyExc_ValueError, "begin_sql() needs a kind and a driver's description");
    return nullptr;
  }
  const auto wanted = static_cast<SqlKind>(kind);
  PyObject* asked = none_or_null(cursor) == nullptr ? connection : cursor;
  if (is_open(*hooks, asked)) Py_RETURN_NONE;
  if (wanted == SqlKind::kWord && current_parent(*hooks).kind != ParentKind::kOurs) Py_RETURN_NONE;
  auto made = std::make_unique<SqlCall>(*hooks);
  if (!made->begin()) Py_RETURN_NONE;
  const Database database = PyTuple_Check(connection)
                                ? driver_database(driver, connection)
                                : hooks->connections.get(*hooks, connection, driver);
  if (!made->describe(wanted, sql, none_or_null(parameters), none_or_null(cursor), database)) {
    Py_RETURN_NONE;
  }
  const bool bound = wanted == SqlKind::kMany || parameters != Py_None;
  Ref run;
  if (comment != 0) run = made->comment(driver.module(), bound && driver.percent());
  if (!run) run = Ref::share(sql);
  made->start();
  const Ref capsule = Ref::take(hand_over(std::move(made), kOpenName, destroy_open));
  return capsule ? PyTuple_Pack(2, capsule.get(), run.get()) : nullptr;
}

PyObject* end_sql(PyObject* module, PyObject* arguments) {
  PyObject *opened = nullptr, *exception = nullptr, *connection = Py_None, *driver_data = nullptr;
  long long rows = -1;
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr || !PyArg_ParseTuple(arguments, "OO|LOO", &opened, &exception, &rows,
                                            &connection, &driver_data)) {
    return nullptr;
  }
  if (PyCapsule_IsValid(opened, kOpenName)) {
    auto* made = static_cast<SqlCall*>(PyCapsule_GetPointer(opened, kOpenName));
    made->stop();
    const Driver driver = driver_from(driver_data);
    if (driver && connection != Py_None) {
      made->set_database(hooks->connections.get(*hooks, connection, driver));
    }
    made->set_rows(rows);
    made->count(exception == Py_None ? Py_None : nullptr);
    made->finish(none_or_null(exception));
  }
  Py_RETURN_NONE;
}

PyObject* know_connection(PyObject* module, PyObject* arguments) {
  PyObject *connection = nullptr, *driver_data = nullptr, *facts = nullptr;
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr || !PyArg_ParseTuple(arguments, "OOO", &connection, &driver_data, &facts)) {
    return nullptr;
  }
  const Driver driver = driver_from(driver_data);
  if (driver) hooks->connections.put(connection, driver, facts);
  Py_RETURN_NONE;
}

PyObject* set_cursor_types(PyObject* module, PyObject* types) {
  Hooks* hooks = hooks_of(module);
  if (hooks == nullptr) return nullptr;
  const Ref list = Ref::take(PySequence_List(types));
  if (!list) return nullptr;
  hooks->cursor_types.clear();
  hooks->cursor_shapes.clear();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.get()); ++i) {
    PyObject* type = PyList_GET_ITEM(list.get(), i);
    if (PyType_Check(type)) hooks->cursor_types.push_back(Ref::share(type));
  }
  Py_RETURN_NONE;
}

// The type's own attribute, for the types of C that refuse setattr(). Only for methods that fill no
// slot of the type. Null value: the attribute goes.
PyObject* patch_type(PyObject* /*module*/, PyObject* arguments) {
  PyObject *type_object = nullptr, *name = nullptr, *value = nullptr;
  if (!PyArg_ParseTuple(arguments, "O!UO", &PyType_Type, &type_object, &name, &value)) {
    return nullptr;
  }
  auto* type = reinterpret_cast<PyTypeObject*>(type_object);
  const Ref dict = Ref::share(type->tp_dict);
  if (!dict) {
    PyErr_SetString(PyExc_TypeError, "this type has no dictionary of its own");
    return nullptr;
  }
  Ref before = Ref::share(item_of(dict.get(), name));
  if (!before) return PyErr_Format(PyExc_AttributeError, "%R has no own %U", type_object, name);
  if (PyDict_SetItem(dict.get(), name, value) < 0) return nullptr;
  PyType_Modified(type);
  return before.release();
}

}  // namespace nuages::python
