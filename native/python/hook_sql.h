// What the database hooks share: the facts of a Django connection and one recorded leaf.
#pragma once

#include <string>
#include <string_view>

#include "python/hook_function.h"
#include "sql/statement.h"

namespace nuages::python {

// Read once per connection object and kept in its __dict__; read again when the settings' NAME is
// another object (test databases).
struct DatabaseInfo {
  std::string alias;
  uint64_t alias_hash = 0;
  std::string system;  // db.system
  std::string name;
  std::string host;
  int64_t port = 0;
  std::string user;
  sql::Dialect dialect = sql::Dialect::kGeneric;
  PyObject* name_object = nullptr;  // owned; the NAME this was read from
};

// Null when `connection` does not look like a Django connection. Leaves no Python error.
const DatabaseInfo* database_info(Hooks& hooks, PyObject* connection) noexcept;

}  // namespace nuages::python
