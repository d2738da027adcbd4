// Arguments of METH_FASTCALL | METH_KEYWORDS functions, matched by name without a format string.
//
//   static constexpr const char* kNames[] = {"name", "context"};
//   PyObject* values[2] = {};
//   if (!read_arguments("start_span", kNames, 1, args, nargs, kwnames, values)) return nullptr;
//
// Values are borrowed; absent ones stay null. Raises TypeError as CPython words it. Costs one
// comparison per keyword in the usual case of keywords given in order.
#pragma once

#include <span>

#include "python/ref.h"

namespace nuages::python {

inline bool read_arguments(const char* function, std::span<const char* const> names,
                           size_t required, PyObject* const* args, Py_ssize_t nargs,
                           PyObject* kwnames, PyObject** values) noexcept {
  if (static_cast<size_t>(nargs) > names.size()) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zu arguments (%zd given)", function,
                 names.size(), nargs);
    return false;
  }
  for (Py_ssize_t i = 0; i < nargs; ++i) values[i] = args[i];
  const Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(kwnames, i);
    size_t at = 0;
    while (at < names.size() && PyUnicode_CompareWithASCIIString(keyword, names[at]) != 0) ++at;
    if (at == names.size()) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                   keyword);
      return false;
    }
    if (values[at]) {
      PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", function,
                   names[at]);
      return false;
    }
    values[at] = args[nargs + i];
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values[i]) {
      PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function, names[i]);
      return false;
    }
  }
  return true;
}

inline PyObject* or_null(PyObject* value) noexcept { return value == Py_None ? nullptr : value; }

// The truth of an optional flag; -1 with a Python error.
inline int flag_or(PyObject* value, bool otherwise) noexcept {
  return value ? PyObject_IsTrue(value) : static_cast<int>(otherwise);
}

// Nanoseconds of an optional time argument: 0, which means now, when it is absent or no time of
// this or the next two centuries. Leaves no Python error.
inline void read_time(PyObject* value, uint64_t& out) noexcept {
  out = 0;
  if (!value || value == Py_None) return;
  if (PyLong_Check(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0 && number > 0) out = static_cast<uint64_t>(number);
  } else if (PyFloat_Check(value)) {
    const double number = PyFloat_AS_DOUBLE(value);
    if (number > 0 && number < 9e18) out = static_cast<uint64_t>(number);
  }
}

}  // namespace nuages::python
