#include "python/convert.h"

#include "wire/otlp_reader.h"
#include "wire/protobuf_writer.h"

namespace nuages::python {
namespace {

constexpr int kMaxDepth = 32;  // deeper values become text

std::string_view cut(std::string_view text, uint32_t max_length) noexcept {
  return max_length == trace::SpanLimits::kUnlimited
             ? text
             : trace::truncate_code_points(text, max_length);
}

// AnyValue, ArrayValue and KeyValueList; field numbers from common.proto.
using Writer = wire::ProtobufWriter;

bool encode_items(PyObject* value, uint32_t max_length, int depth, Writer& out);
bool encode_pairs(PyObject* value, uint32_t max_length, int depth, Writer& out);

// Appends one AnyValue's fields; false for types that only the SDK's cleaning can turn into one.
bool encode_any(PyObject* value, uint32_t max_length, int depth, Writer& out) {
  if (value == Py_None) return true;
  if (PyUnicode_Check(value)) {
    out.string(1, cut(Utf8(value).view(), max_length));
  } else if (PyBool_Check(value)) {
    out.boolean(2, value == Py_True);
  } else if (PyLong_Check(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
      out.string(1, Utf8(value).view());
    } else {
      out.varint(3, static_cast<uint64_t>(number));
    }
  } else if (PyFloat_Check(value)) {
    out.number(4, PyFloat_AS_DOUBLE(value));
  } else if (PyBytes_Check(value)) {
    out.string(7, {PyBytes_AS_STRING(value), static_cast<size_t>(PyBytes_GET_SIZE(value))});
  } else if (PyTuple_Check(value) || PyList_Check(value) || PyDict_Check(value)) {
    if (depth >= kMaxDepth) {
      out.string(1, cut(Utf8(value).view(), max_length));
      return true;
    }
    const bool is_map = PyDict_Check(value);
    const auto message = out.begin(is_map ? 6 : 5);
    const bool ok = is_map ? encode_pairs(value, max_length, depth + 1, out)
                           : encode_items(value, max_length, depth + 1, out);
    out.end(message);
    return ok;
  } else {
    return false;
  }
  return true;
}

bool encode_items(PyObject* value, uint32_t max_length, int depth, Writer& out) {
  // A snapshot: showing an item may run Python code that changes the list.
  const Ref items = Ref::take(PySequence_Tuple(value));
  if (!items) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.get()); ++i) {
    const auto item = out.begin(1);
    const bool ok = encode_any(PyTuple_GET_ITEM(items.get(), i), max_length, depth, out);
    out.end(item);
    if (!ok) return false;
  }
  return true;
}

bool encode_pairs(PyObject* value, uint32_t max_length, int depth, Writer& out) {
  const Ref items = Ref::take(PyDict_Items(value));
  if (!items) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    PyObject* pair = PyList_GET_ITEM(items.get(), i);
    if (!PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))) return false;
    const auto entry = out.begin(1);
    out.string(1, Utf8(PyTuple_GET_ITEM(pair, 0)).view());
    const auto any = out.begin(2);
    const bool ok = encode_any(PyTuple_GET_ITEM(pair, 1), max_length, depth, out);
    out.end(any);
    out.end(entry);
    if (!ok) return false;
  }
  return true;
}

}  // namespace

bool ValueHolder::convert_plain(PyObject* value, uint32_t max_length) noexcept {
  if (PyUnicode_Check(value)) {
    Py_ssize_t size = 0;
    if (const char* text = PyUnicode_AsUTF8AndSize(value, &size)) {
      kept_ = Ref::share(value);
      view_ = trace::text_value(cut({text, static_cast<size_t>(size)}, max_length));
    } else {
      PyErr_Clear();
      encoded_ = Utf8(value).view();
      view_ = trace::text_value(cut(encoded_, max_length));
    }
  } else if (PyBool_Check(value)) {
    view_ = trace::bool_value(value == Py_True);
  } else if (PyLong_Check(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
      encoded_ = Utf8(value).view();
      view_ = trace::text_value(encoded_);
    } else {
      view_ = trace::int_value(number);
    }
  } else if (PyFloat_Check(value)) {
    view_ = trace::double_value(PyFloat_AS_DOUBLE(value));
  } else if (value == Py_None) {
    view_ = {};
  } else if (PyBytes_Check(value)) {
    kept_ = Ref::share(value);
    view_ =
        trace::text_value({PyBytes_AS_STRING(value), static_cast<size_t>(PyBytes_GET_SIZE(value))},
                          wire::ValueType::kBytes);
  } else {
    return false;
  }
  return true;
}

