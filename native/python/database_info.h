// The facts of a database connection, read once per connection: system, name, server, user.
//
// A Django connection keeps them in its __dict__; they are read again when the settings' NAME is
// another object (test databases). Connections of drivers are mostly C objects without a __dict__:
// theirs lie in a table by address, with a weak reference that tells when the address is somebody
// else's (sqlite3 has none: its connect() hook replaces the entry). Under the GIL only.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "python/ref.h"
#include "sql/statement.h"

namespace nuages::python {

struct Hooks;

struct DatabaseInfo {
  std::string alias;  // Django's; empty for a driver's connection
  uint64_t alias_hash = 0;
  std::string system;  // db.system
  std::string name;
  std::string host;
  int64_t port = 0;
  std::string user;
  sql::Dialect dialect = sql::Dialect::kGeneric;
  PyObject* name_object = nullptr;  // owned; the NAME this was read from
};

// The information and what keeps it alive.
struct Database {
  Ref kept;
  const DatabaseInfo* info = nullptr;
  explicit operator bool() const noexcept { return info != nullptr; }
};

// Empty when `connection` does not look like a Django connection. Leaves no Python error.
Database database_of(Hooks& hooks, PyObject* connection) noexcept;

// What a hook knows about its driver: the tuple (system, describe, percent, module, names) that
// nuages.hooks.driver.describe() makes. `describe(connection)` gives (name, host, port, user);
// `percent`: the driver formats statements with %; `names`: the keywords of statement and
// parameters.
struct Driver {
  PyObject* tuple = nullptr;  // borrowed from the hook
  PyObject* system() const noexcept { return PyTuple_GET_ITEM(tuple, 0); }
  PyObject* describe() const noexcept { return PyTuple_GET_ITEM(tuple, 1); }
  bool percent() const noexcept { return PyTuple_GET_ITEM(tuple, 2) == Py_True; }
  PyObject* module() const noexcept { return PyTuple_GET_ITEM(tuple, 3); }
  PyObject* sql_name() const noexcept { return PyTuple_GET_ITEM(tuple, 4); }
  PyObject* parameters_name() const noexcept { return PyTuple_GET_ITEM(tuple, 5); }
  explicit operator bool() const noexcept { return tuple != nullptr; }
};
Driver driver_from(PyObject* data) noexcept;  // empty when data is no such tuple

// From the facts that describe() would give; null: nothing is known but the system.
Database driver_database(const Driver& driver, PyObject* facts) noexcept;

// What is known of the drivers' connections (a member of Hooks).
class DriverConnections {
 public:
  Database get(Hooks& hooks, PyObject* connection, const Driver& driver) noexcept;
  // `facts` is what describe() would give, for connections that cannot be asked.
  bool put(PyObject* connection, const Driver& driver, PyObject* facts) noexcept;
  void clear() noexcept { known_.clear(); }

 private:
  struct Known {
    Ref weak;  // empty: the connection knows no weak references
    Database database;
  };
  std::unordered_map<PyObject*, Known> known_;
};

}  // namespace nuages::python
