#include "gateway/condition.h"

#include <re2/re2.h>

#include <charconv>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace nuages::gateway {
namespace {

using Value = std::variant<std::monostate, std::string_view, int64_t, double, bool>;

enum class Source : uint8_t {
  kLiteral,
  kName,
  kKind,
  kStatusCode,
  kStatusMessage,
  kScopeName,
  kScopeVersion,
  kAttribute,
  kResourceAttribute
};

struct Operand {
  Source source = Source::kLiteral;
  std::string text;  // of a literal, or the key
  std::variant<std::monostate, int64_t, double, bool> number;
  bool is_text = false;

  Value value(const SpanContext& context) const;
};

Value literal(const Operand& operand) {
  if (operand.is_text) return std::string_view(operand.text);
  if (const auto* number = std::get_if<int64_t>(&operand.number)) return *number;
  if (const auto* number = std::get_if<double>(&operand.number)) return *number;
  if (const auto* flag = std::get_if<bool>(&operand.number)) return *flag;
  return {};
}

Value find(const std::vector<wire::KeyValue>& attributes, std::string_view key) {
  for (const wire::KeyValue& attribute : attributes) {
    if (attribute.key != key) continue;
    switch (attribute.value.type) {
      case wire::ValueType::kString:
        return attribute.value.text;
      case wire::ValueType::kInt:
        return attribute.value.integer;
      case wire::ValueType::kDouble:
        return attribute.value.number;
      case wire::ValueType::kBool:
        return attribute.value.boolean;
      default:
        return {};
    }
  }
  return {};
}

Value Operand::value(const SpanContext& context) const {
  const wire::Span& span = *context.span;
  switch (source) {
    case Source::kLiteral:
      return literal(*this);
    case Source::kName:
      return span.name;
    case Source::kKind:
      return static_cast<int64_t>(span.kind);
    case Source::kStatusCode:
      return static_cast<int64_t>(span.status);
    case Source::kStatusMessage:
      return span.status_message;
    case Source::kScopeName:
      return context.scope->name;
    case Source::kScopeVersion:
      return context.scope->version;
    case Source::kAttribute:
      return find(span.attributes, text);
    case Source::kResourceAttribute:
      return find(context.resource->attributes, text);
  }
  return {};
}

enum class Kind : uint8_t { kAnd, kOr, kNot, kCompare, kMatch, kPrefix, kSuffix, kTruth };
enum class Operator : uint8_t { kEqual, kUnequal, kLess, kLessEqual, kGreater, kGreaterEqual };

std::optional<double> as_number(const Value& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  return std::nullopt;
}

template <typename T>
bool ordered(const T& left, const T& right, Operator how) {
  switch (how) {
    case Operator::kEqual:
      return left == right;
    case Operator::kUnequal:
      return left != right;
    case Operator::kLess:
      return left < right;
    case Operator::kLessEqual:
      return left <= right;
    case Operator::kGreater:
      return left > right;
    case Operator::kGreaterEqual:
      return left >= right;
  }
  return false;
}

bool compare(const Value& left, const Value& right, Operator how) {
  if (left.index() == right.index() && !std::holds_alternative<std::monostate>(left)) {
    if (const auto* text = std::get_if<std::string_view>(&left)) {
      return ordered(*text, std::get<std::string_view>(right), how);
    }
    if (const auto* number = std::get_if<int64_t>(&left)) {
      return ordered(*number, std::get<int64_t>(right), how);
    }
    if (const auto* flag = std::get_if<bool>(&left)) {
      return ordered(*flag, std::get<bool>(right), how);
    }
  }
  const auto a = as_number(left);
  const auto b = as_number(right);
  if (a && b) return ordered(*a, *b, how);
  const bool both_nil =
      std::holds_alternative<std::monostate>(left) && std::holds_alternative<std::monostate>(right);
  if (how == Operator::kEqual) return both_nil;
  return how == Operator::kUnequal && !both_nil;
}

}  // namespace

struct Condition::Node {
  Kind kind = Kind::kTruth;
  Operator how = Operator::kEqual;
  std::vector<std::unique_ptr<Node>> parts;  // of and, or, not
  Operand left, right;
  std::unique_ptr<RE2> pattern;

