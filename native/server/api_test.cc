#include "server/api.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <optional>
#include <set>

#include "server/api_test_yaml.h"
#include "server/web.h"
#include "store/test_spans.h"
#include "store/test_store.h"

namespace nuages::server {
namespace {

using store::testing::make_block;
using store::testing::process_store;
using store::testing::TestSpan;
using wire::SpanKind;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kNow = 1'790'000'000'000'000'000;

ServerStatus ready_status() {
  ServerStatus status;
  status.version = "0.1";
  status.store_version = "chDB";
  status.store_ready = true;
  status.start_time_ns = kNow;
  return status;
}

Request get(const std::string& path, std::map<std::string, std::string> query = {}) {
  return {.method = "GET",
          .path = path,
          .query = std::move(query),
          .query_list = {},
          .headers = {},
          .body = {}};
}

boost::json::value json_of(std::string_view text) { return boost::json::parse(text); }

// A string as the JSON value that answers are compared with.
boost::json::value text(std::string_view value) { return boost::json::value(value); }

// The order request of the guide with its linked task: two traces that begin with `id`.
struct OrderTraces {
  TraceId request, task;
  std::vector<TestSpan> request_spans, task_spans;
};

OrderTraces order_traces(uint64_t id, uint64_t start = kNow) {
  OrderTraces made{.request = {id, 1}, .task = {id, 2}, .request_spans = {}, .task_spans = {}};
  made.request_spans = {
      {.trace_id = made.request,
       .span_id = 1,
       .name = "POST /api/orders/",
       .kind = SpanKind::kServer,
       .start = start,
       .duration = 250 * kMs,
       .attributes = {{"http.method", "POST"},
                      {"http.route", "/api/orders/"},
                      {"http.status_code", int64_t{201}},
                      {"db.query_count", int64_t{2}}}},
      {.trace_id = made.request,
       .span_id = 2,
       .parent_id = 1,
       .name = "OrderViewSet.create",
       .start = start + 10 * kMs,
       .duration = 200 * kMs,
       .attributes = {{"nuages.kind", "view"},
                      {"order.id", int64_t{77}},
                      {"ratio", 1.0},
                      {"nothing \"quoted\"=\n", true}}},
      {.trace_id = made.request,
       .span_id = 3,
       .parent_id = 2,
       .name = "INSERT",
       .kind = SpanKind::kClient,
       .start = start + 20 * kMs,
       .duration = 10 * kMs,
       .attributes = {{"db.system.name", "postgresql"},
                      {"db.query.text", "INSERT INTO orders (a, b) VALUES ('secret', 5)"}}},
      {.trace_id = made.request,
       .span_id = 4,
       .parent_id = 2,
       .name = "celery.apply_async: process_order",
       .kind = SpanKind::kProducer,
       .start = start + 40 * kMs,
       .duration = 5 * kMs}};
  made.task_spans = {{.trace_id = made.task,
                      .span_id = 5,
                      .name = "orders.tasks.process_order",
                      .kind = SpanKind::kConsumer,
                      .start = start + 60 * kMs,
                      .duration = 150 * kMs,
                      .attributes = {{"celery.task_name", "orders.tasks.process_order"}},
                      .links = {{made.request, 4, {{"nuages.link", "celery"}}}}},
                     {.trace_id = made.task,
                      .span_id = 6,
                      .parent_id = 5,
                      .name = "validate_high_value_order",
                      .start = start + 70 * kMs,
                      .duration = 30 * kMs,
                      .status = wire::StatusCode::kError,
                      .status_message = "too high"}};
  return made;
}

class ApiTest : public store::testing::EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (store::kChdbRuns)
      api_.emplace(process_store(), ApiOptions{.status = ready_status, .recent = nullptr});
  }

  Response call(const Request& request) { return api_->handle(request); }

  boost::json::value call_json(const std::string& path,
                               std::map<std::string, std::string> query = {}) {
    const Response response = call(get(path, std::move(query)));
    EXPECT_EQ(response.status, 200) << path << ": " << response.body;
    return boost::json::parse(response.body);
  }

  std::string message_of(const Request& request, int status) {
    const Response response = call(request);
    EXPECT_EQ(response.status, status) << response.body;
    const auto body = boost::json::parse(response.body);
    return std::string(body.at_pointer("/error/message").as_string());
  }

