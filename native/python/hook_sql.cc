#include "python/hook_sql.h"

#include <functional>
#include <vector>

#include "python/context.h"
#include "python/convert.h"
#include "python/hook_leaf.h"
#include "python/hook_span.h"
#include "python/query_counter.h"

namespace nuages::python {
namespace {

constexpr const char* kCapsuleName = "nuages.database";
constexpr size_t kMaxStatementBytes = size_t{32} * 1024;

void destroy_info(PyObject* capsule) {
  auto* info = static_cast<DatabaseInfo*>(PyCapsule_GetPointer(capsule, kCapsuleName));
  if (info == nullptr) return;
  Py_XDECREF(info->name_object);
  delete info;
}

std::string text_item(PyObject* dict, const char* name) {
  PyObject* value = item_of(dict, name);
  return value == nullptr || value == Py_None ? std::string() : std::string(Utf8(value).view());
}

// SQLite's NAME is a path of the machine: its last part identifies the database well enough.
std::string database_name(std::string_view system, std::string name) {
  if (system == "sqlite" && !name.starts_with("file:")) {
    if (const size_t slash = name.find_last_of('/'); slash != std::string::npos)
      return name.substr(slash + 1);
  }
  return name;
}

Ref read_info(Hooks& hooks, PyObject* connection, PyObject* settings) {
  auto info = std::make_unique<DatabaseInfo>();
  const Ref alias = Ref::take(call_python(PyObject_GetAttrString, connection, "alias"));
  const Ref vendor = Ref::take(call_python(PyObject_GetAttrString, connection, "vendor"));
  PyErr_Clear();
  if (!alias || !vendor) return {};
  info->alias = Utf8(alias.get()).view();
  info->alias_hash = std::hash<std::string>()(info->alias);
  info->system = Utf8(vendor.get()).view();
  info->dialect = sql::dialect_from_system(info->system);
  info->name = database_name(info->system, text_item(settings, "NAME"));
  info->host = text_item(settings, "HOST");
  info->user = text_item(settings, "USER");
  const std::string port = text_item(settings, "PORT");
  for (const char digit : port) {
    if (digit < '0' || digit > '9' || info->port > 65535) {
      info->port = 0;
      break;
    }
    info->port = info->port * 10 + (digit - '0');
  }
  info->name_object = item_of(settings, hooks.n_database_name.get());
  Py_XINCREF(info->name_object);
  return Ref::take(hand_over(std::move(info), kCapsuleName, destroy_info));
}

void add_database(LeafAttributes& attributes, const DatabaseInfo& info) noexcept {
  attributes.text("db.system", info.system);
  attributes.text("db.name", info.name);
  attributes.text("db.user", info.user);
  attributes.text("net.peer.name", info.host);
  if (info.port > 0) attributes.number("net.peer.port", info.port);
  attributes.text("nuages.db.alias", info.alias);
}

// BEGIN, SAVEPOINT and their like are not queries that could be saved.
bool transaction_control(std::string_view operation) noexcept {
  for (const std::string_view word :
       {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET"}) {
    if (operation == word) return true;
  }
  return false;
}

// Statements that carry many rows at once come in a series by design (bulk_create, bulk_update,
// prefetches of iterator() chunks): they count as queries, not as repetitions of each other.
bool carries_many_rows(std::string_view text, std::string_view operation) noexcept {
  constexpr size_t kManyItems = 20;
  if (operation == "INSERT") {
    return text.find("), (") != std::string_view::npos ||
           text.find(" UNION ALL SELECT ") != std::string_view::npos;
  }
  const size_t list = text.find(" IN (");
  if (list == std::string_view::npos) return false;
  if (operation == "UPDATE") return text.find("CASE WHEN") != std::string_view::npos;
  size_t items = 0;
  for (size_t at = list; at < text.size() && text[at] != ')' && items < kManyItems; ++at) {
    if (text[at] == ',') ++items;
  }
  return operation == "SELECT" && items >= kManyItems;
}

// Asks Python for the place of this execution and notes it in the N+1 table.
void add_call_site(Hooks& hooks, trace::LocalRoot& root, uint64_t alias,
                   uint64_t fingerprint) noexcept {
  if (!hooks.call_site) return;
  const Ref place = Ref::take(call_python(PyObject_CallNoArgs, hooks.call_site.get()));
  if (!place) {
    hook_failed(hooks, "finding the place of a query");
    return;
  }
  if (!PyTuple_Check(place.get()) || PyTuple_GET_SIZE(place.get()) != 5) return;
  const Utf8 file(PyTuple_GET_ITEM(place.get(), 0)), function(PyTuple_GET_ITEM(place.get(), 2)),
      relation(PyTuple_GET_ITEM(place.get(), 3)), suggestion(PyTuple_GET_ITEM(place.get(), 4));
  trace::CallSiteView site;
  site.file = file.view();
  site.function = function.view();
  site.relation = relation.view();
  site.suggestion = suggestion.view();
  const long line = PyLong_AsLong(PyTuple_GET_ITEM(place.get(), 1));
  if (line == -1) PyErr_Clear();
  site.line = line > 0 ? static_cast<uint32_t>(line) : 0;
  root.add_call_site(alias, fingerprint, site);
}

// The text of what was handed to execute(): str, bytes, or psycopg's composed SQL.
Ref statement_text(PyObject* sql, PyObject* cursor) noexcept {
  if (PyUnicode_Check(sql)) return Ref::share(sql);
  if (PyBytes_Check(sql)) {
    Ref text =
        Ref::take(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(sql), PyBytes_GET_SIZE(sql), "replace"));
    if (!text) PyErr_Clear();
    return text;
  }
  Ref text = Ref::take(call_python(PyObject_CallMethod, sql, "as_string", "O", cursor));
  if (!text) {
    PyErr_Clear();
    text = Ref::take(call_python(PyObject_Str, sql));
  }
  if (!text) PyErr_Clear();
  return text;
}

int64_t row_count(Hooks& hooks, PyObject* wrapper) noexcept {
  const Ref cursor = attribute_of(wrapper, hooks.n_cursor.get());
  if (!cursor) return -1;
  const Ref count = attribute_of(cursor.get(), hooks.n_rowcount.get());
  if (!count || !PyLong_Check(count.get())) return -1;
  const long long rows = PyLong_AsLongLong(count.get());
  if (rows == -1) PyErr_Clear();
  return rows;
}

// What of the bound parameters is to be shown; empty unless NUAGES_CAPTURE_PARAMETERS is on.
Ref shown_parameters(Hooks& hooks, PyObject* parameters) noexcept {
  PyObject* show = item_of(hooks.options.get(), hooks.n_parameters.get());
  if (show == nullptr || show == Py_None || parameters == nullptr || parameters == Py_None) {
    return {};
  }
  Ref text = Ref::take(call_python(PyObject_CallOneArg, show, parameters));
  if (!text) hook_failed(hooks, "showing the parameters of a query");
  return text && PyUnicode_Check(text.get()) ? std::move(text) : Ref();
}

// One statement: executes it and records the leaf. `batch` is the parameter list of executemany.
PyObject* run_statement(HookFunction& hook, const HookCall& call, PyObject* sql,
                        PyObject* parameters, PyObject* batch, bool procedure) {
  Hooks& hooks = *hook.hooks;
  PyObject* wrapper = call.positional(0);
  if (wrapper == nullptr || sql == nullptr) return call_original(hook, call);
  const Parent parent = current_parent(hooks);
  const std::vector<trace::Ref<trace::LocalRoot>> tables = open_query_counters(hooks);
  if (parent.kind == ParentKind::kSilent && tables.empty()) return call_original(hook, call);
  const Ref connection = attribute_of(wrapper, hooks.n_db_attribute.get());
  const DatabaseInfo* info = connection ? database_info(hooks, connection.get()) : nullptr;
  if (info == nullptr) return call_original(hook, call);

  const uint64_t start_ns = leaf_now(parent);
  PyObject* result = call_original(hook, call);
  const uint64_t end_ns = leaf_now(parent);

  SavedException saved;
  const Ref text_object = statement_text(sql, wrapper);
  if (!text_object) return result;
  const Utf8 text(text_object.get());
  const auto statement = procedure ? nullptr : hooks.statements.get(text.view(), info->dialect);
  const std::string call_label = procedure ? "CALL " + std::string(text.view()) : std::string();

  LeafAttributes attributes;
  std::string shortened;
  std::string_view label = call_label;
  add_database(attributes, *info);
  if (statement != nullptr) {
    std::string_view normalized = statement->normalized;
    if (normalized.size() > kMaxStatementBytes) {
      size_t size = kMaxStatementBytes;
      while (size > 0 && (static_cast<unsigned char>(normalized[size]) & 0xC0U) == 0x80U) --size;
      normalized = shortened = std::string(normalized.substr(0, size)) + "...";
    }
    label = statement->label.empty() ? std::string_view("SQL") : std::string_view(statement->label);
    attributes.text("db.statement", normalized);
    attributes.text("db.operation", statement->operation);
    attributes.text("db.sql.table", statement->table);
    attributes.text("nuages.db.label", label);
    attributes.number("nuages.db.fingerprint", static_cast<int64_t>(statement->fingerprint));
  } else {
    attributes.text("db.statement", label);
    attributes.text("db.operation", "CALL");
    attributes.text("nuages.db.label", label);
  }
  if (result != nullptr && statement != nullptr) {
    const std::string_view operation = statement->operation;
    const int64_t rows = row_count(hooks, wrapper);
    if (operation == "SELECT" && rows >= 0) attributes.number("db.response.returned_rows", rows);
    // An INSERT with RETURNING counts 0 until its rows are fetched.
    const bool changes = operation == "UPDATE" || operation == "DELETE";
    if ((changes && rows >= 0) || (operation == "INSERT" && rows > 0)) {
      attributes.number("nuages.db.affected_rows", rows);
    }
  }
  if (batch != nullptr) {
    const Py_ssize_t size = PyObject_Size(batch);
    if (size < 0) PyErr_Clear();  // an iterator
    if (size > 1) attributes.number("db.operation.batch.size", size);
  }
  const Ref parameter_text = shown_parameters(hooks, parameters);
  const Utf8 parameters_shown(parameter_text ? parameter_text.get() : Py_None);
  if (parameter_text) attributes.text("db.statement.parameters", parameters_shown.view());
  if (parent.kind != ParentKind::kSilent) {
    record_call(hooks, parent,
                {hooks.n_db.get(), label, attributes.views(), start_ns, end_ns, saved.value()});
  }
  if (statement != nullptr && !transaction_control(statement->operation)) {
    // A fingerprint of its own for each of a series: counted, never repeated.
    const bool series = carries_many_rows(text.view(), statement->operation);
    const uint64_t key = series ? statement->fingerprint ^ start_ns : statement->fingerprint;
    const auto count_in = [&](trace::LocalRoot& table) {
      const trace::QueryCount count =
          table.count_query(info->alias_hash, key, end_ns - start_ns, statement->normalized);
      if (count.wants_call_site) add_call_site(hooks, table, info->alias_hash, key);
    };
    if (parent.kind == ParentKind::kOurs) count_in(*parent.span()->span->local_root());
    for (const auto& table : tables) count_in(*table);
  }
  return result;
}

}  // namespace

const DatabaseInfo* database_info(Hooks& hooks, PyObject* connection) noexcept {
  const Ref settings = attribute_of(connection, hooks.n_settings_dict.get());
  if (!settings || !PyDict_Check(settings.get())) return nullptr;
  const Ref dict = Ref::take(PyObject_GenericGetDict(connection, nullptr));
  if (!dict) {
    PyErr_Clear();
    return nullptr;
  }
  PyObject* capsule = item_of(dict.get(), hooks.n_dict_database.get());
  if (capsule != nullptr && PyCapsule_CheckExact(capsule)) {
    const auto* info = static_cast<DatabaseInfo*>(PyCapsule_GetPointer(capsule, kCapsuleName));
    if (info != nullptr &&
        info->name_object == item_of(settings.get(), hooks.n_database_name.get())) {
      return info;
    }
    PyErr_Clear();
  }
  const Ref made = read_info(hooks, connection, settings.get());
  if (!made || PyDict_SetItem(dict.get(), hooks.n_dict_database.get(), made.get()) < 0) {
    PyErr_Clear();
    return nullptr;
  }
  return static_cast<DatabaseInfo*>(PyCapsule_GetPointer(made.get(), kCapsuleName));
}

PyObject* handle_execute(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, call.argument(1, "sql"), call.argument(2, "params"), nullptr,
                       false);
}