  bool holds(const SpanContext& context) const {
    switch (kind) {
      case Kind::kAnd:
        for (const auto& part : parts) {
          if (!part->holds(context)) return false;
        }
        return true;
      case Kind::kOr:
        for (const auto& part : parts) {
          if (part->holds(context)) return true;
        }
        return false;
      case Kind::kNot:
        return !parts[0]->holds(context);
      case Kind::kCompare:
        return compare(left.value(context), right.value(context), how);
      case Kind::kTruth: {
        const Value value = left.value(context);
        const auto* flag = std::get_if<bool>(&value);
        return flag != nullptr && *flag;
      }
      case Kind::kMatch:
      case Kind::kPrefix:
      case Kind::kSuffix:
        break;
    }
    const Value value = left.value(context);
    const auto* text = std::get_if<std::string_view>(&value);
    std::string number;
    if (const auto* whole = std::get_if<int64_t>(&value)) number = std::to_string(*whole);
    if (text == nullptr && number.empty()) return false;
    const std::string_view subject = text != nullptr ? *text : std::string_view(number);
    if (kind == Kind::kPrefix) return subject.starts_with(right.text);
    if (kind == Kind::kSuffix) return subject.ends_with(right.text);
    return RE2::PartialMatch(re2::StringPiece(subject.data(), subject.size()), *pattern);
  }
};

namespace {

constexpr int kMaxDepth = 50;

class Parser {
 public:
  using Node = Condition::Node;
  using Made = std::unique_ptr<Node>;

  explicit Parser(std::string_view text) : text_(text) {}

  Made run() {
    Made made = any(0);
    if (made == nullptr) return nullptr;
    space();
    if (at_ != text_.size()) return fail("'and', 'or' or the end expected");
    return made;
  }
  const std::string& error() const { return error_; }
  size_t position() const { return at_; }

