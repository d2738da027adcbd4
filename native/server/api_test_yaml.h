// Reads the plain YAML of docs/openapi.yaml into JSON values, and checks answers against its
// schemas. Knows block maps, block lists, [a, b] lists, quoted and folded (>-) scalars and comments
// on lines of their own; anything else is an error. Test code only.
#pragma once

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace nuages::server::testing {

class YamlReader {
 public:
  static boost::json::value read_file(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("no file " + path);
    YamlReader reader;
    for (std::string line; std::getline(file, line);) {
      const size_t indent = line.find_first_not_of(' ');
      if (indent == std::string::npos || line[indent] == '#') continue;
      reader.lines_.push_back({indent, line.substr(indent)});
    }
    return reader.block(0);
  }

 private:
  struct Line {
    size_t indent;
    std::string text;
  };

  boost::json::value block(size_t indent) {
    if (lines_.at(at_).text.starts_with("- ")) return list(indent);
    boost::json::object object;
    while (at_ < lines_.size() && lines_[at_].indent == indent) {
      const std::string text = lines_[at_].text;
      const size_t colon = text.find(text.starts_with('"') ? "\":" : ":");
      if (colon == std::string::npos) throw std::runtime_error("no key: " + text);
      const size_t end = text.starts_with('"') ? colon + 1 : colon;
      std::string value = text.substr(end + 1);
      value.erase(0, value.find_first_not_of(' '));
      ++at_;
      object[scalar(text.substr(0, end)).as_string()] = value_of(value, indent);
    }
    return object;
  }

  boost::json::value list(size_t indent) {
    boost::json::array array;
    while (at_ < lines_.size() && lines_[at_].indent == indent &&
           lines_[at_].text.starts_with("- ")) {
      lines_[at_] = {indent + 2, lines_[at_].text.substr(2)};
      array.push_back(block(indent + 2));
    }
    return array;
  }

  boost::json::value value_of(const std::string& text, size_t indent) {
    if (text == ">-") {
      std::string folded;
      while (at_ < lines_.size() && lines_[at_].indent > indent) folded += lines_[at_++].text + " ";
      return boost::json::value(folded);
    }
    if (!text.empty()) return scalar(text);
    if (at_ >= lines_.size() || lines_[at_].indent <= indent) return nullptr;
    return block(lines_[at_].indent);
  }

  static boost::json::value scalar(const std::string& text) {
    if (text.starts_with('[')) {
      boost::json::array array;
      std::istringstream items(text.substr(1, text.size() - 2));
      for (std::string item; std::getline(items, item, ',');) {
        array.push_back(scalar(item.substr(item.find_first_not_of(' '))));
      }
      return array;
    }
    if (text.starts_with('"')) return boost::json::value(text.substr(1, text.size() - 2));
    if (text == "true") return true;
    if (text == "false") return false;
    return boost::json::value(text);
  }

  std::vector<Line> lines_;
  size_t at_ = 0;
};

// Says in words how `value` differs from `schema`; empty when it does not. Unlike JSON Schema,
// objects may hold only documented properties unless additionalProperties says otherwise.
class SchemaChecker {
 public:
  explicit SchemaChecker(const boost::json::value& document) : document_(document) {}

  std::string check(const boost::json::value& schema_or_reference, const boost::json::value& value,
                    const std::string& where = "answer") const {
    const auto& schema = resolve(schema_or_reference).as_object();
    if (const auto* type = schema.if_contains("type");
        type != nullptr && !type_fits(*type, value)) {
      return where + " is not of type " + boost::json::serialize(*type) + ": " +
             boost::json::serialize(value);
    }
    if (const auto* choices = schema.if_contains("enum")) {
      bool found = false;
      for (const auto& choice : choices->as_array()) found |= choice == value;
      if (!found) return where + " is not in its enum: " + boost::json::serialize(value);
    }
    if (value.is_array() && schema.contains("items")) {
      for (const auto& item : value.as_array()) {
        if (auto problem = check(schema.at("items"), item, where + "[]"); !problem.empty()) {
          return problem;
        }
      }
    }
    return value.is_object() ? check_object(schema, value.as_object(), where) : std::string();
  }

  const boost::json::value& resolve(const boost::json::value& value) const {
    const auto* reference = value.as_object().if_contains("$ref");
    if (reference == nullptr) return value;
    return document_.at_pointer(std::string_view(reference->as_string()).substr(1));
  }

 private:
  std::string check_object(const boost::json::object& schema, const boost::json::object& value,
                           const std::string& where) const {
    if (const auto* required = schema.if_contains("required")) {
      for (const auto& name : required->as_array()) {
        if (!value.contains(name.as_string())) {
          return where + " lacks " + std::string(name.as_string());
        }
      }
    }
    if (schema.contains("additionalProperties")) return {};
    const auto& properties = schema.at("properties").as_object();
    for (const auto& [name, member] : value) {
      const auto* property = properties.if_contains(name);
      if (property == nullptr) return where + " has undocumented " + std::string(name);
      if (auto problem = check(*property, member, where + "." + std::string(name));
          !problem.empty()) {
        return problem;
      }
    }
    return {};
  }

  static bool type_fits(const boost::json::value& type, const boost::json::value& value) {
    if (type.is_array()) {
      for (const auto& one : type.as_array()) {
        if (type_fits(one, value)) return true;
      }
      return false;
    }
    const auto& name = type.as_string();
    return (name == "string" && value.is_string()) || (name == "boolean" && value.is_bool()) ||
           (name == "integer" && (value.is_int64() || value.is_uint64())) ||
           (name == "array" && value.is_array()) || (name == "object" && value.is_object()) ||
           (name == "null" && value.is_null()) || (name == "number" && value.is_number());
  }

  const boost::json::value& document_;
};

}  // namespace nuages::server::testing
