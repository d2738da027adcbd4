// Encodes OTLP messages for tests, field by field, so that tests can also build wrong ones. Test
// code only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace nuages::wire::testing {

class Message {
 public:
  Message& varint(uint32_t field, uint64_t value) {
    put(uint64_t{field} << 3);
    put(value);
    return *this;
  }
  Message& bytes(uint32_t field, std::string_view value) {
    put(uint64_t{field} << 3 | 2);
    put(value.size());
    text_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& value) { return bytes(field, value.text_); }
  Message& fixed64(uint32_t field, uint64_t value) {
    put(uint64_t{field} << 3 | 1);
    text_.append(reinterpret_cast<const char*>(&value), 8);
    return *this;
  }
  Message& fixed32(uint32_t field, uint32_t value) {
    put(uint64_t{field} << 3 | 5);
    text_.append(reinterpret_cast<const char*>(&value), 4);
    return *this;
  }
  Message& raw(std::string_view data) {
    text_ += data;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  void put(uint64_t value) {
    while (value >= 0x80) {
      text_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

inline Message string_value(std::string_view text) { return Message().bytes(1, text); }

inline Message key_value(std::string_view key, const Message& value) {
  return Message().bytes(1, key).message(2, value);
}

inline std::string id_bytes(size_t size, uint64_t number) {
  std::string out(size, '\0');
  for (size_t i = 0; i < 8; ++i) out[size - 1 - i] = static_cast<char>(number >> (8 * i));
  return out;
}

// A small good span; more fields may be added to it.
inline Message span(uint64_t trace, uint64_t id, std::string_view name = "work") {
  return Message()
      .bytes(1, id_bytes(16, trace))
      .bytes(2, id_bytes(8, id))
      .bytes(5, name)
      .varint(6, 2)
      .fixed64(7, 1'700'000'000'000'000'000)
      .fixed64(8, 1'700'000'000'001'000'000)
      .message(9, key_value("http.method", string_value("GET")));
}

// One request with one resource (service "test") and one scope.
inline std::string request(const std::initializer_list<Message>& spans) {
  Message scope_spans;
  scope_spans.message(1, Message().bytes(1, "scope").bytes(2, "1.0"));
  for (const Message& one : spans) scope_spans.message(2, one);
  return Message()
      .message(
          1, Message()
                 .message(1, Message().message(1, key_value("service.name", string_value("test"))))
                 .message(2, scope_spans))
      .text();
}

}  // namespace nuages::wire::testing
