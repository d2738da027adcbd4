#include "wire/otlp_check.h"

#include <string>

#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

constexpr int kMaxDepth = 150;  // of messages; a value nested 64 deep needs 130

WireType wire_type(FieldType type) {
  switch (type) {
    case FieldType::kString:
    case FieldType::kBytes:
    case FieldType::kId:
    case FieldType::kMessage:
      return WireType::kLength;
    case FieldType::kFixed32:
      return WireType::kFixed32;
    case FieldType::kFixed64:
    case FieldType::kSfixed64:
    case FieldType::kDouble:
      return WireType::kFixed64;
    default:
      return WireType::kVarint;
  }
}

class Check {
 public:
  explicit Check(std::string_view body) : body_(body) {}

  Result<uint64_t> run(const MessageType& type) {
    if (message(type, body_, 0)) return items_;
    std::string text = "the body is not a valid ";
    text.append(type.name).append(": ").append(bad_).append(" ").append(reason_);
    text.append(" near byte ").append(std::to_string(at_ - body_.data()));
    return Error{ErrorCode::kInvalid, std::move(text)};
  }

 private:
  bool fail(std::string_view name, std::string_view reason, const char* at) {
    bad_ = name;
    reason_ = reason;
    at_ = at;
    return false;
  }

  bool message(const MessageType& type, std::string_view bytes, int depth) {
    if (depth > kMaxDepth) return fail(type.name, "is nested too deeply", bytes.data());
    if (type.item) ++items_;
    ProtobufReader reader(bytes);
    while (reader.next()) {
      const Field* field = find_field(type, reader.field());
      const bool known = field != nullptr && reader.is(field->number, wire_type(field->type));
      if (!known || reader.type() != WireType::kLength) {
        reader.skip();  // also lists of numbers: any bytes are such a list, up to its last element
        continue;
      }
      const std::string_view value = reader.bytes();
      if (!reader.ok()) break;
      if (field->type == FieldType::kMessage) {
        if (!message(*field->message, value, depth + 1)) return false;
      } else if (field->type == FieldType::kString && !valid_utf8(value)) {
        return fail(field->name, "is text that is not UTF-8", value.data());
      } else if (field->type == FieldType::kId && !value.empty() &&
                 value.size() != (field->name == "traceId" ? 16U : 8U)) {
        return fail(field->name, "has a wrong length", value.data());
      }
    }
    return reader.ok() || fail(type.name, "is malformed", reader.position());
  }

  std::string_view body_;
  uint64_t items_ = 0;
  std::string_view bad_;
  std::string_view reason_;
  const char* at_ = nullptr;
};

}  // namespace

Result<uint64_t> check_export_request(std::string_view body, Signal signal) {
  return Check(body).run(request_type(signal));
}

}  // namespace nuages::wire
