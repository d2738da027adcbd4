#include "export/batch_encoder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "export/mask_profile.h"
#include "trace/scope.h"
#include "trace/span.h"
#include "wire/otlp_reader.h"

namespace nuages::exporter {
namespace {

using trace::AttributeView;
using trace::int_value;
using trace::text_value;

// What the server's reader sees, copied out.
struct Seen {
  struct Attributes {
    std::vector<std::pair<std::string, std::string>> text;
    explicit Attributes(const std::vector<wire::KeyValue>& from) {
      for (const wire::KeyValue& each : from) text.emplace_back(each.key, describe(each.value));
    }
    static std::string describe(const wire::Value& value) {
      switch (value.type) {
        case wire::ValueType::kBool:
          return value.boolean ? "true" : "false";
        case wire::ValueType::kInt:
          return std::to_string(value.integer);
        case wire::ValueType::kDouble:
          return std::to_string(value.number);
        case wire::ValueType::kArray: {
          std::string out = "[";
          wire::read_array(value.text, [&](const wire::Value& v) { out += describe(v) + ","; });
          return out + "]";
        }
        default:
          return std::string(value.text);
      }
    }
    std::string operator[](std::string_view key) const {
      for (const auto& [name, value] : text) {
        if (name == key) return value;
      }
      return "(absent)";
    }
  };
  struct SpanCopy {
    wire::Span numbers;  // its views are stale
    std::string name, trace_state, status_message, scope, scope_version;
    Attributes attributes;
    std::vector<std::pair<std::string, Attributes>> events;
    std::vector<Attributes> links;
  };
  std::vector<Attributes> resources;
  std::vector<std::string> scopes;
  std::vector<SpanCopy> spans;
  std::string version;

