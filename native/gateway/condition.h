// Conditions on spans, in the part of OTTL that filters use.
//
//   attributes["http.route"] == "/health/" and kind == SPAN_KIND_SERVER
//   IsMatch(name, "^GET /static/") or resource.attributes["service.name"] != "shop"
//
// Paths: name, kind, status.code, status.message, attributes["key"], resource.attributes["key"],
// instrumentation_scope.name (each also with "span." or "scope." before it, as OTTL has it).
// Operators == != < <= > >=, and, or, not, parentheses; IsMatch (RE2), HasPrefix, HasSuffix;
// literals "text", numbers, true, false, nil, SPAN_KIND_*, STATUS_CODE_*. An attribute that is not
// there is nil; values of different types are unequal and compare false otherwise.
//
// Immutable after parse(), so any thread may test spans with one. Cost: linear in the condition.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/otlp_model.h"

namespace nuages::gateway {

struct SpanContext {
  const wire::Resource* resource = nullptr;
  const wire::Scope* scope = nullptr;
  const wire::Span* span = nullptr;
};

class Condition {
 public:
  // The Error says what is wrong and at which character.
  static Result<Condition> parse(std::string_view text);

  bool holds(const SpanContext& context) const;

  struct Node;

 private:
  explicit Condition(std::shared_ptr<const Node> root) : root_(std::move(root)) {}
  std::shared_ptr<const Node> root_;
};

}  // namespace nuages::gateway
