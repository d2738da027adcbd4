#include "gateway/yaml_map.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "wire/protobuf_reader.h"

namespace nuages::gateway {
namespace {

int line_of_node(const YAML::Node& node) {
  const YAML::Mark mark = node.Mark();
  return mark.is_null() ? 0 : mark.line + 1;
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

std::optional<uint64_t> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  // Longer names first: "ms" before "m".
  constexpr Unit kUnits[] = {{"ns", 1},  {"us", 1e3}, {"µs", 1e3},  {"ms", 1e6},
                             {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                    [&](const Unit& one) { return text.starts_with(one.name); });
    if (unit == std::end(kUnits)) return std::nullopt;
    text.remove_prefix(unit->name.size());
    total += number * unit->nanoseconds;
  }
  constexpr double kMost = 9e18;
  if (total > kMost) return std::nullopt;
  return static_cast<uint64_t>(total);
}

YamlMap YamlMap::parse(std::string_view text, YamlContext& context) {
  YAML::Node top(YAML::NodeType::Map);
  if (text.size() > kMaxYamlBytes) {
    context.problem(0, "the file is larger than " + std::to_string(kMaxYamlBytes) + " bytes");
  } else if (!wire::valid_utf8(text)) {
    context.problem(0, "the file is not UTF-8");
  } else {
    try {
      top = YAML::Load(std::string(text));
    } catch (const YAML::Exception& error) {
      const int line = error.mark.is_null() ? 0 : error.mark.line + 1;
      context.problem(line, "not valid YAML: " + error.msg);
      top = YAML::Node(YAML::NodeType::Map);
    }
  }
  return {top, "", context};
}

YamlMap::YamlMap(const YAML::Node& node, std::string path, YamlContext& context)
    : node_(node), path_(std::move(path)), context_(&context) {
  line_ = node_.IsDefined() ? line_of_node(node_) : 0;
  if (node_.IsDefined() && !node_.IsNull() && !node_.IsMap()) {
    context_->problem(line_, (path_.empty() ? "the file" : path_) + " must be a map of keys");
  }
  if (!node_.IsDefined() || !node_.IsMap()) {
    node_ = YAML::Node(YAML::NodeType::Map);
    return;
  }
  std::vector<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      context_->problem(line_of_node(entry.first), "a key of " + path_ + " is not a word");
      continue;
    }
    const std::string& name = entry.first.Scalar();
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      context_->problem(line_of_node(entry.first), place(name.c_str()) + " is given twice");
    }
    seen.push_back(name);
  }
}

std::string YamlMap::place(const char* key) const {
  return path_.empty() ? key : path_ + "::" + key;
}

YAML::Node YamlMap::child(const char* key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) return entry.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

bool YamlMap::has(const char* key) { return child(key).IsDefined(); }

int YamlMap::line_of(const char* key) const {
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) return line_of_node(entry.first);
  }
  return line_;
}

void YamlMap::problem(const char* key, const std::string& text) {
  context_->problem(line_of(key), place(key) + " " + text);
}

YamlMap YamlMap::map(const char* key) {
  const YAML::Node node = child(key);
  YamlMap out(node, place(key), *context_);
  if (node.IsDefined()) out.line_ = line_of(key);
  return out;
}

std::vector<std::pair<std::string, YamlMap>> YamlMap::maps() {
  std::vector<std::pair<std::string, YamlMap>> out;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) continue;
    const std::string name = entry.first.Scalar();
    known_.push_back(name);
    YamlMap map(entry.second, place(name.c_str()), *context_);
    map.line_ = line_of_node(entry.first);
    out.emplace_back(name, std::move(map));
  }
  return out;
}

std::vector<YamlMap> YamlMap::list_of_maps(const char* key) {
  std::vector<YamlMap> out;
  const YAML::Node node = child(key);
  if (!node.IsDefined() || node.IsNull()) return out;
  if (!node.IsSequence()) {
    problem(key, "must be a list");
    return out;
  }
  for (size_t i = 0; i < node.size(); ++i) {
    out.emplace_back(node[i], place(key) + "[" + std::to_string(i) + "]", *context_);
  }
  return out;
}