  std::vector<std::string> trace_ids(std::map<std::string, std::string> query) {
    std::vector<std::string> ids;
    const auto body = call_json("/api/v1/traces", std::move(query));
    for (const auto& row : body.at("traces").as_array()) {
      ids.emplace_back(row.at("trace_id").as_string());
    }
    return ids;
  }

  static void insert(const std::string& service, const std::vector<TestSpan>& spans,
                     const std::string& token, uint64_t received = kNow) {
    const Status status = process_store().insert(make_block(service, spans, received), token);
    ASSERT_TRUE(status.ok()) << status.error().message;
  }

  std::optional<Api> api_;
};

TEST(ApiRoutes, EveryDocumentedRouteExistsAndNoOther) {
  const auto document =
      testing::YamlReader::read_file(NUAGES_GOLDEN_DIR "/../../docs/openapi.yaml");
  std::set<std::pair<std::string, std::string>> documented;
  for (const auto& [path, item] : document.at("paths").as_object()) {
    for (const auto& [method, operation] : item.as_object()) {
      documented.emplace(method == "get" ? "GET" : "POST", std::string(path));
    }
  }
  auto routes = Api::routes();
  for (const auto& route : Web::routes()) routes.push_back(route);
  EXPECT_EQ(documented,
            (std::set<std::pair<std::string, std::string>>(routes.begin(), routes.end())));
}

TEST_F(ApiTest, AnswersHaveTheDocumentedFieldsAndTakeTheDocumentedParameters) {
  const auto document =
      testing::YamlReader::read_file(NUAGES_GOLDEN_DIR "/../../docs/openapi.yaml");
  const testing::SchemaChecker checker(document);
  auto traces = order_traces(101);
  traces.request_spans[0].attributes.push_back({"db.potential_n_plus_one", true});
  traces.request_spans[0].events = {
      {"nuages.n_plus_one", {{"db.statement", "SELECT 1"}, {"count", int64_t{9}}}, kNow}};
  insert("documented", traces.request_spans, "documented-1");
  insert("documented-worker", traces.task_spans, "documented-2");
  const std::map<std::string, std::string> examples{{"service", "documented"},
                                                    {"route", "/api/orders/"},
                                                    {"name", "post"},
                                                    {"status", "ok"},
                                                    {"http_status", "2xx"},
                                                    {"min_duration_ms", "0.5"},
                                                    {"max_duration_ms", "900"},
                                                    {"start", "1"},
                                                    {"end", "1999999999999999999"},
                                                    {"before", "1999999999999999999"},
                                                    {"trace_id", to_hex(traces.request)},
                                                    {"n_plus_one", "true"},
                                                    {"kind", "server"},
                                                    {"attribute", "order.id=77"},
                                                    {"limit", "3"},
                                                    {"layout", "full"},
                                                    {"follow", "true"},
                                                    {"operation", "POST /api/orders/"},
                                                    {"minDuration", "1us"},
                                                    {"maxDuration", "1h2m3.5s"},
                                                    {"tag", "order.id:77"},
                                                    {"tags", R"({"error":"false"})"},
                                                    {"traceID", to_hex(traces.request)},
                                                    {"raw", "false"},
                                                    {"spanKind", "server"},
                                                    {"endTs", "1999999999999"},
                                                    {"lookback", "1000"}};
  Web web(1);
  web.set_api(*api_);
  for (const auto& [path, item] : document.at("paths").as_object()) {
    std::string url(path);
    if (const size_t open = url.find('{'); open != std::string::npos) {
      url.replace(open, url.find('}') - open + 1, to_hex(traces.request));
    }
    if (!item.as_object().contains("get")) continue;
    const auto& operation = item.at("get").as_object();
    std::map<std::string, std::string> query;
    if (const auto* parameters = operation.if_contains("parameters")) {
      for (const auto& parameter : parameters->as_array()) {
        if (parameter.at("in") == "query") {
          const std::string name(parameter.at("name").as_string());
          query[name] = examples.at(name);
        }
      }
    }
    std::promise<Response> answered;
    web.handle(get(url, query), [&](Response answer) { answered.set_value(std::move(answer)); });
    const Response response = answered.get_future().get();
    ASSERT_EQ(response.status, 200) << url << ": " << response.body;
    const auto& content = operation.at("responses").at("200").at("content").as_object();
    const std::string type(content.begin()->key());
    EXPECT_TRUE(response.content_type.starts_with(type)) << url << ": " << response.content_type;
    if (type != "application/json") continue;
    const auto body = boost::json::parse(response.body);
    EXPECT_EQ(checker.check(content.begin()->value().at("schema"), body), "") << url;
    if (url == "/api/v1/traces") {
      EXPECT_EQ(body.at("traces").as_array().size(), 1U);
    }
    if (url == "/api/v1/findings") {
      EXPECT_EQ(body.at("findings").as_array().size(), 1U);
    }
  }
  const auto error = boost::json::parse(call(get("/api/v1/traces", {{"limit", "0"}})).body);
  EXPECT_EQ(checker.check(document.at_pointer("/components/schemas/Error"), error), "");
}

