// Reads a YAML document of maps with the names, types and lines checked: every wrong thing becomes
// a Problem with its line, and reading goes on, so that a user sees all of them at once.
//
// A YamlMap is asked for the keys it may have; finish() then reports the others, with the known
// ones named. Scalars have ${env:NAME} and ${env:NAME:-text} replaced ($$ is a dollar) and are read
// as the type asked for. Aliases and merge keys work as yaml-cpp has them; the text is bounded
// first. Threading: one thread. Lifetime: the maps of a document share its nodes and its problems.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nuages::gateway {

struct Problem {
  int line = 0;  // from 1; 0: of the file as a whole
  std::string text;
};

// What the document is read with; tests give their own environment.
struct YamlContext {
  std::function<std::optional<std::string>(const std::string& name)> environment;
  std::vector<Problem> problems;

  void problem(int line, std::string text) { problems.push_back({line, std::move(text)}); }
};

inline constexpr size_t kMaxYamlBytes = 1 << 20;

class YamlMap {
 public:
  // The top of a text; empty with a problem when it is no YAML.
  static YamlMap parse(std::string_view text, YamlContext& context);

  // A child of any kind; undefined ones are not maps.
  YamlMap(const YAML::Node& node, std::string path, YamlContext& context);

  bool has(const char* key);
  int line() const { return line_; }
  int line_of(const char* key) const;
  const std::string& path() const { return path_; }

  // A null is an empty map: `batch:` alone is allowed.
  YamlMap map(const char* key);
  std::vector<std::pair<std::string, YamlMap>> maps();  // of this map itself: all keys are known
  std::vector<YamlMap> list_of_maps(const char* key);
  std::optional<std::vector<std::string>> strings(const char* key);
  std::vector<std::pair<std::string, std::string>> pairs(const char* key);  // a map of texts

  std::optional<std::string> text(const char* key);
  std::optional<bool> boolean(const char* key);
  std::optional<uint64_t> number(const char* key, uint64_t least, uint64_t most);
  std::optional<uint64_t> duration(const char* key);  // "200ms", "1m30s"; ns
  std::optional<std::string> choice(const char* key, std::string_view words);  // "a|b"
  // A scalar with its YAML type kept: "7" is a text, 7 a number.
  struct Scalar {
    std::string text;
    bool quoted = false;
  };
  std::optional<Scalar> scalar(const char* key);
  // Takes the key whatever it holds.
  void ignore(const char* key) { has(key); }

  void problem(const char* key, const std::string& text);  // at the key's line
  void problem(const std::string& text) { context_->problem(line_, text); }
  void finish();
  std::string source() const { return YAML::Dump(node_); }

 private:
  YAML::Node child(const char* key);
  std::optional<std::string> resolved(const YAML::Node& node);
  std::string place(const char* key) const;

  YAML::Node node_;
  std::string path_;  // "processors::batch"
  YamlContext* context_;
  int line_ = 0;
  std::vector<std::string> known_;
};

std::optional<uint64_t> parse_duration(std::string_view text);

}  // namespace nuages::gateway
