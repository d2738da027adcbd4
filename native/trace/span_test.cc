#include "trace/span.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "trace/id_generator.h"
#include "trace/scope.h"
#include "trace/span_fast.h"
#include "wire/otlp_reader.h"
#include "wire/otlp_writer.h"

namespace nuages::trace {
namespace {

class Collected : public RecordSink {
 public:
  void publish(std::string_view record) noexcept override { records.emplace_back(record); }
  RecordView view(size_t index) const { return RecordView(records.at(index)); }
  std::vector<std::string> records;
};

std::string keys(const Span& span) {
  std::string out;
  span.read([&out](const RecordView& record) {
    for (const AttributeView& each : record.attributes()) out += std::string(each.key) + " ";
  });
  return out;
}

uint32_t dropped_attributes(const Span& span) {
  uint32_t dropped = 0;
  span.read([&](const RecordView& record) { dropped = record.header().dropped_attributes; });
  return dropped;
}

TEST(SpanTest, RecordHoldsEverythingThatWasSet) {
  SpanContext parent;
  parent.trace_id = {0x1122334455667788, 0x99aabbccddeeff00};
  parent.span_id = 0x0102030405060708;
  parent.flags = kSampledFlag;
  parent.remote = true;
  parent.trace_state = std::make_shared<const std::string>("vendor=1,other=2");
  wire::ArrayBuilder array;
  array.append(text_value("x"));
  array.append(int_value(3));
  const AttributeView link_attribute[] = {{"nuages.link", text_value("celery")}};
  const LinkView links[] = {{.trace_id = {7, 8},
                             .span_id = 9,
                             .trace_flags = 1,
                             .remote = true,
                             .trace_state = "a=b",
                             .attributes = link_attribute}};
  const SpanRef span = Span::start({.name = "GET /orders/",
                                    .kind = wire::SpanKind::kServer,
                                    .parent = &parent,
                                    .scope = 3,
                                    .start_ns = 1000,
                                    .links = links});
  ASSERT_TRUE(span);
  EXPECT_TRUE(span->set_attribute("flag", bool_value(true)));
  EXPECT_TRUE(span->set_attribute("count", int_value(-5)));
  EXPECT_TRUE(span->set_attribute("ratio", double_value(0.25)));
  EXPECT_TRUE(span->set_attribute("text", text_value("héllo")));
  EXPECT_TRUE(span->set_attribute("empty", text_value("")));
  EXPECT_TRUE(span->set_attribute("list", text_value(array.text(), wire::ValueType::kArray)));
  EXPECT_TRUE(span->set_attribute("none", ValueView{}));
  const AttributeView event_attributes[] = {{"exception.type", text_value("ValueError")}};
  EXPECT_TRUE(span->add_event("exception", 1500, event_attributes));
  EXPECT_TRUE(span->set_status(wire::StatusCode::kError, "boom"));
  EXPECT_TRUE(span->update_name("GET /orders/{id}/"));
  EXPECT_TRUE(span->end(2000));

  Collected sink;
  span->publish(sink);
  ASSERT_EQ(sink.records.size(), 1U);
  // Wherever the bytes lie: a record has no pointers.
  const std::string moved = "12345678" + sink.records[0];
  const RecordView record(std::string_view(moved).substr(8));
  EXPECT_EQ(record.bytes().size(), sink.records[0].size());
  EXPECT_EQ(record.trace_id(), parent.trace_id);
  EXPECT_EQ(record.parent_id(), parent.span_id);
  EXPECT_NE(record.span_id(), 0U);
  EXPECT_TRUE(record.parent_remote());
  EXPECT_EQ(record.name(), "GET /orders/{id}/");
  EXPECT_EQ(record.kind(), wire::SpanKind::kServer);
  EXPECT_EQ(record.scope(), 3U);
  EXPECT_EQ(record.start_ns(), 1000U);
  EXPECT_EQ(record.end_ns(), 2000U);
  EXPECT_EQ(record.status(), wire::StatusCode::kError);
  EXPECT_EQ(record.status_message(), "boom");
  EXPECT_EQ(record.trace_state(), "vendor=1,other=2");
  EXPECT_EQ(record.header().trace_flags, kSampledFlag);

  std::vector<AttributeView> attributes;
  for (const AttributeView& each : record.attributes()) attributes.push_back(each);
  ASSERT_EQ(attributes.size(), 7U);
  EXPECT_EQ(record.attributes().size(), 7U);
  EXPECT_TRUE(attributes[0].value.boolean);
  EXPECT_EQ(attributes[1].value.integer, -5);
  EXPECT_EQ(attributes[2].value.number, 0.25);
  EXPECT_EQ(attributes[3].value.text, "héllo");
  EXPECT_EQ(attributes[4].value.text, "");
  EXPECT_EQ(attributes[5].value.type, wire::ValueType::kArray);
  std::vector<wire::Value> elements;
  wire::read_array(attributes[5].value.text, [&](const wire::Value& v) { elements.push_back(v); });
  ASSERT_EQ(elements.size(), 2U);
  EXPECT_EQ(elements[0].text, "x");
  EXPECT_EQ(elements[1].integer, 3);
  EXPECT_EQ(attributes[6].value.type, wire::ValueType::kEmpty);

  const EventView event = *record.events().begin();
  EXPECT_EQ(event.name, "exception");
  EXPECT_EQ(event.time_ns, 1500U);
  EXPECT_EQ((*event.attributes.begin()).value.text, "ValueError");
  const LinkRead link = *record.links().begin();
  EXPECT_EQ(link.trace_id, (TraceId{7, 8}));
  EXPECT_EQ(link.span_id, 9U);
  EXPECT_EQ(link.trace_state, "a=b");
  EXPECT_EQ(link.flags, 0x301U);
  EXPECT_EQ((*link.attributes.begin()).key, "nuages.link");
}

TEST(SpanTest, AReplacedKeyMovesToTheEnd) {
  const SpanRef span = Span::start({.name = "s"});
  for (const char* key : {"a", "b", "c", "a", "ab", "b"}) span->set_attribute(key, int_value(1));
  EXPECT_EQ(keys(*span), "c a ab b ");
  EXPECT_EQ(dropped_attributes(*span), 0U);
}

TEST(SpanTest, AttributeLimitDropsOldestOrNewest) {
  SpanLimits limits;
  limits.max_attributes = 2;
  const SpanRef oldest = Span::start({.name = "s", .limits = &limits});
  for (const char* key : {"a", "b", "c", "d", "d"}) oldest->set_attribute(key, int_value(1));
  EXPECT_EQ(keys(*oldest), "c d ");
  EXPECT_EQ(dropped_attributes(*oldest), 2U);

  limits.drop = SpanLimits::Drop::kNewest;
  const SpanRef newest = Span::start({.name = "s", .limits = &limits});
  for (const char* key : {"a", "b", "c", "b"}) newest->set_attribute(key, int_value(1));
  EXPECT_EQ(keys(*newest), "a b ");
  EXPECT_EQ(dropped_attributes(*newest), 1U);

  limits.max_attributes = 0;
  const SpanRef none = Span::start({.name = "s", .limits = &limits});
  none->set_attribute("a", int_value(1));
  EXPECT_EQ(keys(*none), "");
  EXPECT_EQ(dropped_attributes(*none), 1U);
}

TEST(SpanTest, EventAndLinkLimits) {
  SpanLimits limits;
  limits.max_events = 2;
  limits.max_links = 1;
  limits.max_event_attributes = 1;
  limits.max_link_attributes = 1;
  const AttributeView two[] = {{"a", int_value(1)}, {"b", int_value(2)}};
  const SpanRef span = Span::start({.name = "s", .limits = &limits});
  for (const char* name : {"e1", "e2", "e3"}) span->add_event(name, 5, two);
  for (SpanId id = 1; id <= 3; ++id) {
    span->add_link({.trace_id = {1, 1}, .span_id = id, .attributes = two});
  }
  span->read([](const RecordView& record) {
    std::string names;
    for (const EventView& event : record.events()) {
      names += event.name;
      EXPECT_EQ(event.attributes.size(), 1U);
      EXPECT_EQ((*event.attributes.begin()).key, "b");
      EXPECT_EQ(event.dropped_attributes, 1U);
    }
    EXPECT_EQ(names, "e2e3");
    EXPECT_EQ(record.header().dropped_events, 1U);
    ASSERT_EQ(record.links().size(), 1U);
    EXPECT_EQ((*record.links().begin()).span_id, 3U);
    EXPECT_EQ((*record.links().begin()).dropped_attributes, 1U);
    EXPECT_EQ(record.header().dropped_links, 2U);
  });
}

TEST(SpanTest, ValuesAreCutInCodePointsInsideArraysToo) {
  SpanLimits limits;
  limits.max_value_length = 3;
  wire::ArrayBuilder array;
  array.append(text_value("ab"));
  array.append(text_value("éèêë"));
  array.append(int_value(123456));
  const SpanRef span = Span::start({.name = "a long name stays", .limits = &limits});
  span->set_attribute("text", text_value("äöüß"));
  span->set_attribute("list", text_value(array.text(), wire::ValueType::kArray));
  const AttributeView in_event[] = {{"k", text_value("12345")}};
  span->add_event("long event", 1, in_event);
  span->read([](const RecordView& record) {
    auto at = record.attributes().begin();
    EXPECT_EQ((*at).value.text, "äöü");
    ++at;
    std::vector<wire::Value> elements;
    wire::read_array((*at).value.text, [&](const wire::Value& v) { elements.push_back(v); });
    ASSERT_EQ(elements.size(), 3U);
    EXPECT_EQ(elements[0].text, "ab");
    EXPECT_EQ(elements[1].text, "éèê");
    EXPECT_EQ(elements[2].integer, 123456);
    EXPECT_EQ(record.name(), "a long name stays");
    EXPECT_EQ((*(*record.events().begin()).attributes.begin()).value.text, "123");
  });
}

TEST(SpanTest, TruncationTable) {
  EXPECT_EQ(truncate_code_points("abc", 3), "abc");
  EXPECT_EQ(truncate_code_points("abcd", 3), "abc");
  EXPECT_EQ(truncate_code_points("abc", 0), "");
  EXPECT_EQ(truncate_code_points("", 0), "");
  EXPECT_EQ(truncate_code_points("\U0001F600\U0001F601", 1), "\U0001F600");
  EXPECT_EQ(truncate_code_points("\U0001F600\U0001F601", 2), "\U0001F600\U0001F601");
}

TEST(SpanTest, StatusPrecedence) {
  using wire::StatusCode;
  const auto status = [](const Span& span) {
    std::pair<StatusCode, std::string> out;
    span.read([&](const RecordView& r) { out = {r.status(), std::string(r.status_message())}; });
    return out;
  };
  using Expected = std::pair<StatusCode, std::string>;
  const SpanRef span = Span::start({.name = "s"});
  span->set_status(StatusCode::kError, "first");
  span->set_status(StatusCode::kUnset, "ignored");
  EXPECT_EQ(status(*span), Expected(StatusCode::kError, "first"));
  span->set_status(StatusCode::kError, "second");
  EXPECT_EQ(status(*span), Expected(StatusCode::kError, "second"));
  span->set_status(StatusCode::kOk, "no text with ok");
  EXPECT_EQ(status(*span), Expected(StatusCode::kOk, ""));
  span->set_status(StatusCode::kError, "too late");
  EXPECT_EQ(status(*span), Expected(StatusCode::kOk, ""));
  span->replace_status(StatusCode::kError, "forced");
  EXPECT_EQ(status(*span), Expected(StatusCode::kError, "forced"));
}

TEST(SpanTest, EndsOnceAndThenRefusesChanges) {
  const SpanRef span = Span::start({.name = "s"});
  EXPECT_TRUE(span->is_recording());
  EXPECT_EQ(span->end_ns(), 0U);
  EXPECT_TRUE(span->end());
  EXPECT_FALSE(span->end());
  EXPECT_FALSE(span->is_recording());
  EXPECT_GE(span->end_ns(), span->start_ns());
  const std::string before = span->snapshot();
  EXPECT_FALSE(span->set_attribute("a", int_value(1)));
  EXPECT_FALSE(span->add_event("e"));
  EXPECT_FALSE(span->add_link({}));
  EXPECT_FALSE(span->set_status(wire::StatusCode::kOk));
  EXPECT_FALSE(span->update_name("t"));
  EXPECT_FALSE(span->clear_attributes());
  EXPECT_EQ(span->snapshot(), before);
  span->set_editable(true);
  EXPECT_TRUE(span->set_attribute("a", int_value(1)));
  EXPECT_TRUE(span->update_name("masked"));
  span->set_editable(false);
  EXPECT_FALSE(span->set_attribute("b", int_value(1)));
  EXPECT_EQ(keys(*span), "a ");
}

TEST(SpanTest, EmptyKeysAreRefused) {
  const SpanRef span = Span::start({.name = "s"});
  EXPECT_FALSE(span->set_attribute("", int_value(1)));
  const AttributeView both[] = {{"", int_value(1)}, {"a", int_value(1)}};
  EXPECT_TRUE(span->set_attributes(both));
  EXPECT_EQ(keys(*span), "a ");
}

// The way in line and the general one write the same bytes, whatever the span's state.
TEST(SpanTest, TheFastWayOfAnAttributeChangesNothing) {
  std::mt19937 random(3);
  size_t fast = 0, general = 0;
  for (int round = 0; round < 400; ++round) {
    SpanLimits limits;
    if (round % 3 == 1) limits.max_attributes = 5;
    if (round % 7 == 1) limits.max_value_length = 10;
    if (round % 2 == 1) limits.drop = SpanLimits::Drop::kNewest;
    StartOptions options{.name = std::string_view("a name of any length", random() % 21),
                         .start_ns = 7,
                         .trace_id = {1, 2},
                         .span_id = 3,
                         .limits = &limits,
                         .serialised = true};
    const SpanRef quick = Span::start(options);
    options.serialised = false;
    const SpanRef slow = Span::start(options);
    for (int step = 0; step < 30; ++step) {
      const std::string key(1 + random() % 40, static_cast<char>('a' + random() % 3));
      const std::string text(random() % 70, 't');
      bool added = false;
      ValueView value;
      switch (random() % 6) {
        case 0:
          value = int_value(-step);
          added = quick->add_number(key, value.type, value.integer);
          break;
        case 1:
          value = double_value(step / 4.0);
          added = quick->add_number(key, value.type, value.number);
          break;
        case 2:
          value = bool_value(step % 2 == 0);
          added = quick->add_number(key, value.type, static_cast<char>(value.boolean));
          break;
        case 3:
          quick->remove_attribute(key);
          slow->remove_attribute(key);
          continue;
        default:
          value = text_value(text);
          added = quick->add_text(key, text);
      }
      EXPECT_FALSE(slow->add_text(key, text)) << "it needs its lock";
      if (!added) quick->set_attribute(key, value);
      slow->set_attribute(key, value);
      ++(added ? fast : general);
      ASSERT_EQ(quick->snapshot(), slow->snapshot()) << round << " " << step;
    }
    quick->end(9);
    EXPECT_FALSE(quick->add_text("late", "x"));
  }
  EXPECT_GT(fast, 1000U);
  EXPECT_GT(general, 1000U);
}

TEST(SpanTest, RemoveAndClear) {
  const SpanRef span = Span::start({.name = "s"});
  for (const char* key : {"a", "b", "c"}) span->set_attribute(key, int_value(1));
  span->add_event("e");
  span->add_link({.trace_id = {1, 2}, .span_id = 3});
  span->remove_attribute("b");
  span->remove_attribute("unknown");
  EXPECT_EQ(keys(*span), "a c ");
  span->clear_attributes();
  span->clear_events();
  span->clear_links();
  span->read([](const RecordView& record) {
    EXPECT_TRUE(record.attributes().empty());
    EXPECT_TRUE(record.events().empty());
    EXPECT_TRUE(record.links().empty());
    EXPECT_EQ(record.header().log_size, 0U);
  });
  span->set_attribute("d", int_value(1));
  EXPECT_EQ(keys(*span), "d ");
}

TEST(SpanTest, ReplacingAKeyForEverDoesNotGrowTheSpan) {
  const SpanRef span = Span::start({.name = "s"});
  span->set_attribute("first", int_value(1));
  const std::string value(100, 'v');
  for (int i = 0; i < 100'000; ++i) span->set_attribute("progress", text_value(value));
  EXPECT_EQ(keys(*span), "first progress ");
  EXPECT_LT(span->snapshot().size(), 500U);
}

TEST(SpanTest, ChildrenShareTraceAndLocalRootStrangersDoNot) {
  const SpanRef root = Span::start({.name = "root"});
  EXPECT_TRUE(root->is_local_root());
  EXPECT_EQ(root->parent_id(), 0U);
  EXPECT_NE(root->context().flags & kRandomFlag, 0);
  const SpanRef child = Span::start({.name = "child", .local_parent = root.get()});
  EXPECT_FALSE(child->is_local_root());
  EXPECT_EQ(child->context().trace_id, root->context().trace_id);
  EXPECT_EQ(child->parent_id(), root->context().span_id);
  EXPECT_EQ(child->local_root().get(), root->local_root().get());
  EXPECT_EQ(child->context().flags, root->context().flags);
  EXPECT_GE(child->start_ns(), root->start_ns());

  const SpanContext context = root->context();
  const SpanRef detached = Span::start({.name = "detached", .parent = &context});
  EXPECT_EQ(detached->context().trace_id, root->context().trace_id);
  EXPECT_TRUE(detached->is_local_root());
  EXPECT_NE(detached->local_root().get(), root->local_root().get());
}

TEST(SpanTest, APooledSpanRemembersNothing) {
  {
    const SpanRef span =
        Span::start({.name = "a rather long name that needs the heap", .sampled = false});
    span->set_attribute("secret", text_value("x"));
    span->set_status(wire::StatusCode::kError, "m");
    span->mark_sql_clean();
    span->end();
    span->set_editable(true);
  }
  const SpanRef span = Span::start({.name = "n"});
  EXPECT_TRUE(span->is_recording());
  span->read([](const RecordView& record) {
    EXPECT_EQ(record.name(), "n");
    EXPECT_TRUE(record.attributes().empty());
    EXPECT_EQ(record.status(), wire::StatusCode::kUnset);
    EXPECT_EQ(record.status_message(), "");
    EXPECT_FALSE(record.sql_clean());
    EXPECT_EQ(record.end_ns(), 0U);
  });
}

TEST(SpanTest, PublishesOnlyEndedSampledSpans) {
  Collected sink;
  const SpanRef running = Span::start({.name = "running"});
  running->publish(sink);
  const SpanRef recorded = Span::start({.name = "recorded only", .sampled = false});
  recorded->end();
  recorded->publish(sink);
  EXPECT_TRUE(sink.records.empty());
  EXPECT_EQ(record_leaf(*recorded, {.name = "leaf"}, {}), 0U);
}

TEST(SpanTest, OneSpanFromManyThreads) {
  const SpanRef span = Span::start({.name = "s"});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&span, t] {
      const std::string key = "key" + std::to_string(t);
      for (int i = 0; i < 2000; ++i) {
        span->set_attribute(key, int_value(i));
        if (i % 100 == 0) span->add_event(key);
        if (i % 500 == 0) (void)span->snapshot();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  span->read([](const RecordView& record) {
    EXPECT_EQ(record.attributes().size(), 4U);
    for (const AttributeView& each : record.attributes()) EXPECT_EQ(each.value.integer, 1999);
    EXPECT_EQ(record.events().size(), 80U);
  });
}

TEST(LeafTest, IsTheRecordThatASpanWouldHaveWritten) {
  const SpanRef parent = Span::start({.name = "view"});
  const AttributeView attributes[] = {{"db.system", text_value("postgresql")},
                                      {"db.statement", text_value("SELECT ?")}};
  const AttributeView exception[] = {{"exception.type", text_value("DatabaseError")}};
  Collected sink;
  Collected second;
  RecordSink* const sinks[] = {&sink, &second};
  const SpanId id = record_leaf(*parent,
                                {.name = "SELECT FROM orders",
                                 .scope = 2,
                                 .start_ns = 100,
                                 .end_ns = 250,
                                 .attributes = attributes,
                                 .status = wire::StatusCode::kError,
                                 .status_message = "gone",
                                 .event_name = "exception",
                                 .event_attributes = exception,
                                 .sql_clean = true},
                                sinks);
  const SpanRef same = Span::start({.name = "SELECT FROM orders",
                                    .kind = wire::SpanKind::kClient,
                                    .local_parent = parent.get(),
                                    .scope = 2,
                                    .start_ns = 100,
                                    .span_id = id,
                                    .attributes = attributes});
  same->add_event("exception", 250, exception);
  same->set_status(wire::StatusCode::kError, "gone");
  same->mark_sql_clean();
  same->end(250);
  ASSERT_EQ(sink.records.size(), 1U);
  EXPECT_EQ(sink.records[0], same->snapshot());
  EXPECT_EQ(second.records, sink.records);
}

TEST(LeafTest, ObeysLimitsAndSize) {
  SpanLimits limits;
  limits.max_attributes = 1;
  limits.max_value_length = 2;
  const SpanRef parent = Span::start({.name = "view", .limits = &limits});
  const AttributeView attributes[] = {{"a", text_value("xxx")}, {"b", text_value("yyy")}};
  Collected sink;
  RecordSink* const sinks[] = {&sink};
  EXPECT_NE(record_leaf(*parent, {.name = std::string(5000, 'n'), .attributes = attributes}, sinks),
            0U);
  const RecordView record = sink.view(0);
  EXPECT_EQ(record.name().size(), 5000U);
  EXPECT_EQ((*record.attributes().begin()).key, "b");
  EXPECT_EQ((*record.attributes().begin()).value.text, "yy");
  EXPECT_EQ(record.header().dropped_attributes, 1U);
  EXPECT_GE(record.end_ns(), parent->start_ns());
}

TEST(IdTest, AreRandomAndNeverZero) {
  std::set<SpanId> ids;
  for (int i = 0; i < 10'000; ++i) ids.insert(new_span_id());
  EXPECT_EQ(ids.size(), 10'000U);
  EXPECT_EQ(ids.count(0), 0U);
  EXPECT_NE(new_trace_id(), new_trace_id());
}

TEST(ScopeTest, SameScopeSameId) {
  const AttributeView attributes[] = {{"a", int_value(1)}};
  const uint32_t first = intern_scope({"lib", "1.0", "http://schema"});
  EXPECT_NE(first, 0U);
  EXPECT_EQ(intern_scope({"lib", "1.0", "http://schema"}), first);
  EXPECT_NE(intern_scope({"lib", "1.1", "http://schema"}), first);
  EXPECT_NE(intern_scope({"lib", "1.0", "http://schema"}, attributes), first);
  EXPECT_EQ(intern_scope({}), 0U);
  const DescriptionView view = read_description(scope_description(first));
  EXPECT_EQ(view.scope.name, "lib");
  EXPECT_EQ(view.scope.version, "1.0");
  EXPECT_EQ(view.scope.schema_url, "http://schema");
  EXPECT_TRUE(view.attributes.empty());
  EXPECT_TRUE(scope_description(1'000'000).empty());
}

#ifndef __SANITIZE_THREAD__
// Runs `body` in a forked child; true when it returned true there.
template <typename F>
bool in_child(F&& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(ForkTest, ASpanOfTheParentIsAParentInTheChildAndNothingElse) {
  const SpanRef span = Span::start({.name = "parent"});
  span->set_attribute("a", int_value(1));
  EXPECT_TRUE(in_child([&] {
    if (span->is_recording() || span->set_attribute("b", int_value(2)) || span->end()) return false;
    Collected sink;
    span->publish(sink);
    if (!sink.records.empty()) return false;
    const SpanRef child = Span::start({.name = "child", .local_parent = span.get()});
    return child && child->context().trace_id == span->context().trace_id &&
           child->parent_id() == span->context().span_id &&
           child->local_root().get() != span->local_root().get() && child->end();
  }));
  EXPECT_TRUE(span->is_recording());
  EXPECT_TRUE(span->end());
  EXPECT_EQ(keys(*span), "a ");
}

TEST(ForkTest, AnInheritedLockDoesNotHangTheChild) {
  const SpanRef span = Span::start({.name = "parent"});
  span->read([&span](const RecordView&) {  // the lock is held here
    EXPECT_TRUE(in_child([&] {
      return !span->end() && !span->set_attribute("x", int_value(1)) &&
             RecordView(span->snapshot()).name() == "parent";
    }));
  });
}

TEST(ForkTest, ChildrenDrawOtherIds) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  (void)new_span_id();  // seeded before the fork
  std::set<SpanId> ids;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(in_child([&] {
      const SpanId id = new_span_id();
      return write(pipe_ends[1], &id, sizeof id) == static_cast<ssize_t>(sizeof id);
    }));
    SpanId id = 0;
    ASSERT_EQ(read(pipe_ends[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
    ids.insert(id);
  }
  ids.insert(new_span_id());
  EXPECT_EQ(ids.size(), 4U);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}
#endif

}  // namespace
}  // namespace nuages::trace