TEST_F(ApiTest, TraceComesBackAsSent) {
  auto traces = order_traces(102);
  traces.request_spans[1].events = {{"note", {{"line", "a\nb"}, {"n", int64_t{-5}}}, kNow + 7}};
  insert("as-sent", traces.request_spans, "as-sent-1");
  const auto body = call_json("/api/v1/traces/" + to_hex(traces.request));
  EXPECT_EQ(body.at("start"), text(std::to_string(kNow)));
  EXPECT_EQ(body.at("duration"), static_cast<int64_t>(250 * kMs));
  EXPECT_EQ(body.at("complete"), true);
  const auto& spans = body.at("spans").as_array();
  ASSERT_EQ(spans.size(), 4U);
  const auto& root = spans[0].as_object();
  EXPECT_EQ(root.at("parent_span_id"), "");
  EXPECT_EQ(root.at("span_id"), "0000000000000001");
  EXPECT_EQ(root.at("kind"), "server");
  EXPECT_EQ(root.at("self_duration"), static_cast<int64_t>(50 * kMs));
  EXPECT_EQ(
      root.at("attributes"),
      json_of(
          R"({"http.method":"POST", "http.route":"/api/orders/","http.status_code":201,"db.query_count":2})"));
  const auto& view = spans[1].as_object();
  EXPECT_EQ(
      view.at("attributes"),
      json_of(R"({"nuages.kind":"view","order.id":77,"ratio":1.0,"nothing \"quoted\"=\n":true})"));
  EXPECT_TRUE(view.at("attributes").at("ratio").is_double());
  EXPECT_TRUE(view.at("attributes").at("order.id").is_int64());
  EXPECT_EQ(
      view.at("events"),
      json_of(
          R"([{"time":"1790000000000000007","name":"note","attributes":{"line":"a\nb","n":-5}}])"));
  const auto& insert_span = spans[2].as_object();
  EXPECT_EQ(insert_span.at("label"), "INSERT INTO orders (...) VALUES (...)");
  EXPECT_EQ(
      insert_span.at("attributes"),
      json_of(
          R"json({"db.system.name":"postgresql","db.query.text":"INSERT INTO orders (a, b) VALUES (?, ?)"})json"));
  const auto resource = static_cast<size_t>(root.at("resource").as_int64());
  EXPECT_EQ(body.at("resources").as_array().at(resource).at("attributes").at("service.name"),
            "as-sent");
}

