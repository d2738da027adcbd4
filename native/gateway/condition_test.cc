#include "gateway/condition.h"

#include <gtest/gtest.h>

namespace nuages::gateway {
namespace {

wire::KeyValue text(std::string_view key, std::string_view value) {
  wire::KeyValue out;
  out.key = key;
  out.value.type = wire::ValueType::kString;
  out.value.text = value;
  return out;
}

bool holds(std::string_view condition) {
  wire::Resource resource;
  resource.attributes = {text("service.name", "shop")};
  wire::Scope scope;
  scope.name = "django";
  wire::Span span;
  span.name = "GET /health/";
  span.kind = wire::SpanKind::kServer;
  span.status = wire::StatusCode::kError;
  span.attributes = {text("http.route", "/health/")};
  wire::KeyValue code;
  code.key = "http.status_code";
  code.value.type = wire::ValueType::kInt;
  code.value.integer = 503;
  span.attributes.push_back(code);
  const auto made = Condition::parse(condition);
  EXPECT_TRUE(made.ok()) << made.error().message;
  return made.ok() && made->holds({&resource, &scope, &span});
}

std::string fault(std::string_view condition) {
  const auto made = Condition::parse(condition);
  return made.ok() ? "none" : made.error().message.substr(made.error().message.find("character"));
}

TEST(Condition, ComparesPathsWithLiterals) {
  EXPECT_TRUE(holds(R"(attributes["http.route"] == "/health/")"));
  EXPECT_TRUE(holds(R"("/health/" == span.attributes["http.route"])"));
  EXPECT_TRUE(holds(R"(resource.attributes["service.name"]=="shop")"));
  EXPECT_TRUE(holds("kind == SPAN_KIND_SERVER and status.code == STATUS_CODE_ERROR"));
  EXPECT_TRUE(holds(R"(instrumentation_scope.name == "django" and scope.version == "")"));
  EXPECT_TRUE(holds(R"(attributes["http.status_code"] >= 500)"));
  EXPECT_TRUE(holds(R"(attributes["http.status_code"] < 503.5)"));
  EXPECT_FALSE(holds(R"(attributes["http.status_code"] == "503")"));  // another type
  EXPECT_TRUE(holds(R"(attributes["http.status_code"] != "503")"));
  EXPECT_TRUE(holds(R"(attributes["absent"] == nil)"));
  EXPECT_FALSE(holds(R"(attributes["absent"] == "x" or attributes["absent"] < 5)"));
  EXPECT_FALSE(holds("false"));
}

TEST(Condition, BindsNotBeforeAndBeforeOr) {
  EXPECT_TRUE(holds("true or true and false"));
  EXPECT_FALSE(holds("(true or true) and false"));
  EXPECT_TRUE(holds("not false and true"));
  EXPECT_FALSE(holds("not (true and true)"));
}

TEST(Condition, HasFunctions) {
  EXPECT_TRUE(holds(R"(IsMatch(name, "^GET /hea.th/$"))"));
  EXPECT_FALSE(holds(R"(IsMatch(name, "/health\\.$"))"));
  EXPECT_TRUE(holds(R"(IsMatch(attributes["http.status_code"], "5.."))"));
  EXPECT_FALSE(holds(R"(IsMatch(attributes["absent"], ".*"))"));
  EXPECT_TRUE(holds(R"(HasPrefix(name, "GET ") and HasSuffix(name, "/"))"));
}

TEST(Condition, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(fault(""), "character 1: a value or a path expected");
  EXPECT_EQ(fault("name = 3"), "character 6: 'and', 'or' or the end expected");
  EXPECT_EQ(fault("name == "), "character 9: a value or a path expected");
  EXPECT_EQ(fault(R"(name == "x)"), "character 11: the text in quotes does not end");
  EXPECT_EQ(fault("(name == 3"), "character 11: ')' expected");
  EXPECT_EQ(fault("attributes"), "character 11: [\"key\"] expected behind attributes");
  EXPECT_TRUE(fault("nome == 3").starts_with("character 5: 'nome' is not known; known are name"));
  EXPECT_TRUE(fault(R"(IsMatch(name, "("))").find("not a regular expression") != std::string::npos);
  EXPECT_NE(fault(std::string(100'000, '(')).find("nested too deeply"), std::string::npos);
  std::string nots;
  for (int i = 0; i < 100'000; ++i) nots += "not ";
  EXPECT_NE(fault(nots).find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace nuages::gateway