std::optional<std::vector<std::string>> YamlMap::strings(const char* key) {
  const YAML::Node node = child(key);
  if (!node.IsDefined() || node.IsNull()) return std::nullopt;
  if (!node.IsSequence()) {
    problem(key, "must be a list");
    return std::nullopt;
  }
  std::vector<std::string> out;
  for (const auto& element : node) {
    if (auto text = resolved(element)) {
      out.push_back(std::move(*text));
    } else {
      context_->problem(line_of_node(element), place(key) + " must hold words only");
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> YamlMap::pairs(const char* key) {
  std::vector<std::pair<std::string, std::string>> out;
  YamlMap inner = map(key);
  for (const auto& entry : inner.node_) {
    if (!entry.first.IsScalar()) continue;
    const std::string name = entry.first.Scalar();
    if (auto text = resolved(entry.second)) {
      out.emplace_back(name, std::move(*text));
    } else {
      context_->problem(line_of_node(entry.first), inner.place(name.c_str()) + " must be a text");
    }
  }
  return out;
}

// Nothing when the node is no scalar, or names a variable that is not set (which is a problem).
std::optional<std::string> YamlMap::resolved(const YAML::Node& node) {
  if (!node.IsDefined() || !node.IsScalar()) return std::nullopt;
  const std::string& raw = node.Scalar();
  std::string out;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '$' || i + 1 == raw.size()) {
      out += raw[i];
      continue;
    }
    if (raw[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const size_t end = raw[i + 1] == '{' ? raw.find('}', i) : std::string::npos;
    if (end == std::string::npos) {
      out += raw[i];
      continue;
    }
    std::string name = raw.substr(i + 2, end - i - 2);
    i = end;
    std::optional<std::string> fallback;
    if (name.starts_with("env:")) name.erase(0, 4);
    if (const size_t dash = name.find(":-"); dash != std::string::npos) {
      fallback = name.substr(dash + 2);
      name.resize(dash);
    }
    auto value = context_->environment(name);
    if (!value) value = fallback;
    if (!value) {
      std::string text = "the environment variable ";
      text.append(name).append(" is not set; set it or write ${env:").append(name);
      context_->problem(line_of_node(node), text.append(":-default}"));
      value = "";
    }
    out += *value;
  }
  return out;
}

std::optional<std::string> YamlMap::text(const char* key) {
  const YAML::Node node = child(key);
  if (!node.IsDefined() || node.IsNull()) return std::nullopt;
  auto out = resolved(node);
  if (!out) problem(key, "must be a text");
  return out;
}

std::optional<YamlMap::Scalar> YamlMap::scalar(const char* key) {
  auto value = text(key);
  if (!value) return std::nullopt;
  return Scalar{std::move(*value), child(key).Tag() == "!"};
}

std::optional<bool> YamlMap::boolean(const char* key) {
  const auto value = text(key);
  if (!value) return std::nullopt;
  if (*value == "true") return true;
  if (*value == "false") return false;
  problem(key, "is '" + *value + "' but must be true or false");
  return std::nullopt;
}

std::optional<uint64_t> YamlMap::number(const char* key, uint64_t least, uint64_t most) {
  const auto value = text(key);
  if (!value) return std::nullopt;
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), out);
  if (error == std::errc() && end == value->data() + value->size() && out >= least && out <= most) {
    return out;
  }
  problem(key, "is '" + *value + "' but must be a whole number from " + std::to_string(least) +
                   " to " + std::to_string(most));
  return std::nullopt;
}

std::optional<uint64_t> YamlMap::duration(const char* key) {
  const auto value = text(key);
  if (!value) return std::nullopt;
  const auto out = parse_duration(*value);
  if (!out) problem(key, "is '" + *value + "' but must be a duration, for example 200ms or 1m30s");
  return out;
}

std::optional<std::string> YamlMap::choice(const char* key, std::string_view words) {
  auto value = text(key);
  if (!value) return std::nullopt;
  std::vector<std::string> allowed;
  for (size_t at = 0; at <= words.size();) {
    const size_t end = std::min(words.find('|', at), words.size());
    allowed.emplace_back(words.substr(at, end - at));
    at = end + 1;
  }
  if (std::find(allowed.begin(), allowed.end(), *value) != allowed.end()) return value;
  problem(key, "is '" + *value + "' but must be one of " + join(allowed));
  return std::nullopt;
}

void YamlMap::finish() {
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) continue;
    const std::string& name = entry.first.Scalar();
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    context_->problem(line_of_node(entry.first),
                      place(name.c_str()) + " is not known" +
                          (known_.empty() ? "" : "; known here: " + join(known_)));
  }
}

}  // namespace nuages::gateway