TEST_F(ApiTest, LinkedTraceIsFoundFromEitherSide) {
  const auto traces = order_traces(103);
  insert("links-worker", traces.task_spans, "links-1");
  const auto early = call_json("/api/v1/traces/" + to_hex(traces.task));
  ASSERT_EQ(early.at("linked").as_array().size(), 1U);
  EXPECT_EQ(early.at_pointer("/linked/0/stored"), false) << "the producer is not here yet";
  insert("links", traces.request_spans, "links-2");

  const auto request = call_json("/api/v1/traces/" + to_hex(traces.request));
  ASSERT_EQ(request.at("linked").as_array().size(), 1U);
  const auto& task = request.at_pointer("/linked/0").as_object();
  EXPECT_EQ(task.at("trace_id"), text(to_hex(traces.task)));
  EXPECT_EQ(task.at("span_id"), text(to_hex(SpanId{5})));
  EXPECT_EQ(task.at("via_span_id"), text(to_hex(SpanId{4})));
  EXPECT_EQ(task.at("direction"), "task");
  EXPECT_EQ(task.at("name"), "orders.tasks.process_order");
  EXPECT_EQ(task.at("service"), "links-worker");
  EXPECT_EQ(task.at("duration"), static_cast<int64_t>(150 * kMs));

  const auto back = call_json("/api/v1/traces/" + to_hex(traces.task));
  EXPECT_EQ(back.at_pointer("/linked/0/direction"), "producer");
  EXPECT_EQ(back.at_pointer("/linked/0/span_id"), text(to_hex(SpanId{4})));
  EXPECT_EQ(back.at_pointer("/linked/0/via_span_id"), text(to_hex(SpanId{5})));

  const std::string expected =
      "POST /api/orders/ (250ms)\n"
      "├── OrderViewSet.create (200ms)\n"
      "│   ├── INSERT INTO orders (...) VALUES (...) (10ms)\n"
      "│   └── celery.apply_async: process_order (5ms)\n"
      "└── Celery Task: process_order (150ms) [separate trace, linked]\n"
      "    └── validate_high_value_order (30ms) [error: too high]\n";
  EXPECT_EQ(call(get("/api/v1/traces/" + to_hex(traces.request) + "/tree")).body, expected);
  EXPECT_EQ(call(get("/api/v1/traces/" + to_hex(traces.task) + "/tree")).body, expected);
  const auto alone = call(get("/api/v1/traces/" + to_hex(traces.task) + "/tree",
                              {{"follow", "false"}, {"layout", "full"}}));
  EXPECT_EQ(alone.body,
            "Celery Task: process_order (150ms)\n"
            "└── validate_high_value_order (30ms) [error: too high]\n");

  const auto followed = call_json("/api/v1/traces/" + to_hex(traces.request), {{"follow", "true"}});
  EXPECT_EQ(followed.at("spans").as_array().size(), 6U);
  EXPECT_EQ(followed.at("duration"), static_cast<int64_t>(250 * kMs)) << "its own spans only";
  EXPECT_EQ(followed.at("services").as_array().size(), 2U);
}

// A block that the ingest holds is visible before it is inserted, and not twice afterwards.
TEST_F(ApiTest, SpansNotYetInsertedAreThereOnce) {
  struct Recent final : store::RecentSpans {
    std::vector<store::SpanBlock> blocks;
    void visit_blocks(const std::function<void(const store::SpanBlock&)>& visit) const override {
      for (const auto& block : blocks) visit(block);
    }
  } recent;
  const auto traces = order_traces(104);
  recent.blocks.push_back(make_block("fresh", traces.request_spans, kNow));
  recent.blocks.push_back(make_block("fresh-worker", traces.task_spans, kNow));
  const Api api(process_store(), {.status = ready_status, .recent = &recent});
  const Request trace = get("/api/v1/traces/" + to_hex(traces.request), {{"follow", "true"}});
  const Request tree = get("/api/v1/traces/" + to_hex(traces.task) + "/tree");
  const Response before = api.handle(trace);
  const Response tree_before = api.handle(tree);
  ASSERT_EQ(before.status, 200) << before.body;
  EXPECT_EQ(boost::json::parse(before.body).at("spans").as_array().size(), 6U);
  EXPECT_EQ(boost::json::parse(before.body).at_pointer("/linked/0/name"),
            "orders.tasks.process_order");
  EXPECT_EQ(call(trace).status, 404) << "the store alone does not have it";
  insert("fresh", traces.request_spans, "fresh-1");
  insert("fresh-worker", traces.task_spans, "fresh-2");
  EXPECT_EQ(api.handle(trace).body, before.body) << "in both";
  EXPECT_EQ(api.handle(tree).body, tree_before.body);
  EXPECT_EQ(call(trace).body, before.body) << "in the store only";
}

TEST_F(ApiTest, RepeatsOfASpanShowOnce) {
  const auto traces = order_traces(105);
  insert("repeats", traces.request_spans, "repeats-1");
  insert("repeats", traces.request_spans, "repeats-2");
  EXPECT_EQ(call_json("/api/v1/traces/" + to_hex(traces.request)).at("spans").as_array().size(),
            4U);
  const auto list = call_json("/api/v1/traces", {{"service", "repeats"}});
  ASSERT_EQ(list.at("traces").as_array().size(), 1U);
  EXPECT_EQ(list.at_pointer("/traces/0/span_count"), 4);
}