 private:
  std::nullptr_t fail(std::string text) {
    if (error_.empty()) error_ = std::move(text);
    return nullptr;
  }

  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }
  static bool word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  }
  std::string_view peek_word() {
    space();
    size_t end = at_;
    while (end < text_.size() && word_character(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  bool take_word(std::string_view word) {
    if (peek_word() != word) return false;
    at_ += word.size();
    return true;
  }
  bool take(std::string_view sign) {
    space();
    if (!text_.substr(at_).starts_with(sign)) return false;
    at_ += sign.size();
    return true;
  }

  Made any(int depth) { return chain(Kind::kOr, "or", depth); }

  Made chain(Kind kind, std::string_view word, int depth) {
    if (depth > kMaxDepth) return fail("nested too deeply");
    auto node = std::make_unique<Node>();
    node->kind = kind;
    do {
      Made part = kind == Kind::kOr ? chain(Kind::kAnd, "and", depth + 1) : one(depth + 1);
      if (part == nullptr) return nullptr;
      node->parts.push_back(std::move(part));
    } while (take_word(word));
    if (node->parts.size() == 1) return std::move(node->parts[0]);
    return node;
  }

  Made one(int depth) {
    if (depth > kMaxDepth) return fail("nested too deeply");
    if (take_word("not")) {
      auto node = std::make_unique<Node>();
      node->kind = Kind::kNot;
      Made part = one(depth + 1);
      if (part == nullptr) return nullptr;
      node->parts.push_back(std::move(part));
      return node;
    }
    if (take("(")) {
      Made inner = any(depth + 1);
      if (inner == nullptr) return nullptr;
      if (!take(")")) return fail("')' expected");
      return inner;
    }
    constexpr std::pair<std::string_view, Kind> kFunctions[] = {
        {"IsMatch", Kind::kMatch}, {"HasPrefix", Kind::kPrefix}, {"HasSuffix", Kind::kSuffix}};
    for (const auto& [name, kind] : kFunctions) {
      if (take_word(name)) return function(name, kind);
    }
    return comparison();
  }

  Made function(std::string_view name, Kind kind) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    if (!take("(")) return fail("'(' expected behind " + std::string(name));
    if (!operand(node->left)) return nullptr;
    if (!take(",")) return fail("',' expected");
    if (!operand(node->right)) return nullptr;
    if (node->right.source != Source::kLiteral || !node->right.is_text) {
      return fail("the second argument of " + std::string(name) + " must be a text in quotes");
    }
    if (!take(")")) return fail("')' expected");
    if (kind == Kind::kMatch) {
      RE2::Options options(RE2::Quiet);
      node->pattern = std::make_unique<RE2>(node->right.text, options);
      if (!node->pattern->ok()) {
        return fail("the pattern is not a regular expression: " + node->pattern->error());
      }
    }
    return node;
  }

  Made comparison() {
    auto node = std::make_unique<Node>();
    if (!operand(node->left)) return nullptr;
    constexpr std::pair<std::string_view, Operator> kOperators[] = {
        {"==", Operator::kEqual},        {"!=", Operator::kUnequal}, {"<=", Operator::kLessEqual},
        {">=", Operator::kGreaterEqual}, {"<", Operator::kLess},     {">", Operator::kGreater}};
    for (const auto& [sign, how] : kOperators) {
      if (!take(sign)) continue;
      node->kind = Kind::kCompare;
      node->how = how;
      if (!operand(node->right)) return nullptr;
      return node;
    }
    return node;  // a boolean alone
  }

  bool operand(Operand& out) {
    space();
    if (at_ == text_.size()) {
      fail("a value or a path expected");
      return false;
    }
    const char c = text_[at_];
    if (c == '"') return quoted(out.text) && (out.is_text = true);
    if ((c >= '0' && c <= '9') || c == '-') return number(out);
    std::string_view word = peek_word();
    if (word.empty()) {
      fail("a value or a path expected");
      return false;
    }
    at_ += word.size();
    return named(word, out);
  }

  bool quoted(std::string& out) {
    ++at_;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        ++at_;
        // Only quotes and backslashes lose their backslash, so that "\." reaches the pattern.
        if (text_[at_] != '"' && text_[at_] != '\\') out += '\\';
      }
      out += text_[at_];
    }
    if (at_ == text_.size()) {
      fail("the text in quotes does not end");
      return false;
    }
    ++at_;
    return true;
  }

  bool number(Operand& out) {
    const std::string_view rest = text_.substr(at_);
    int64_t whole = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), whole);
    const bool fraction = end != rest.data() + rest.size() && (*end == '.' || *end == 'e');
    if (error == std::errc() && !fraction) {
      out.number = whole;
      at_ += static_cast<size_t>(end - rest.data());
      return true;
    }
    double value = 0;
    const auto [stop, wrong] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (wrong != std::errc()) {
      fail("not a number");
      return false;
    }
    out.number = value;
    at_ += static_cast<size_t>(stop - rest.data());
    return true;
  }

  bool named(std::string_view word, Operand& out) {
    constexpr std::pair<std::string_view, int64_t> kNumbers[] = {
        {"SPAN_KIND_UNSPECIFIED", 0}, {"SPAN_KIND_INTERNAL", 1}, {"SPAN_KIND_SERVER", 2},
        {"SPAN_KIND_CLIENT", 3},      {"SPAN_KIND_PRODUCER", 4}, {"SPAN_KIND_CONSUMER", 5},
        {"STATUS_CODE_UNSET", 0},     {"STATUS_CODE_OK", 1},     {"STATUS_CODE_ERROR", 2}};
    for (const auto& [name, value] : kNumbers) {
      if (word == name) {
        out.number = value;
        return true;
      }
    }
    if (word == "true" || word == "false") {
      out.number = word == "true";
      return true;
    }
    if (word == "nil") return true;
    constexpr std::pair<std::string_view, Source> kPaths[] = {
        {"name", Source::kName},
        {"kind", Source::kKind},
        {"status.code", Source::kStatusCode},
        {"status.message", Source::kStatusMessage},
        {"instrumentation_scope.name", Source::kScopeName},
        {"instrumentation_scope.version", Source::kScopeVersion},
        {"scope.name", Source::kScopeName},
        {"scope.version", Source::kScopeVersion},
        {"attributes", Source::kAttribute},
        {"resource.attributes", Source::kResourceAttribute}};
    std::string_view path = word;
    if (path.starts_with("span.")) path.remove_prefix(5);
    for (const auto& [name, source] : kPaths) {
      if (path != name) continue;
      out.source = source;
      if (source != Source::kAttribute && source != Source::kResourceAttribute) return true;
      if (!take("[")) {
        fail("[\"key\"] expected behind " + std::string(word));
        return false;
      }
      space();
      if (at_ == text_.size() || text_[at_] != '"') {
        fail("a key in quotes expected");
        return false;
      }
      if (!quoted(out.text)) return false;
      if (!take("]")) {
        fail("']' expected");
        return false;
      }
      return true;
    }
    fail("'" + std::string(word) +
         "' is not known; known are name, kind, status.code, status.message, attributes[\"key\"], "
         "resource.attributes[\"key\"], instrumentation_scope.name, IsMatch, HasPrefix, HasSuffix");
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string error_;
};

}  // namespace

Result<Condition> Condition::parse(std::string_view text) {
  Parser parser(text);
  std::unique_ptr<Node> root = parser.run();
  if (root == nullptr) {
    return Error{ErrorCode::kInvalid,
                 "the condition '" + std::string(text) + "' is wrong at character " +
                     std::to_string(parser.position() + 1) + ": " + parser.error()};
  }
  return Condition(std::shared_ptr<const Node>(std::move(root)));
}

bool Condition::holds(const SpanContext& context) const { return root_->holds(context); }

}  // namespace nuages::gateway
