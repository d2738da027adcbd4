// gateway/config: any text as a collector's YAML. A problem has a text and a line of the file, and
// a configuration without problems is whole.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/config.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  nuages::gateway::YamlContext context;
  context.environment = [](const std::string& name) {
    return name == "SET" ? std::optional<std::string>("value") : std::nullopt;
  };
  const nuages::gateway::Config config = nuages::gateway::parse_config(text, context);
  const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 2;
  for (const auto& problem : context.problems) {
    require(!problem.text.empty() && problem.line >= 0);
    // A carriage return alone is a line's end too.
    require(problem.line <= lines + std::count(text.begin(), text.end(), '\r'));
  }
  if (!context.problems.empty()) return 0;
  for (const auto& pipeline : config.pipelines) {
    require(!pipeline.exporters.empty());
    for (const auto& name : pipeline.exporters) require(config.exporters.contains(name));
    for (const auto& name : pipeline.processors) require(config.processors.contains(name));
  }
  return 0;
}
