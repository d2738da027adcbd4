// Attribute values between Python and the core.
//
// bool, int, float, str, bytes and None convert natively, lists and tuples of them too; anything
// else goes through the installed SDK's own cleaning (clean_value), so odd types are treated, and
// warned about, as that version does. Ints beyond 64 bits become text. All functions need the GIL.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "python/module_state.h"
#include "trace/attribute.h"
#include "trace/limits.h"
#include "trace/record.h"

namespace nuages::python {

// One converted value; the view lives as long as the holder, which must not move.
class ValueHolder {
 public:
  ValueHolder() noexcept = default;
  ValueHolder(const ValueHolder&) = delete;
  ValueHolder& operator=(const ValueHolder&) = delete;

  // False: nothing to record (warned about). Leaves no Python error.
  bool convert(ModuleState& state, PyObject* value, uint32_t max_length) noexcept;
  const trace::ValueView& view() const noexcept { return view_; }

 private:
  bool convert_plain(PyObject* value, uint32_t max_length) noexcept;

  trace::ValueView view_;
  Ref kept_;
  std::string encoded_;
};

// The bytes of an ASCII str without a call; false for any other object.
[[gnu::always_inline]] inline bool ascii_text(PyObject* object, std::string_view& out) noexcept {
  if (!PyUnicode_Check(object) || !PyUnicode_IS_COMPACT_ASCII(object)) return false;
  out = {reinterpret_cast<const char*>(reinterpret_cast<PyASCIIObject*>(object) + 1),
         static_cast<size_t>(PyUnicode_GET_LENGTH(object))};
  return true;
}

// The value of an int that takes one digit; false: PyLong_As... knows.
[[gnu::always_inline]] inline bool small_int(PyObject* object, int64_t& out) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  const auto* number = reinterpret_cast<const PyLongObject*>(object);
  if (!PyUnstable_Long_IsCompact(number)) return false;
  out = PyUnstable_Long_CompactValue(number);
  return true;
#else
  const Py_ssize_t size = Py_SIZE(object);
  if (size < -1 || size > 1) return false;
  out = size * static_cast<int64_t>(reinterpret_cast<const PyLongObject*>(object)->ob_digit[0]);
  return true;
#endif
}

// Values of exactly the four common types, which need nothing kept; false: ValueHolder knows.
inline bool plain_value(PyObject* object, uint32_t max_length, trace::ValueView& out) noexcept {
  if (PyUnicode_CheckExact(object)) {
    std::string_view text;
    if (!ascii_text(object, text)) return false;
    out = trace::text_value(text.substr(0, max_length));
  } else if (PyLong_CheckExact(object)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) return false;
    out = trace::int_value(number);
  } else if (PyFloat_CheckExact(object)) {
    out = trace::double_value(PyFloat_AS_DOUBLE(object));
  } else if (PyBool_Check(object)) {
    out = trace::bool_value(object == Py_True);
  } else {
    return false;
  }
  return true;
}

class AttributeList {
 public:
  explicit AttributeList(ModuleState& state,
                         uint32_t max_length = trace::SpanLimits::kUnlimited) noexcept
      : state_(state), max_length_(max_length) {}

  bool add(PyObject* key, PyObject* value) noexcept;
  // Every item of a mapping; null and None are empty. Keys that are no str become one or go, as the
  // installed SDK has it. Leaves no Python error.
  void add_mapping(PyObject* mapping) noexcept;
  std::span<const trace::AttributeView> views() const noexcept { return views_; }
  // How many were refused: no usable key, or a value that the installed SDK refuses.
  uint32_t dropped() const noexcept { return dropped_; }

 private:
  ModuleState& state_;
  uint32_t max_length_;
  uint32_t dropped_ = 0;
  std::deque<ValueHolder> holders_;
  std::deque<Utf8> keys_;
  std::vector<Ref> kept_;
  std::vector<trace::AttributeView> views_;
};

// The key of an attribute; empty view (and one warning) when it is not a non-empty str.
Ref text_object(std::string_view text) noexcept;
Ref value_object(const trace::ValueView& value) noexcept;            // new reference, or error
Ref attributes_object(const trace::AttributeRange& range) noexcept;  // a dict, or error

// Python ints of 64 and 128 bits.
Ref trace_id_object(TraceId id) noexcept;
bool read_trace_id(PyObject* object, TraceId& out) noexcept;  // false with a Python error

}  // namespace nuages::python
