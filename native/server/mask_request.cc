#include "server/mask_request.h"

#include <algorithm>
#include <cstdint>

#include "wire/protobuf_reader.h"

namespace nuages::server {
namespace {

constexpr int kMostDepth = 64;  // of arrays and lists inside a value, as wire::Limits has it
constexpr std::string_view kHidden = "***";

enum class Kind : uint8_t {
  kRequest,
  kResourceSpans,
  kResource,
  kScopeSpans,
  kScope,
  kSpan,
  kEvent,
  kLink,
  kStatus,
  kKeyValue,  // the kinds from here on need more than the table
  kText,
};

// Fields that hold messages or texts to look at; all others are copied.
struct Field {
  Kind in;
  uint32_t number;
  Kind is;
};
constexpr Field kFields[] = {
    {Kind::kRequest, 1, Kind::kResourceSpans},
    {Kind::kResourceSpans, 1, Kind::kResource},
    {Kind::kResourceSpans, 2, Kind::kScopeSpans},
    {Kind::kResource, 1, Kind::kKeyValue},
    {Kind::kScopeSpans, 1, Kind::kScope},
    {Kind::kScopeSpans, 2, Kind::kSpan},
    {Kind::kScope, 3, Kind::kKeyValue},
    {Kind::kSpan, 3, Kind::kText},
    {Kind::kSpan, 5, Kind::kText},
    {Kind::kSpan, 9, Kind::kKeyValue},
    {Kind::kSpan, 11, Kind::kEvent},
    {Kind::kSpan, 13, Kind::kLink},
    {Kind::kSpan, 15, Kind::kStatus},
    {Kind::kEvent, 2, Kind::kText},
    {Kind::kEvent, 3, Kind::kKeyValue},
    {Kind::kLink, 3, Kind::kText},
    {Kind::kLink, 4, Kind::kKeyValue},
    {Kind::kStatus, 2, Kind::kText},
};

void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void put(std::string& out, uint32_t field, std::string_view body) {
  put_varint(out, uint64_t{field} << 3 | 2);
  put_varint(out, body.size());
  out += body;
}

class Rewriter {
 public:
  explicit Rewriter(const mask::Policy& policy) : policy_(policy) {}

  // Appends the message to `out`. False when it is not protobuf.
  bool message(Kind kind, std::string_view in, std::string& out) {
    wire::ProtobufReader reader(in);
    const char* before = in.data();
    while (reader.next()) {
      const Field* field = find(kind, reader);
      if (field == nullptr) {
        reader.skip();
        out.append(before, reader.position());
      } else if (!known(*field, reader.bytes(), out)) {
        return false;
      }
      before = reader.position();
    }
    return reader.ok();
  }

 private:
  static const Field* find(Kind kind, const wire::ProtobufReader& reader) {
    if (reader.type() != wire::WireType::kLength) return nullptr;
    const auto* found = std::find_if(std::begin(kFields), std::end(kFields), [&](const Field& f) {
      return f.in == kind && f.number == reader.field();
    });
    return found == std::end(kFields) ? nullptr : found;
  }

  bool known(const Field& field, std::string_view body, std::string& out) {
    if (field.is == Kind::kText) {
      std::string changed;
      put(out, field.number, policy_.text(body, changed) ? changed : body);
      return true;
    }
    std::string inner;
    inner.reserve(body.size());
    bool drop = false;
    const bool good = field.is == Kind::kKeyValue ? key_value(body, inner, drop, 0)
                                                  : message(field.is, body, inner);
    if (good && !drop) put(out, field.number, inner);
    return good;
  }

  bool key_value(std::string_view in, std::string& out, bool& drop, int depth) {
    std::string_view key;
    std::string_view value;
    wire::ProtobufReader reader(in);
    while (reader.next()) {
      if (reader.is(1, wire::WireType::kLength)) {
        key = reader.bytes();
      } else if (reader.is(2, wire::WireType::kLength)) {
        value = reader.bytes();
      } else {
        reader.skip();
      }
    }
    if (!reader.ok()) return false;
    const mask::Verdict verdict = policy_.key(key);
    drop = verdict == mask::Verdict::kDrop;
    if (drop) return true;
    std::string changed;
    put(out, 1, policy_.text(key, changed) ? changed : key);
    std::string inner;
    if (verdict == mask::Verdict::kChanged) {
      put(inner, 1, kHidden);
    } else if (!any_value(value, key, inner, drop, depth)) {
      return false;
    }
    put(out, 2, inner);
    return true;
  }

  bool any_value(std::string_view in, std::string_view key, std::string& out, bool& drop,
                 int depth) {
    if (depth > kMostDepth) return true;  // nothing of it
    wire::ProtobufReader reader(in);
    const char* before = in.data();
    while (reader.next()) {
      const bool length = reader.type() == wire::WireType::kLength;
      const uint32_t number = reader.field();
      if (length && (number == 1 || number == 7)) {  // text, and bytes that may hold one
        const std::string_view text = reader.bytes();
        std::string changed;
        const mask::Verdict verdict = policy_.attribute(key, text, changed);
        drop |= verdict == mask::Verdict::kDrop;
        put(out, number, verdict == mask::Verdict::kChanged ? std::string_view(changed) : text);
      } else if (length && (number == 5 || number == 6)) {  // ArrayValue, KeyValueList
        std::string inner;
        if (!elements(reader.bytes(), number == 6, key, inner, drop, depth + 1)) return false;
        put(out, number, inner);
      } else {
        reader.skip();
        out.append(before, reader.position());
      }
      before = reader.position();
    }
    return reader.ok();
  }

  bool elements(std::string_view in, bool pairs, std::string_view key, std::string& out, bool& drop,
                int depth) {
    wire::ProtobufReader reader(in);
    while (reader.next()) {
      if (!reader.is(1, wire::WireType::kLength)) {
        reader.skip();
        continue;
      }
      const std::string_view body = reader.bytes();
      std::string inner;
      bool drop_one = false;
      const bool good = pairs ? key_value(body, inner, drop_one, depth)
                              : any_value(body, key, inner, drop, depth);
      if (!good) return false;
      if (!drop_one) put(out, 1, inner);
    }
    return reader.ok();
  }

  const mask::Policy& policy_;
};

}  // namespace

std::string mask_request(std::string_view request, const mask::Policy& policy) {
  std::string out;
  out.reserve(request.size());
  if (!Rewriter(policy).message(Kind::kRequest, request, out)) return std::string(request);
  return out;
}

}  // namespace nuages::server
