#include "python/database_info.h"

#include <functional>
#include <memory>

#include "python/hook_state.h"

namespace nuages::python {
namespace {

constexpr const char* kCapsuleName = "nuages.database";
constexpr size_t kMaxConnections = 1024;
constexpr Py_ssize_t kDriverItems = 6;

void destroy_info(PyObject* capsule) {
  auto* info = static_cast<DatabaseInfo*>(PyCapsule_GetPointer(capsule, kCapsuleName));
  if (info == nullptr) return;
  Py_XDECREF(info->name_object);
  delete info;
}

Database as_database(PyObject* capsule) noexcept {
  if (capsule == nullptr || !PyCapsule_IsValid(capsule, kCapsuleName)) return {};
  return {Ref::share(capsule),
          static_cast<const DatabaseInfo*>(PyCapsule_GetPointer(capsule, kCapsuleName))};
}

std::string text_of(PyObject* value) {
  if (value == nullptr || value == Py_None) return {};
  if (PyBytes_Check(value)) {
    return {PyBytes_AS_STRING(value), static_cast<size_t>(PyBytes_GET_SIZE(value))};
  }
  return std::string(Utf8(value).view());
}

int64_t port_of(const std::string& text) noexcept {
  int64_t port = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9' || port > 65535) return 0;
    port = port * 10 + (digit - '0');
  }
  return port;
}

// SQLite's NAME is a path of the machine: its last part identifies the database well enough.
std::string database_name(std::string_view system, std::string name) {
  if (system == "sqlite" && !name.starts_with("file:")) {
    if (const size_t slash = name.find_last_of('/'); slash != std::string::npos)
      return name.substr(slash + 1);
  }
  return name;
}

Ref read_django(Hooks& hooks, PyObject* connection, PyObject* settings) {
  auto info = std::make_unique<DatabaseInfo>();
  const Ref alias = Ref::take(call_python(PyObject_GetAttrString, connection, "alias"));
  const Ref vendor = Ref::take(call_python(PyObject_GetAttrString, connection, "vendor"));
  drop_error();
  if (!alias || !vendor) return {};
  info->alias = Utf8(alias.get()).view();
  info->alias_hash = std::hash<std::string>()(info->alias);
  info->system = Utf8(vendor.get()).view();
  info->dialect = sql::dialect_from_system(info->system);
  info->name = database_name(info->system, text_of(item_of(settings, "NAME")));
  info->host = text_of(item_of(settings, "HOST"));
  info->user = text_of(item_of(settings, "USER"));
  info->port = port_of(text_of(item_of(settings, "PORT")));
  info->name_object = item_of(settings, hooks.n_database_name.get());
  Py_XINCREF(info->name_object);
  return Ref::take(hand_over(std::move(info), kCapsuleName, destroy_info));
}

// (name, host, port, user), each may be None.
Ref read_driver(const Driver& driver, PyObject* facts) {
  auto info = std::make_unique<DatabaseInfo>();
  info->system = Utf8(driver.system()).view();
  info->dialect = sql::dialect_from_system(info->system);
  if (facts != nullptr && PyTuple_Check(facts) && PyTuple_GET_SIZE(facts) == 4) {
    info->name = database_name(info->system, text_of(PyTuple_GET_ITEM(facts, 0)));
    info->host = text_of(PyTuple_GET_ITEM(facts, 1));
    info->port = port_of(text_of(PyTuple_GET_ITEM(facts, 2)));
    info->user = text_of(PyTuple_GET_ITEM(facts, 3));
  }
  const std::hash<std::string> hash;
  info->alias_hash = hash(info->system) ^ (hash(info->name) * 3) ^ (hash(info->host) * 5) ^
                     static_cast<uint64_t>(info->port);
  return Ref::take(hand_over(std::move(info), kCapsuleName, destroy_info));
}

}  // namespace

Database database_of(Hooks& hooks, PyObject* connection) noexcept {
  const Ref settings = attribute_of(connection, hooks.n_settings_dict.get());
  if (!settings || !PyDict_Check(settings.get())) return {};
  const Ref dict = Ref::take(PyObject_GenericGetDict(connection, nullptr));
  if (!dict) {
    PyErr_Clear();
    return {};
  }
  Database known = as_database(item_of(dict.get(), hooks.n_dict_database.get()));
  if (known && known.info->name_object == item_of(settings.get(), hooks.n_database_name.get())) {
    return known;
  }
  const Ref made = read_django(hooks, connection, settings.get());
  if (!made || PyDict_SetItem(dict.get(), hooks.n_dict_database.get(), made.get()) < 0) {
    PyErr_Clear();
    return {};
  }
  return as_database(made.get());
}

Driver driver_from(PyObject* data) noexcept {
  Driver driver;
  if (data != nullptr && PyTuple_Check(data) && PyTuple_GET_SIZE(data) == kDriverItems) {
    driver.tuple = data;
  }
  return driver;
}

Database DriverConnections::get(Hooks& hooks, PyObject* connection, const Driver& driver) noexcept {
  const auto found = known_.find(connection);
  if (found != known_.end()) {
    const Known& known = found->second;
    if (!known.weak || weakly_refers_to(known.weak.get(), connection)) return known.database;
  }
  const Ref facts = Ref::take(call_python(PyObject_CallOneArg, driver.describe(), connection));
  if (!facts) hook_failed(hooks, "describing a database connection");
  if (!put(connection, driver, facts.get())) return {};
  return known_[connection].database;
}

Database driver_database(const Driver& driver, PyObject* facts) noexcept {
  const Ref made = read_driver(driver, facts);
  if (!made) PyErr_Clear();
  return as_database(made.get());
}

bool DriverConnections::put(PyObject* connection, const Driver& driver, PyObject* facts) noexcept {
  Known known;
  known.database = driver_database(driver, facts);
  known.weak = Ref::take(PyWeakref_NewRef(connection, nullptr));
  PyErr_Clear();
  if (!known.database) return false;
  if (known_.size() >= kMaxConnections) known_.clear();  // they are described again when used
  known_[connection] = std::move(known);
  return true;
}

}  // namespace nuages::python
