#include "store/attribute_text.h"

#include <charconv>
#include <cmath>

#include "wire/otlp_reader.h"

namespace nuages::store {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

void append_escaped(std::string& out, std::string_view text, bool escape_equals) {
  size_t plain = 0;  // start of the run not yet copied
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\' && !(escape_equals && c == '=')) continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
  }
  out.append(text.substr(plain));
}

template <typename Number>
void append_number(std::string& out, Number value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void append_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += std::isnan(value)
               ? R"({"$double":"NaN"})"
               : (value > 0 ? R"({"$double":"Infinity"})" : R"({"$double":"-Infinity"})");
    return;
  }
  const size_t begin = out.size();
  append_number(out, value);
  if (out.find_first_of(".e", begin) == std::string::npos) out += ".0";
}

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += i + j <= bytes.size() ? kDigits[group >> (18 - 6 * j) & 63] : '=';
    }
  }
}

// The first newline-free key of a line may hold JSON escapes; ours are \" \\ \n \r \t \u00XX.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 >= text.size()) {
      out += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case 'u': {
        unsigned code = 0;
        const std::string_view digits = text.substr(i + 1, 4);
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        out += static_cast<char>(code);
        i += digits.size();
        break;
      }
      default:
        out += text[i];
    }
  }
  return out;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text, false);
  out += '"';
}

void append_json_value(std::string& out, const wire::Value& value) {
  switch (value.type) {
    case wire::ValueType::kEmpty:
      out += "null";
      return;
    case wire::ValueType::kString:
      append_json_string(out, value.text);
      return;
    case wire::ValueType::kBool:
      out += value.boolean ? "true" : "false";
      return;
    case wire::ValueType::kInt:
      append_number(out, value.integer);
      return;
    case wire::ValueType::kDouble:
      append_double(out, value.number);
      return;
    case wire::ValueType::kBytes:
      out += R"({"$bytes":")";
      append_base64(out, value.text);
      out += "\"}";
      return;
    case wire::ValueType::kArray: {
      char separator = '[';
      wire::read_array(value.text, [&](const wire::Value& element) {
        out += separator;
        separator = ',';
        append_json_value(out, element);
      });
      out += separator == '[' ? "[]" : "]";
      return;
    }
    case wire::ValueType::kKeyValueList: {
      char separator = '{';
      wire::read_key_values(value.text, [&](const wire::KeyValue& entry) {
        out += separator;
        separator = ',';
        out += entry.key.starts_with('$') ? "\"$" : "\"";
        append_escaped(out, entry.key, false);
        out += "\":";
        append_json_value(out, entry.value);
      });
      out += separator == '{' ? "{}" : "}";
      return;
    }
  }
}

void append_json_object(std::string& out, const std::vector<wire::KeyValue>& attributes) {
  out += '{';
  bool first = true;
  for (const auto& attribute : attributes) {
    if (!first) out += ',';
    first = false;
    append_json_string(out, attribute.key);
    out += ':';
    append_json_value(out, attribute.value);
  }
  out += '}';
}

void append_attribute_line(std::string& out, size_t begin, std::string_view key,
                           const wire::Value& value) {
  if (out.size() > begin) out += '\n';
  append_escaped(out, key, true);
  out += '=';
  append_json_value(out, value);
}

std::string attribute_line(std::string_view key, std::string_view json) {
  std::string out;
  append_escaped(out, key, true);
  out += '=';
  out += json;
  return out;
}

void read_attribute_lines(std::string_view lines,
                          const std::function<void(std::string_view, std::string_view)>& f) {
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string_view json = line.substr(equals + 1);
    if (key.find('\\') == std::string_view::npos) {
      f(key, json);
    } else {
      f(unescaped(key), json);
    }
  }
}

}  // namespace nuages::store