  void on_resource(const wire::Resource& resource) { resources.emplace_back(resource.attributes); }
  void on_scope(const wire::Scope& scope) {
    scopes.emplace_back(scope.name);
    version = scope.version;
  }
  void on_span(const wire::Span& span) {
    SpanCopy copy{span,
                  std::string(span.name),
                  std::string(span.trace_state),
                  std::string(span.status_message),
                  scopes.back(),
                  version,
                  Attributes(span.attributes),
                  {},
                  {}};
    for (const wire::Event& each : span.events) {
      copy.events.emplace_back(each.name, Attributes(each.attributes));
    }
    for (const wire::Link& each : span.links) copy.links.emplace_back(each.attributes);
    spans.push_back(std::move(copy));
  }
};

class Fixture : public ::testing::Test, public trace::RecordSink {
 protected:
  Fixture() {
    const size_t bytes = trace::RecordQueue::required_bytes({});
    memory_.reset(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
    std::memset(memory_.get(), 0, bytes);
    queue_ = trace::RecordQueue::create(memory_.get(), {});
  }
  void publish(std::string_view record) noexcept override { records_.emplace_back(record); }

  Seen encode(BatchEncoder& encoder) {
    for (uint32_t id = queue_.scope_count(); id < trace::scope_count(); ++id) {
      queue_.add_scope(trace::scope_description(id));
    }
    const std::vector<std::string_view> views(records_.begin(), records_.end());
    const std::string_view body = encoder.encode(queue_, views);
    Seen seen;
    const auto stats = wire::read_export_trace_request(body, {}, seen);
    EXPECT_TRUE(stats.ok()) << stats.error().message;
    if (stats.ok()) {
      EXPECT_EQ(stats->rejected, 0U) << stats->message();
      EXPECT_EQ(stats->accepted, records_.size());
    }
    return seen;
  }

  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  trace::RecordQueue queue_;
  std::vector<std::string> records_;
};

using BatchEncoderTest = Fixture;

TEST_F(BatchEncoderTest, EverythingOfASpanIsReadBack) {
  const AttributeView resource[] = {{"service.name", text_value("shop")}};
  queue_.set_resource(trace::describe({{}, {}, "http://schema"}, resource));
  trace::SpanContext parent;
  parent.trace_id = {0x1122334455667788, 0x99aabbccddeeff00};
  parent.span_id = 0xff00000000000001;
  parent.remote = true;
  parent.trace_state = std::make_shared<const std::string>("a=b");
  wire::ArrayBuilder array;
  array.append(text_value("x"));
  array.append(int_value(-2));
  const AttributeView event_attributes[] = {{"exception.type", text_value("ValueError")}};
  const AttributeView link_attributes[] = {{"nuages.link", text_value("celery")}};
  trace::SpanLimits limits;
  limits.max_attributes = 5;
  const auto span = trace::Span::start({.name = "GET /orders/",
                                        .kind = wire::SpanKind::kServer,
                                        .parent = &parent,
                                        .scope = trace::intern_scope({"nuages.django", "0.1"}),
                                        .start_ns = 1'700'000'000'000'000'000,
                                        .limits = &limits});
  span->set_attribute("dropped", int_value(1));
  span->set_attribute("text", text_value("héllo"));
  span->set_attribute("count", int_value(-7));
  span->set_attribute("flag", trace::bool_value(true));
  span->set_attribute("ratio", trace::double_value(0.5));
  span->set_attribute("list", text_value(array.text(), wire::ValueType::kArray));
  span->add_event("exception", 1'700'000'000'000'000'001, event_attributes);
  span->add_link({.trace_id = {3, 4}, .span_id = 5, .remote = true, .attributes = link_attributes});
  span->set_status(wire::StatusCode::kError, "boom");
  span->end(1'700'000'000'500'000'000);
  span->publish(*this);

  BatchEncoder encoder({}, {});
  const Seen seen = encode(encoder);
  ASSERT_EQ(seen.resources.size(), 1U);
  EXPECT_EQ(seen.resources[0]["service.name"], "shop");
  ASSERT_EQ(seen.spans.size(), 1U);
  const Seen::SpanCopy& copy = seen.spans[0];
  EXPECT_EQ(copy.scope, "nuages.django");
  EXPECT_EQ(copy.scope_version, "0.1");
  EXPECT_EQ(copy.numbers.trace_id, parent.trace_id);
  EXPECT_EQ(copy.numbers.span_id, span->context().span_id);
  EXPECT_EQ(copy.numbers.parent_id, parent.span_id);
  EXPECT_EQ(copy.numbers.flags, 0x300U);
  EXPECT_EQ(copy.trace_state, "a=b");
  EXPECT_EQ(copy.name, "GET /orders/");
  EXPECT_EQ(copy.numbers.kind, wire::SpanKind::kServer);
  EXPECT_EQ(copy.numbers.start_ns, 1'700'000'000'000'000'000U);
  EXPECT_EQ(copy.numbers.end_ns, 1'700'000'000'500'000'000U);
  EXPECT_EQ(copy.attributes.text.size(), 5U);
  EXPECT_EQ(copy.attributes["text"], "héllo");
  EXPECT_EQ(copy.attributes["count"], "-7");
  EXPECT_EQ(copy.attributes["flag"], "true");
  EXPECT_EQ(copy.attributes["ratio"], "0.500000");
  EXPECT_EQ(copy.attributes["list"], "[x,-2,]");
  EXPECT_EQ(copy.numbers.dropped_attributes, 1U);
  ASSERT_EQ(copy.events.size(), 1U);
  EXPECT_EQ(copy.numbers.events[0].time_ns, 1'700'000'000'000'000'001U);
  EXPECT_EQ(copy.events[0].first, "exception");
  EXPECT_EQ(copy.events[0].second["exception.type"], "ValueError");
  ASSERT_EQ(copy.links.size(), 1U);
  EXPECT_EQ(copy.numbers.links[0].trace_id, (TraceId{3, 4}));
  EXPECT_EQ(copy.numbers.links[0].span_id, 5U);
  EXPECT_EQ(copy.numbers.links[0].flags, 0x300U);
  EXPECT_EQ(copy.links[0]["nuages.link"], "celery");
  EXPECT_EQ(copy.numbers.status, wire::StatusCode::kError);
  EXPECT_EQ(copy.status_message, "boom");
}

TEST_F(BatchEncoderTest, GroupsByScopeAndKeepsOrderInside) {
  const uint32_t scopes[] = {trace::intern_scope({"one"}), trace::intern_scope({"two"})};
  for (int i = 0; i < 20; ++i) {
    const auto span =
        trace::Span::start({.name = "span " + std::to_string(i), .scope = scopes[i % 2]});
    span->end();
    span->publish(*this);
  }
  BatchEncoder encoder({}, {});
  const Seen seen = encode(encoder);
  EXPECT_EQ(seen.scopes, (std::vector<std::string>{"one", "two"}));
  ASSERT_EQ(seen.spans.size(), 20U);
  for (size_t i = 0; i < 20; ++i) {
    const size_t number = i < 10 ? 2 * i : 2 * (i - 10) + 1;
    EXPECT_EQ(seen.spans[i].name, "span " + std::to_string(number));
    EXPECT_EQ(seen.spans[i].numbers.flags, 0x100U);
  }
}

TEST_F(BatchEncoderTest, MasksEveryTextOfASpan) {
  const TextFilter mask = [](std::string_view text, std::string& out) {
    const size_t at = text.find("SECRET");
    if (at == std::string_view::npos) return false;
    out = std::string(text.substr(0, at)) + "***" + std::string(text.substr(at + 6));
    return true;
  };
  const AttributeView resource[] = {{"owner", text_value("SECRET")}};
  queue_.set_resource(trace::describe({}, resource));
  wire::ArrayBuilder array;
  array.append(text_value("a SECRET b"));
  const AttributeView attributes[] = {{"plain", text_value("SECRET")},
                                      {"bytes", text_value("SECRET", wire::ValueType::kBytes)},
                                      {"list", text_value(array.text(), wire::ValueType::kArray)}};
  const auto span = trace::Span::start({.name = "name SECRET", .attributes = attributes});
  span->add_event("event SECRET", 0, attributes);
  span->add_link({.trace_id = {1, 1}, .span_id = 1, .attributes = attributes});
  span->set_status(wire::StatusCode::kError, "status SECRET");
  span->end();
  span->publish(*this);

  BatchEncoder encoder(mask, {});
  const Seen seen = encode(encoder);
  EXPECT_EQ(encoder.request().find("SECRET"), std::string_view::npos);
  const Seen::SpanCopy& copy = seen.spans.at(0);
  EXPECT_EQ(copy.name, "name ***");
  EXPECT_EQ(copy.attributes["plain"], "***");
  EXPECT_EQ(copy.attributes["list"], "[a *** b,]");
  EXPECT_EQ(copy.events[0].first, "event ***");
  EXPECT_EQ(copy.events[0].second["list"], "[a *** b,]");
  EXPECT_EQ(copy.links[0]["plain"], "***");
  EXPECT_EQ(copy.status_message, "status ***");
  EXPECT_EQ(seen.resources[0]["owner"], "***");
}

TEST_F(BatchEncoderTest, MasksKeysAndBytesAndDropsByKey) {
  wire::ArrayBuilder array;
  array.append(trace::ValueView{.type = wire::ValueType::kBytes, .text = "jane@example.com"});
  const AttributeView attributes[] = {{"jane@example.com", text_value("a")},
                                      {"list", text_value(array.text(), wire::ValueType::kArray)},
                                      {"user.id", int_value(7)},
                                      {"password", int_value(1234)},
                                      {"http.target", text_value("/a?token=x&name=Jane")}};
  const auto state = std::make_shared<const std::string>("v=jane@example.com");
  trace::SpanContext parent;
  parent.trace_id = {1, 2};
  parent.span_id = 3;
  parent.flags = trace::kSampledFlag;
  parent.trace_state = state;
  const auto span = trace::Span::start({.name = "n", .parent = &parent, .attributes = attributes});
  span->end();
  span->publish(*this);

  mask::Policy policy;
  ASSERT_TRUE(mask::Policy::of_profile("gdpr", policy));
  Filters filters = filters_of(policy);
  BatchEncoder encoder(filters.mask, filters.sql, filters.attribute);
  const Seen seen = encode(encoder);
  EXPECT_EQ(encoder.request().find("jane"), std::string_view::npos);
  auto copy = seen.spans.at(0);
  EXPECT_EQ(copy.attributes["***@***.**"], "a");
  EXPECT_EQ(copy.attributes["user.id"], "(absent)");
  EXPECT_EQ(copy.attributes["password"], "***");
  EXPECT_EQ(copy.attributes["http.target"], "/a?token=***&name=***");
}

TEST_F(BatchEncoderTest, StatementsPassTheSqlFilterUnlessTheyAreClean) {
  const StatementFilter sql = [](std::string_view system, std::string_view text, std::string& out) {
    out = std::string(system) + " sanitised " + std::string(text);
    return true;
  };
  const AttributeView attributes[] = {{"db.statement", text_value("SELECT 1")},
                                      {"db.system", text_value("mysql")},
                                      {"db.query.text", text_value("SELECT 2")},
                                      {"other", text_value("SELECT 3")}};
  for (const bool clean : {false, true}) {
    const auto span = trace::Span::start({.name = "q", .attributes = attributes});
    if (clean) span->mark_sql_clean();
    span->end();
    span->publish(*this);
  }
  BatchEncoder encoder({}, sql);
  const Seen seen = encode(encoder);
  EXPECT_EQ(seen.spans[0].attributes["db.statement"], "mysql sanitised SELECT 1");
  EXPECT_EQ(seen.spans[0].attributes["db.query.text"], "mysql sanitised SELECT 2");
  EXPECT_EQ(seen.spans[0].attributes["other"], "SELECT 3");
  EXPECT_EQ(seen.spans[1].attributes["db.statement"], "SELECT 1");
}

// Attributes that repeat are written from a cache: the bytes are those of an encoder that meets
// each for the first time.
TEST_F(BatchEncoderTest, RepeatedAttributesAreWrittenAsTheFirstTime) {
  ASSERT_TRUE(mask::set_process_profile("gdpr", true));
  const Filters filters = process_filters();
  const auto fresh = [&] {
    return std::make_unique<BatchEncoder>(filters.mask, filters.sql, filters.attribute);
  };
  const std::string clean = "SELECT * FROM t WHERE id = 4711" + std::string(900, ' ');
  const std::string huge = "jane@example.com" + std::string(5000, 'x');
  for (int i = 0; i < 60; ++i) {
    const auto span = trace::Span::start({.name = "GET"});
    span->set_attribute("http.method", text_value(i % 3 == 0 ? "GET" : "POST"));
    span->set_attribute("http.target", text_value("/orders/" + std::to_string(i % 7) + "?token=a"));
    span->set_attribute("contact.address", text_value("jane@example.com"));
    span->set_attribute("user.id", text_value("user-4711"));
    span->set_attribute("api.password", text_value("secret"));
    span->set_attribute("http.response.size", int_value(i % 5 == 0 ? 1 : INT64_MIN));
    span->set_attribute("text.huge", text_value(huge));
    if (i % 4 < 2) span->set_attribute("db.statement", text_value(clean));
    if (i % 4 == 0) span->mark_sql_clean();
    const AttributeView event[] = {{"http.method", text_value("GET")}};
    span->add_event("seen", 1, event);
    span->end();
    span->publish(*this);
  }
  std::vector<std::string> singly;
  for (const std::string& record : records_) {
    const std::string_view one[] = {record};
    singly.emplace_back(fresh()->encode(queue_, one));
  }
  const auto all = fresh();
  const Seen seen = encode(*all);
  const std::string first(all->request());
  encode(*all);
  EXPECT_EQ(all->request(), first);
  ASSERT_EQ(seen.spans.size(), records_.size());
  for (size_t i = 0; i < singly.size(); ++i) {
    const std::string_view one[] = {records_[i]};
    EXPECT_EQ(all->encode(queue_, one), singly[i]) << i;  // now from the cache
    EXPECT_EQ(seen.spans[i].attributes["user.id"], "(absent)");
    EXPECT_EQ(seen.spans[i].attributes["contact.address"], "***@***.**");
    EXPECT_EQ(seen.spans[i].attributes["api.password"], "***");
    EXPECT_EQ(seen.spans[i].events.at(0).second["http.method"], "GET");
  }
  // Other rules are in force from the next batch on.
  ASSERT_TRUE(mask::set_process_profile("off", true));
  EXPECT_EQ(encode(*all).spans[0].attributes["contact.address"], "jane@example.com");
  ASSERT_TRUE(mask::set_process_profile("default", true));
  EXPECT_EQ(encode(*all).spans[0].attributes["contact.address"], "***@***.**");
  ASSERT_TRUE(mask::set_process_profile("off", false));
}

TEST_F(BatchEncoderTest, SizesAroundLengthBytes) {
  for (size_t size = 0; size < 400; ++size) {
    const std::string text(size, 'x');
    const AttributeView attributes[] = {{"k", text_value(text)}};
    const auto span = trace::Span::start({.name = text, .attributes = attributes});
    span->add_event(text, 1, attributes);
    span->end();
    span->publish(*this);
  }
  BatchEncoder encoder({}, {});
  const Seen seen = encode(encoder);
  for (size_t size = 0; size < 400; ++size) {
    EXPECT_EQ(seen.spans[size].name.size(), size);
    EXPECT_EQ(seen.spans[size].attributes["k"].size(), size);
    EXPECT_EQ(seen.spans[size].events[0].first.size(), size);
  }
}

}  // namespace
}  // namespace nuages::exporter