PyObject* handle_executemany(HookFunction& hook, const HookCall& call) {
  PyObject* batch = call.argument(2, "param_list");
  return run_statement(hook, call, call.argument(1, "sql"), batch, batch, false);
}

PyObject* handle_callproc(HookFunction& hook, const HookCall& call) {
  return run_statement(hook, call, call.argument(1, "procname"), call.argument(2, "params"),
                       nullptr, true);
}

// BaseDatabaseWrapper._commit and ._rollback; data is the word.
PyObject* handle_transaction_end(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* connection = call.positional(0);
  const Parent parent = current_parent(hooks);
  if (connection == nullptr || hook.data == nullptr || !PyUnicode_Check(hook.data) ||
      parent.kind == ParentKind::kSilent || parent.kind == ParentKind::kNone) {
    return call_original(hook, call);
  }
  const Ref open = attribute_of(connection, hooks.n_connection.get());
  const DatabaseInfo* info =
      open && open.get() != Py_None ? database_info(hooks, connection) : nullptr;
  if (info == nullptr) return call_original(hook, call);
  const uint64_t start_ns = leaf_now(parent);
  PyObject* result = call_original(hook, call);
  const uint64_t end_ns = leaf_now(parent);
  SavedException saved;
  const Utf8 word(hook.data);
  LeafAttributes attributes;
  add_database(attributes, *info);
  attributes.text("db.statement", word.view());
  attributes.text("db.operation", word.view());
  attributes.text("nuages.db.label", word.view());
  record_call(hooks, parent,
              {hooks.n_db.get(), word.view(), attributes.views(), start_ns, end_ns, saved.value()});
  return result;
}

}  // namespace nuages::python
