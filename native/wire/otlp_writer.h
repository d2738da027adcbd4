// Encoding of OTLP's common messages: AnyValue, KeyValue, arrays. The trace messages themselves are
// written by native/export from records.
//
// Values follow wire::Value: arrays and key-value lists are already encoded in `text`, so writing
// one is a copy. ArrayBuilder makes such a text; rewrite_strings changes the strings inside one
// (masking, truncation) without touching the rest. No threads, no state beyond the buffers.
// Source: opentelemetry-proto v1 (common.proto).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "wire/otlp_model.h"
#include "wire/protobuf_writer.h"

namespace nuages::wire {

// Bytes of the AnyValue message for `value`.
size_t value_size(const Value& value);
void write_value_body(ProtobufWriter& out, const Value& value);
// A KeyValue as field `field` of the message being written.
void write_key_value(ProtobufWriter& out, uint32_t field, std::string_view key, const Value& value);

// Collects the elements of an ArrayValue (or the entries of a KeyValueList).
class ArrayBuilder {
 public:
  void clear() { out_.clear(); }
  void append(const Value& element);
  void append(std::string_view key, const Value& element) {
    write_key_value(out_, 1, key, element);
  }
  // For Value::text of type kArray (kKeyValueList); lives until the next append.
  std::string_view text() const { return out_.view(); }

 private:
  ProtobufWriter out_;
};

// True when the filter changed the text, the result being in `out`.
using StringRewrite = std::function<bool(std::string_view text, std::string& out)>;

// Applies `rewrite` to every string inside an encoded array or key-value list, at any depth, and on
// request to keys and bytes as well. True
// when something changed; then `out` holds the new encoding. Text that is not OTLP is left alone.
bool rewrite_strings(ValueType type, std::string_view encoded, const StringRewrite& rewrite,
                     std::string& out, bool keys_and_bytes = false);

}  // namespace nuages::wire
