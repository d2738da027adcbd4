#include "python/hook_names.h"

#include "python/ref.h"

namespace nuages::python {
namespace {

SemconvNames chosen(Hooks& hooks, PyObject* option) noexcept {
  PyObject* value = item_of(hooks.options.get(), option);
  if (value == nullptr || !PyLong_Check(value)) return SemconvNames::kOld;
  switch (PyLong_AsLong(value)) {
    case 1:
      return SemconvNames::kStable;
    case 2:
      return SemconvNames::kBoth;
    default:
      return SemconvNames::kOld;
  }
}

}  // namespace

SemconvNames http_names(Hooks& hooks) noexcept { return chosen(hooks, hooks.n_semconv_http.get()); }

SemconvNames database_names(Hooks& hooks) noexcept {
  return chosen(hooks, hooks.n_semconv_database.get());
}

std::string_view stable_db_system(std::string_view old) noexcept {
  if (old == "oracle") return "oracle.db";
  return old == "mssql" || old == "microsoft" ? "microsoft.sql_server" : old;
}

}  // namespace nuages::python
