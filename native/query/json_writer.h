// Writes JSON text front to back, with commas in the right places.
//
// Attribute values come out of the store as JSON already and are pasted as they are (raw), which
// keeps their exact form: 64-bit integers, 1.0 beside 1. The caller pairs begin and end calls. Not
// thread-safe; one append per call.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "store/attribute_text.h"

namespace nuages::query {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  JsonWriter& key(std::string_view name) {
    comma();
    store::append_json_string(out_, name);
    out_ += ':';
    after_value_ = false;
    return *this;
  }
  JsonWriter& string(std::string_view text) {
    comma();
    store::append_json_string(out_, text);
    return *this;
  }
  template <typename Integer>
  JsonWriter& integer(Integer value) {
    comma();
    char digits[24];
    out_.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
    return *this;
  }
  JsonWriter& boolean(bool value) { return raw(value ? "true" : "false"); }
  JsonWriter& null() { return raw("null"); }
  // Text that is JSON already.
  JsonWriter& raw(std::string_view json) {
    comma();
    out_ += json;
    return *this;
  }

  JsonWriter& field(std::string_view name, std::string_view text) { return key(name).string(text); }
  JsonWriter& field(std::string_view name, const char* text) { return key(name).string(text); }
  JsonWriter& field(std::string_view name, bool value) { return key(name).boolean(value); }
  template <typename Integer>
  JsonWriter& field(std::string_view name, Integer value) {
    return key(name).integer(value);
  }

  std::string take() { return std::move(out_); }

 private:
  JsonWriter& open(char bracket) {
    comma();
    out_ += bracket;
    after_value_ = false;
    return *this;
  }
  JsonWriter& close(char bracket) {
    out_ += bracket;
    after_value_ = true;
    return *this;
  }
  void comma() {
    if (after_value_) out_ += ',';
    after_value_ = true;
  }

  std::string out_;
  bool after_value_ = false;
};

}  // namespace nuages::query
