// Renders of one template again and again right below another's span: {% include %} in a loop.
//
// The first kShown of a template have spans of their own, the rest fold into one leaf with their
// number and their time, so that a page of a thousand rows stays readable. Kept per outer span, by
// its address, while that span is open. Under the GIL only. Cost: a look-up in a small table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nuages::python {

struct RepeatedRenders {
  static constexpr uint32_t kShown = 20;

  struct Template {
    std::string name;
    uint32_t count = 0;   // of all
    uint32_t folded = 0;  // of those without a span
    uint64_t first_ns = 0, last_ns = 0, total_ns = 0;
  };
  std::vector<Template> templates;
  const void* folding = nullptr;  // the template object whose folded render is running
  const void* failure = nullptr;  // the exception that the last template below told, only compared

  Template& of(std::string_view name) {
    for (Template& known : templates) {
      if (known.name == name) return known;
    }
    return templates.emplace_back(Template{.name = std::string(name)});
  }
};

}  // namespace nuages::python