bool ValueHolder::convert(ModuleState& state, PyObject* value, uint32_t max_length) noexcept try {
  // None is a value in new SDKs and refused by old ones; clean_value knows.
  if (value != Py_None && convert_plain(value, max_length)) return true;
  const Ref cleaned = Ref::take(call_python(PyObject_CallOneArg, state.clean_value.get(), value));
  if (!cleaned) {
    PyErr_Clear();
    return false;
  }
  if (cleaned.get() == Py_NotImplemented) return false;
  if (convert_plain(cleaned.get(), max_length)) return true;
  const bool is_map = PyDict_Check(cleaned.get());
  Writer writer;
  if (is_map ? !encode_pairs(cleaned.get(), max_length, 1, writer)
             : !encode_items(cleaned.get(), max_length, 1, writer)) {
    PyErr_Clear();
    encoded_ = Utf8(cleaned.get()).view();
    view_ = trace::text_value(cut(encoded_, max_length));
    return true;
  }
  encoded_ = writer.view();
  view_ = trace::text_value(encoded_,
                            is_map ? wire::ValueType::kKeyValueList : wire::ValueType::kArray);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

namespace {

bool all_text_keys(PyObject* items) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); ++i) {
    PyObject* pair = PyList_GET_ITEM(items, i);
    if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 &&
        !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool AttributeList::add(PyObject* key, PyObject* value) noexcept try {
  if (!PyUnicode_Check(key) || PyUnicode_GET_LENGTH(key) == 0) {
    const Ref said =
        Ref::take(call_python(PyObject_CallFunction, state_.warn.get(), "sN",
                              "invalid attribute key: it must be a non-empty string, not %s",
                              call_python(PyObject_Repr, key)));
    if (!said) drop_error();
    ++dropped_;
    return false;
  }
  ValueHolder& holder = holders_.emplace_back();
  if (!holder.convert(state_, value, max_length_)) {
    holders_.pop_back();
    ++dropped_;
    return false;
  }
  kept_.push_back(Ref::share(key));
  views_.push_back({keys_.emplace_back(key).view(), holder.view()});
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void AttributeList::add_mapping(PyObject* mapping) noexcept {
  if (!mapping || mapping == Py_None) return;
  // A list of the items: converting may run Python code that changes the mapping.
  Ref items =
      Ref::take(PyDict_CheckExact(mapping) ? PyDict_Items(mapping) : PyMapping_Items(mapping));
  if (!items) {
    PyErr_Clear();
    const Ref said = Ref::take(call_python(PyObject_CallFunction, state_.warn.get(), "sN",
                                           "attributes must be a mapping, not %s",
                                           call_python(PyObject_Repr, mapping)));
    if (!said) PyErr_Clear();
    return;
  }
  if (!all_text_keys(items.get())) {
    // Its own way of cleaning a mapping; older versions have none (NotImplemented), and refuse.
    const Ref cleaned =
        Ref::take(call_python(PyObject_CallOneArg, state_.clean_value.get(), mapping));
    if (!cleaned) drop_error();
    if (cleaned && PyDict_Check(cleaned.get())) {
      const Py_ssize_t gone = PyList_GET_SIZE(items.get()) - PyDict_GET_SIZE(cleaned.get());
      if (gone > 0) dropped_ += static_cast<uint32_t>(gone);
      items = Ref::take(PyDict_Items(cleaned.get()));
      if (!items) return PyErr_Clear();
    }
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    PyObject* pair = PyList_GET_ITEM(items.get(), i);
    if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
      add(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    }
  }
}

Ref text_object(std::string_view text) noexcept {
  return Ref::take(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

Ref value_object(const trace::ValueView& value) noexcept {
  switch (value.type) {
    case wire::ValueType::kString:
      return text_object(value.text);
    case wire::ValueType::kBool:
      return Ref::take(PyBool_FromLong(value.boolean ? 1 : 0));
    case wire::ValueType::kInt:
      return Ref::take(PyLong_FromLongLong(value.integer));
    case wire::ValueType::kDouble:
      return Ref::take(PyFloat_FromDouble(value.number));
    case wire::ValueType::kBytes:
      return Ref::take(
          PyBytes_FromStringAndSize(value.text.data(), static_cast<Py_ssize_t>(value.text.size())));
    case wire::ValueType::kArray: {
      Ref list = Ref::take(PyList_New(0));
      if (!list) return {};
      bool ok = true;
      wire::read_array(value.text, [&](const wire::Value& item) {
        const Ref object = ok ? value_object(item) : Ref();
        ok = ok && object && PyList_Append(list.get(), object.get()) == 0;
      });
      return ok ? Ref::take(PyList_AsTuple(list.get())) : Ref();
    }
    case wire::ValueType::kKeyValueList: {
      Ref dict = Ref::take(PyDict_New());
      if (!dict) return {};
      bool ok = true;
      wire::read_key_values(value.text, [&](const wire::KeyValue& item) {
        const Ref key = ok ? text_object(item.key) : Ref();
        const Ref object = key ? value_object(item.value) : Ref();
        ok = ok && object && PyDict_SetItem(dict.get(), key.get(), object.get()) == 0;
      });
      return ok ? std::move(dict) : Ref();
    }
    case wire::ValueType::kEmpty:
      break;
  }
  return Ref::share(Py_None);
}

Ref attributes_object(const trace::AttributeRange& range) noexcept {
  Ref dict = Ref::take(PyDict_New());
  if (!dict) return {};
  for (const trace::AttributeView attribute : range) {
    const Ref key = text_object(attribute.key);
    const Ref value = key ? value_object(attribute.value) : Ref();
    if (!value || PyDict_SetItem(dict.get(), key.get(), value.get()) < 0) return {};
  }
  return dict;
}

Ref trace_id_object(TraceId id) noexcept {
  unsigned char bytes[16];
  trace_id_to_bytes(id, reinterpret_cast<char*>(bytes));
#if PY_VERSION_HEX >= 0x030D0000
  return Ref::take(
      PyLong_FromUnsignedNativeBytes(bytes, sizeof bytes, Py_ASNATIVEBYTES_BIG_ENDIAN));
#else
  return Ref::take(_PyLong_FromByteArray(bytes, sizeof bytes, 0, 0));
#endif
}

bool read_trace_id(PyObject* object, TraceId& out) noexcept {
  const Ref bits = Ref::take(PyLong_FromLong(64));
  const Ref high = bits ? Ref::take(PyNumber_Rshift(object, bits.get())) : Ref();
  if (!high) return false;
  out.low = PyLong_AsUnsignedLongLongMask(object);
  if (PyErr_Occurred()) return false;
  out.high = PyLong_AsUnsignedLongLongMask(high.get());
  return !PyErr_Occurred();
}

}  // namespace nuages::python
