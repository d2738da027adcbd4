// Attributes as the trace core takes and hands them out: wire::KeyValue, plus short constructors.
//
// A string or bytes value is a view; arrays and maps are already OTLP-encoded (ArrayValue,
// KeyValueList) in Value::text, which is what makes a record self-contained and its encoding a
// copy. Build arrays with wire::ArrayBuilder (wire/otlp_writer.h), walk them with
// wire::read_array (wire/otlp_reader.h). Everything is copied on the way in; nothing is kept.
#pragma once

#include <cstdint>
#include <string_view>

#include "wire/otlp_model.h"

namespace nuages::trace {

using ValueView = wire::Value;
using AttributeView = wire::KeyValue;

inline ValueView bool_value(bool value) {
  ValueView view;
  view.type = wire::ValueType::kBool;
  view.boolean = value;
  return view;
}
inline ValueView int_value(int64_t value) {
  ValueView view;
  view.type = wire::ValueType::kInt;
  view.integer = value;
  return view;
}
inline ValueView double_value(double value) {
  ValueView view;
  view.type = wire::ValueType::kDouble;
  view.number = value;
  return view;
}
// kString by default; kBytes, kArray (encoded ArrayValue) and kKeyValueList (encoded KeyValueList).
inline ValueView text_value(std::string_view text,
                            wire::ValueType type = wire::ValueType::kString) {
  ValueView view;
  view.type = type;
  view.text = text;
  return view;
}

}  // namespace nuages::trace
