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

class AttributeList {
 public:
  explicit AttributeList(ModuleState& state,
                         uint32_t max_length = trace::SpanLimits::kUnlimited) noexcept
      : state_(state), max_length_(max_length) {}

  bool add(PyObject* key, PyObject* value) noexcept;
  // Every item of a mapping; null and None are empty. Leaves no Python error.
  void add_mapping(PyObject* mapping) noexcept;
  std::span<const trace::AttributeView> views() const noexcept { return views_; }

 private:
  ModuleState& state_;
  uint32_t max_length_;
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