TEST_F(ApiTest, FiltersSelect) {
  const auto fast = order_traces(106, kNow);
  auto slow = order_traces(107, kNow + 1'000 * kMs);
  slow.request_spans[0].name = "GET /orders/slow/";
  slow.request_spans[0].duration = 3'000 * kMs;
  slow.request_spans[0].status = wire::StatusCode::kError;
  slow.request_spans[0].attributes = {{"http.route", "/orders/slow/"},
                                      {"http.response.status_code", int64_t{500}},
                                      {"http.request.method", "GET"},
                                      {"db.potential_n_plus_one", true},
                                      {"db.max_query_repetitions", int64_t{12}}};
  slow.request_spans[1].attributes = {{"user.id", "u-9"}};
  insert("filters", fast.request_spans, "filters-1");
  insert("filters", slow.request_spans, "filters-2");
  insert("filters-worker", fast.task_spans, "filters-3");
  const std::string a = to_hex(fast.request);
  const std::string b = to_hex(slow.request);
  using Ids = std::vector<std::string>;
  auto only = [&](std::map<std::string, std::string> query) {
    query.emplace("service", "filters");
    return trace_ids(std::move(query));
  };
  EXPECT_EQ(only({}), (Ids{b, a})) << "newest first";
  EXPECT_EQ(only({{"service", "filters-worker"}}), (Ids{to_hex(fast.task)}));
  EXPECT_EQ(only({{"service", "filters' OR 1 = 1 --"}}), Ids{});
  EXPECT_EQ(only({{"route", "/orders/slow/"}}), Ids{b});
  EXPECT_EQ(only({{"name", "SLOW"}}), Ids{b});
  EXPECT_EQ(only({{"status", "error"}}), Ids{b});
  EXPECT_EQ(only({{"status", "ok"}}), Ids{a});
  EXPECT_EQ(only({{"http_status", "500"}}), Ids{b});
  EXPECT_EQ(only({{"http_status", "2xx"}}), Ids{a});
  EXPECT_EQ(only({{"min_duration_ms", "250.001"}}), Ids{b});
  EXPECT_EQ(only({{"min_duration_ms", "250"}}), (Ids{b, a})) << "inclusive";
  EXPECT_EQ(only({{"max_duration_ms", "250"}}), Ids{a});
  EXPECT_EQ(only({{"start", std::to_string(kNow + 1)}}), Ids{b});
  EXPECT_EQ(only({{"end", std::to_string(kNow + 1)}}), Ids{a});
  EXPECT_EQ(only({{"trace_id", a}}), Ids{a});
  EXPECT_EQ(only({{"n_plus_one", "true"}}), Ids{b});
  EXPECT_EQ(only({{"n_plus_one", "false"}}), Ids{a});
  EXPECT_EQ(only({{"kind", "consumer"}}), Ids{});
  EXPECT_EQ(only({{"attribute", "order.id=77"}}), Ids{a});
  EXPECT_EQ(only({{"attribute", "user.id=u-9"}}), Ids{b});
  EXPECT_EQ(only({{"attribute", "user.id=u-9"}, {"start", "1"}, {"end", "9223372036854775807"}}),
            Ids{b});
  EXPECT_EQ(only({{"attribute", "user.id=u-9"}, {"end", "1"}}), Ids{});
  EXPECT_EQ(only({{"attribute", "user.id=u"}}), Ids{});
  EXPECT_EQ(only({{"min_duration_ms", ""}}), (Ids{b, a})) << "empty is not given";

  const auto first = call_json("/api/v1/traces", {{"service", "filters"}, {"limit", "1"}});
  EXPECT_EQ(first.at_pointer("/traces/0/trace_id"), text(b));
  EXPECT_EQ(first.at("truncated"), true);
  const std::string cursor(first.at("next_before").as_string());
  const auto second =
      call_json("/api/v1/traces", {{"service", "filters"}, {"limit", "1"}, {"before", cursor}});
  EXPECT_EQ(second.at_pointer("/traces/0/trace_id"), text(a));
  EXPECT_EQ(second.at("truncated"), false);
  EXPECT_TRUE(second.at("next_before").is_null());

  const auto& row = first.at_pointer("/traces/0").as_object();
  EXPECT_EQ(row.at("http_status"), 500);
  EXPECT_EQ(row.at("method"), "GET");
  EXPECT_EQ(row.at("max_repetitions"), 12);
  EXPECT_TRUE(row.at("query_count").is_null());
  EXPECT_EQ(row.at("span_count"), 4);
  EXPECT_EQ(row.at("error_count"), 1);
  EXPECT_EQ(row.at("services"), boost::json::array{"filters"});
}

TEST_F(ApiTest, PagesLoseNothingWhenSpansStartTogether) {
  std::vector<TestSpan> spans;
  for (uint64_t id = 1; id <= 7; ++id) {
    const uint64_t start = kNow + (id == 7 ? 1 : 0);
    spans.push_back({.trace_id = {109, (id + 1) / 2},  // two entries a trace
                     .span_id = id,
                     .name = "GET /",
                     .kind = SpanKind::kServer,
                     .start = start,
                     .duration = kMs});
  }
  insert("together", spans, "together");
  std::vector<std::string> seen;
  std::map<std::string, std::string> query{{"service", "together"}, {"limit", "2"}};
  for (int page = 0; page < 10; ++page) {
    const auto answer = call_json("/api/v1/traces", query);
    for (const auto& row : answer.at("traces").as_array()) {
      seen.emplace_back(row.at("span_id").as_string());
    }
    if (answer.at("next_before").is_null()) break;
    query["before"] = std::string(answer.at("next_before").as_string());
  }
  const auto id = [](uint64_t number) { return to_hex(SpanId{number}); };
  EXPECT_EQ(seen, (std::vector<std::string>{id(7), id(1), id(2), id(3), id(4), id(5), id(6)}));
}

TEST_F(ApiTest, AttributesWithAColumnOfTheirOwnAreFoundToo) {
  auto traces = order_traces(110);
  traces.request_spans[1].attributes.push_back({"code.lineno", int64_t{42}});
  traces.request_spans[0].attributes.push_back({"db.potential_n_plus_one", true});
  insert("columns", traces.request_spans, "columns-1");
  insert("columns", traces.task_spans, "columns-2");
  const std::vector<std::string> request{to_hex(traces.request)};
  const std::vector<std::string> task{to_hex(traces.task)};
  const std::vector<std::string> none;
  const auto with = [&](const std::string& attribute) {
    return trace_ids({{"service", "columns"}, {"attribute", attribute}});
  };
  EXPECT_EQ(with("http.method=POST"), request);
  EXPECT_EQ(with("http.status_code=201"), request);
  EXPECT_EQ(with("http.request.method=POST"), none) << "sent under the old name";
  EXPECT_EQ(with("http.method=GET"), none);
  EXPECT_EQ(with("db.system.name=postgresql"), request);
  EXPECT_EQ(with("nuages.kind=view"), request);
  EXPECT_EQ(with("code.lineno=42"), request);
  EXPECT_EQ(with("code.lineno=0"), none);
  EXPECT_EQ(with("db.potential_n_plus_one=true"), request);
  EXPECT_EQ(with("db.potential_n_plus_one=false"), none);
  EXPECT_EQ(with("db.query_count=2"), request);
  EXPECT_EQ(with("celery.task_name=orders.tasks.process_order"), task);
  EXPECT_EQ(with("db.query.text=INSERT INTO orders (a, b) VALUES (?, ?)"), request);
}

TEST_F(ApiTest, HeadIsAnsweredLikeGet) {
  Request head = get("/healthz");
  head.method = "HEAD";
  EXPECT_EQ(call(head).status, 200);
}

TEST_F(ApiTest, ServicesRoutesAndFindings) {
  auto traces = order_traces(108);
  traces.request_spans[0].attributes.push_back({"db.potential_n_plus_one", true});
  traces.request_spans[0].events = {{"nuages.n_plus_one",
                                     {{"db.statement", "SELECT * FROM auth_user WHERE id = ?"},
                                      {"count", int64_t{6}},
                                      {"code.filepath", "orders/views.py"},
                                      {"code.lineno", int64_t{42}},
                                      {"suggestion", "select_related(\"user\")"}},
                                     kNow}};
  insert("summary", traces.request_spans, "summary-1");
  bool found = false;
  const auto services = call_json("/api/v1/services");
  for (const auto& service : services.at("services").as_array()) {
    if (service.at("name") != "summary") continue;
    found = true;
    EXPECT_EQ(service.at("span_count"), 4);
    EXPECT_EQ(service.at("entry_count"), 1);
    EXPECT_EQ(service.at("error_count"), 0);
    EXPECT_EQ(service.at("last_seen"), "1790000000000000000");
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(
      call_json("/api/v1/routes", {{"service", "summary"}}),
      json_of(
          R"({"routes":[{"service":"summary","route":"/api/orders/", "name":"POST /api/orders/","count":1}]})"));
  const auto findings = call_json("/api/v1/findings", {{"service", "summary"}});
  ASSERT_EQ(findings.at("findings").as_array().size(), 1U);
  const auto& finding = findings.at_pointer("/findings/0").as_object();
  EXPECT_EQ(finding.at("label"), "SELECT FROM auth_user WHERE id = ?");
  EXPECT_EQ(finding.at("title"),
            "SELECT FROM auth_user WHERE id = ? ran 6 times in POST /api/orders/");
  EXPECT_EQ(finding.at("line"), 42);
  EXPECT_EQ(finding.at("trace_id"), text(to_hex(traces.request)));
}

TEST_F(ApiTest, BadInputIsNamed) {
  EXPECT_EQ(message_of(get("/api/v1/traces", {{"limit", "501"}}), 400),
            "the parameter limit='501' must be a number from 1 to 500");
  EXPECT_EQ(message_of(get("/api/v1/traces", {{"statsu", "ok"}}), 400)
                .find("there is no parameter 'statsu' at /api/v1/traces; it takes: service,route,"),
            0U);
  EXPECT_EQ(message_of(get("/api/v1/services", {{"x", "1"}}), 400),
            "there is no parameter 'x' at /api/v1/services; it takes: none");
  const std::vector<std::pair<std::string, std::string>> bad{
      {"status", "ko"},           {"http_status", "6xx"},
      {"http_status", "42"},      {"min_duration_ms", "-1"},
      {"min_duration_ms", "nan"}, {"max_duration_ms", "1e300"},
      {"start", "yesterday"},     {"end", "12.5"},
      {"before", "-4"},           {"before", "12-zz-1"},
      {"before", "12-3"},         {"trace_id", "xyz"},
      {"n_plus_one", "yes"},      {"kind", "server|client"},
      {"attribute", "novalue"},   {"limit", "ten"}};
  for (const auto& [name, value] : bad) {
    const std::string message = message_of(get("/api/v1/traces", {{name, value}}), 400);
    EXPECT_EQ(message.find("the parameter " + name + "='" + value + "' must be "), 0U) << message;
  }
  EXPECT_NE(message_of(get("/api/v1/traces/123"), 400).find("32 hexadecimal digits"),
            std::string::npos);
  EXPECT_NE(message_of(get("/api/v1/traces/" + std::string(32, '0')), 400).find("not all zero"),
            std::string::npos);
  const std::string unknown(32, 'f');
  EXPECT_NE(message_of(get("/api/v1/traces/" + unknown), 404).find(unknown), std::string::npos);
  EXPECT_NE(message_of(get("/api/v1/traces/" + unknown + "/tree"), 404).find(unknown),
            std::string::npos);
  message_of(get("/api/v1/nothing"), 404);
  message_of(get("/api/v1/traces/a/b"), 404);
  Request post = get("/api/v1/traces");
  post.method = "POST";
  EXPECT_NE(message_of(post, 405).find("GET"), std::string::npos);
}

TEST(ApiWithoutStore, StoreTroubleIsUnavailableAndReadyzTellsWhy) {
  struct Closed final : store::Store {
    Status insert(const store::SpanBlock&, std::string_view) override { return gone(); }
    Result<std::string> query(std::string_view, const store::Parameters&) override {
      return gone();
    }
    Status stream(std::string_view, const store::Parameters&,
                  const std::function<bool(std::string_view)>&) override {
      return gone();
    }
    static Error gone() { return {ErrorCode::kUnavailable, "the store library is missing"}; }
  } closed;
  const Api api(closed, {.status =
                             [] {
                               ServerStatus status;
                               status.store_error = "the store library is missing";
                               return status;
                             },
                         .recent = nullptr});
  for (const char* path : {"/api/v1/services", "/api/v1/routes", "/api/v1/traces",
                           "/api/v1/findings", "/api/v1/traces/0000000000000000000000000000000a"}) {
    const Response response = api.handle(get(path));
    EXPECT_EQ(response.status, 503) << path;
    EXPECT_EQ(boost::json::parse(response.body).at_pointer("/error/code"), "unavailable");
  }
  EXPECT_EQ(api.handle(get("/readyz")).status, 503);
  EXPECT_NE(api.handle(get("/readyz")).body.find("library is missing"), std::string::npos);
  EXPECT_EQ(api.handle(get("/healthz")).status, 200);
  EXPECT_EQ(api.handle(get("/api/v1/status")).status, 200);
}

}  // namespace
}  // namespace nuages::server
