#include "wire/otlp_writer.h"

#include <bit>

#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

enum ValueField : uint32_t {
  kStringField = 1,
  kBoolField,
  kIntField,
  kDoubleField,
  kArrayField,
  kKeyValueListField,
  kBytesField
};

constexpr int kMaxDepth = 64;

uint32_t text_field(ValueType type) {
  switch (type) {
    case ValueType::kArray:
      return kArrayField;
    case ValueType::kKeyValueList:
      return kKeyValueListField;
    case ValueType::kBytes:
      return kBytesField;
    default:
      return kStringField;
  }
}

void put(std::string& out, uint32_t field, std::string_view body) {
  uint64_t head[2] = {static_cast<uint64_t>(field) << 3 | 2, body.size()};
  for (uint64_t value : head) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
  }
  out.append(body);
}

// Copies a message field by field, giving each length-delimited one to `visit(field, body, out)`,
// which returns true when it wrote a changed body. False: nothing changed or not protobuf.
template <typename Visit>
bool rewrite_fields(std::string_view message, std::string& out, const Visit& visit) {
  ProtobufReader reader(message);
  std::string changed;
  bool any = false;
  out.clear();
  const char* from = message.data();
  while (reader.next()) {
    if (reader.type() == WireType::kLength) {
      const std::string_view body = reader.bytes();
      if (!reader.ok()) return false;
      if (visit(reader.field(), body, changed)) {
        any = true;
        put(out, reader.field(), changed);
        from = reader.position();
        continue;
      }
    } else {
      reader.skip();
    }
    out.append(from, reader.position());
    from = reader.position();
  }
  return reader.ok() && any;
}

struct Rewrite {
  const StringRewrite& text;
  bool keys_and_bytes = false;
};

bool rewrite_any_value(std::string_view message, const Rewrite& rewrite, std::string& out,
                       int depth);

bool rewrite_list(bool key_values, std::string_view message, const Rewrite& rewrite,
                  std::string& out, int depth) {
  if (depth > kMaxDepth) return false;
  return rewrite_fields(
      message, out, [&](uint32_t field, std::string_view body, std::string& changed) {
        if (field != 1) return false;
        if (!key_values) return rewrite_any_value(body, rewrite, changed, depth + 1);
        return rewrite_fields(
            body, changed, [&](uint32_t part, std::string_view value, std::string& new_value) {
              if (part == 1) return rewrite.keys_and_bytes && rewrite.text(value, new_value);
              return part == 2 && rewrite_any_value(value, rewrite, new_value, depth + 1);
            });
      });
}

bool rewrite_any_value(std::string_view message, const Rewrite& rewrite, std::string& out,
                       int depth) {
  return rewrite_fields(message, out,
                        [&](uint32_t field, std::string_view body, std::string& changed) {
                          switch (field) {
                            case kStringField:
                              return rewrite.text(body, changed);
                            case kBytesField:
                              return rewrite.keys_and_bytes && rewrite.text(body, changed);
                            case kArrayField:
                              return rewrite_list(false, body, rewrite, changed, depth + 1);
                            case kKeyValueListField:
                              return rewrite_list(true, body, rewrite, changed, depth + 1);
                            default:
                              return false;
                          }
                        });
}

}  // namespace

size_t value_size(const Value& value) {
  switch (value.type) {
    case ValueType::kEmpty:
      return 0;
    case ValueType::kBool:
      return 2;
    case ValueType::kInt:
      return 1 + ProtobufWriter::varint_size(static_cast<uint64_t>(value.integer));
    case ValueType::kDouble:
      return 9;
    default:
      return ProtobufWriter::field_size(text_field(value.type), value.text.size());
  }
}

void write_value_body(ProtobufWriter& out, const Value& value) {
  switch (value.type) {
    case ValueType::kEmpty:
      break;
    case ValueType::kBool:
      out.boolean(kBoolField, value.boolean);
      break;
    case ValueType::kInt:
      out.varint(kIntField, static_cast<uint64_t>(value.integer));
      break;
    case ValueType::kDouble:
      out.number(kDoubleField, value.number);
      break;
    default:
      out.string(text_field(value.type), value.text);
  }
}

void write_key_value(ProtobufWriter& out, uint32_t field, std::string_view key,
                     const Value& value) {
  using W = ProtobufWriter;
  constexpr size_t kHeads = 64;  // of all tags and lengths, and a number
  const size_t inner = value_size(value);
  char* at = out.room_for(kHeads + key.size() + value.text.size());
  at = W::put_length(at, field, W::field_size(1, key.size()) + W::field_size(2, inner));
  at = W::put_text(W::put_length(at, 1, key.size()), key);
  at = W::put_length(at, 2, inner);
  switch (value.type) {
    case ValueType::kEmpty:
      break;
    case ValueType::kBool:
      at = W::put_varint(W::put_varint(at, kBoolField << 3), value.boolean ? 1 : 0);
      break;
    case ValueType::kInt:
      at = W::put_varint(W::put_varint(at, kIntField << 3), static_cast<uint64_t>(value.integer));
      break;
    case ValueType::kDouble:
      at = W::put_fixed(W::put_varint(at, kDoubleField << 3 | 1),
                        std::bit_cast<uint64_t>(value.number));
      break;
    default:
      at = W::put_length(at, text_field(value.type), value.text.size());
      at = W::put_text(at, value.text);
  }
  out.advance(at);
}

void ArrayBuilder::append(const Value& element) {
  out_.length(1, value_size(element));
  write_value_body(out_, element);
}

bool rewrite_strings(ValueType type, std::string_view encoded, const StringRewrite& rewrite,
                     std::string& out, bool keys_and_bytes) {
  return rewrite_list(type == ValueType::kKeyValueList, encoded, {rewrite, keys_and_bytes}, out, 0);
}

}  // namespace nuages::wire
