// Jaeger's query API, so that its UI, Grafana and scripts work with this server.
#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <limits>
#include <optional>

#include "base/clock.h"
#include "query/jaeger.h"
#include "query/lists.h"
#include "server/api_routes.h"
#include "server/jaeger_json.h"

namespace nuages::server::api {
namespace {

constexpr int64_t kMicrosecond = 1000;
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kHour = 3'600'000'000'000;
constexpr int64_t kSearchBack = 48 * kHour;
constexpr int64_t kDependenciesBack = 24 * kHour;
constexpr uint64_t kDefaultLimit = 100;
constexpr uint64_t kMostTraces = 1500;
constexpr size_t kTracesPerRead = 20;

struct Problem {
  int code = 0;  // 0: as a whole, else an HTTP status
  std::string message;
  std::string trace_id;
};

Response answer(const std::string& data, size_t total, const std::vector<Problem>& problems) {
  query::JsonWriter json;
  json.begin_object().key("data").raw(data);
  json.field("total", total).field("limit", 0).field("offset", 0).key("errors");
  if (problems.empty()) {
    json.null();
  } else {
    json.begin_array();
    for (const Problem& problem : problems) {
      json.begin_object();
      if (problem.code != 0) json.field("code", problem.code);
      json.field("msg", std::string_view(problem.message));
      if (!problem.trace_id.empty()) json.field("traceID", std::string_view(problem.trace_id));
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
  Response response;
  response.body = json.take();
  return response;
}

Response failure(int status, std::string message) {
  Response response = answer("null", 0, {{status, std::move(message), {}}});
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";  // as Jaeger has it
  return response;
}

Response failure(const Error& error) {
  const int status = error.code == ErrorCode::kInvalid    ? 400
                     : error.code == ErrorCode::kNotFound ? 404
                     : error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kExhausted
                         ? 503
                         : 500;
  return failure(status, error.message);
}

Error invalid(const std::string& name, const std::string& value, const std::string& expected) {
  return {ErrorCode::kInvalid, "the parameter " + name + "='" + value + "' must be " + expected};
}

std::string parameter(const Context& context, const char* name) {
  const auto found = context.request.query.find(name);
  return found == context.request.query.end() ? std::string() : found->second;
}

Result<std::optional<int64_t>> whole_number(const Context& context, const char* name,
                                            int64_t unit) {
  const std::string text = parameter(context, name);
  if (text.empty()) return std::optional<int64_t>();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return invalid(name, text, "a whole number");
  }
  const int64_t most = std::numeric_limits<int64_t>::max() / unit;
  return std::optional<int64_t>(std::clamp(number, -most, most) * unit);
}

// "1.5ms", "2h45m": numbers with units, one after another.
std::optional<uint64_t> read_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  constexpr Unit kUnits[] = {{"ns", 1},   {"us", 1e3}, {"µs", 1e3}, {"μs", 1e3},
                             {"ms", 1e6}, {"s", 1e9},  {"m", 60e9}, {"h", 3600e9}};
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const Unit* found = nullptr;
    for (const Unit& unit : kUnits) {
      if (text.starts_with(unit.name) &&
          (found == nullptr || unit.name.size() > found->name.size())) {
        found = &unit;
      }
    }
    if (found == nullptr) return std::nullopt;
    text.remove_prefix(found->name.size());
    total += number * found->nanoseconds;
  }
  constexpr double kMost = 9e18;
  if (total > kMost) return std::nullopt;
  return static_cast<uint64_t>(total);
}

Result<std::optional<uint64_t>> duration(const Context& context, const char* name) {
  const std::string text = parameter(context, name);
  if (text.empty()) return std::optional<uint64_t>();
  const auto value = read_duration(text);
  if (!value) return invalid(name, text, "a duration with a unit, for example 250us, 1.2ms or 3s");
  return *value == 0 ? std::optional<uint64_t>() : value;
}

Status check_raw(const Context& context) {
  const std::string text = parameter(context, "raw");
  for (const char* word :
       {"", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"}) {
    if (text == word) return {};
  }
  return invalid("raw", text, "true or false");
}

// Up to 32 hexadecimal digits; short ones are the lower half.
Result<TraceId> read_trace_id(const std::string& text) {
  constexpr size_t kDigits = 32;
  if (text.size() <= kDigits && !text.empty()) {
    if (const auto id = trace_id_from_hex(std::string(kDigits - text.size(), '0') + text)) {
      return *id;
    }
  }
  return Error{ErrorCode::kInvalid,
               "the trace id '" + text + "' must be 1 to 32 hexadecimal digits, not all zero"};
}

std::vector<std::string> all_of(const Context& context, std::string_view name) {
  std::vector<std::string> out;
  for (const auto& [key, value] : context.request.query_list) {
    if (key == name) out.push_back(value);
  }
  return out;
}

// tag=key:value and tags={"key":"value"}, each any number of times.
Status read_tags(const Context& context, query::SpanSearch& search) {
  std::map<std::string, std::string> tags;
  for (const std::string& tag : all_of(context, "tag")) {
    const size_t colon = tag.find(':');
    if (colon == std::string::npos) return invalid("tag", tag, "key:value");
    tags[tag.substr(0, colon)] = tag.substr(colon + 1);
  }
  for (const std::string& text : all_of(context, "tags")) {
    const Error wrong = invalid("tags", text, R"(a JSON object of texts, for example {"k":"v"})");
    boost::system::error_code unreadable;
    const auto value = boost::json::parse(text, unreadable);
    const auto* object = unreadable ? nullptr : value.if_object();
    if (object == nullptr) return wrong;
    for (const auto& entry : *object) {
      const auto* word = entry.value().if_string();
      if (word == nullptr) return wrong;
      tags[std::string(entry.key().data(), entry.key().size())].assign(word->data(), word->size());
    }
  }
  for (auto& [key, value] : tags) {
    if (key == "error") {
      search.error = value == "true";
    } else {
      search.attributes.emplace_back(key, std::move(value));
    }
  }
  return {};
}

Result<query::SpanSearch> read_search(const Context& context) {
  query::SpanSearch search;
  search.service = parameter(context, "service");
  search.operation = parameter(context, "operation");
  const auto now = static_cast<int64_t>(wall_now());
  auto start = whole_number(context, "start", kMicrosecond);
  if (!start) return start.error();
  search.start = start->value_or(now - kSearchBack);
  auto end = whole_number(context, "end", kMicrosecond);
  if (!end) return end.error();
  search.end = end->value_or(now);
  if (Status good = read_tags(context, search); !good) return good.error();
  auto limit = whole_number(context, "limit", 1);
  if (!limit) return limit.error();
  const int64_t wanted = limit->value_or(kDefaultLimit);
  if (wanted < 1 || wanted > static_cast<int64_t>(kMostTraces)) {
    return invalid("limit", std::to_string(wanted), "from 1 to " + std::to_string(kMostTraces));
  }
  search.limit = static_cast<uint64_t>(wanted);
  auto least = duration(context, "minDuration");
  if (!least) return least.error();
  search.min_duration = *least;
  auto most = duration(context, "maxDuration");
  if (!most) return most.error();
  search.max_duration = *most;
  if (Status good = check_raw(context); !good) return good.error();
  if (search.service.empty()) {
    return Error{ErrorCode::kInvalid, "the parameter service is required (or traceID)"};
  }
  if (search.min_duration && search.max_duration && *search.max_duration < *search.min_duration) {
    return Error{ErrorCode::kInvalid, "maxDuration must be at least minDuration"};
  }
  return search;
}

enum class Missing { kLeftOut, kProblem, kNotFound };

// Traces in the order of `ids`.
Response traces_answer(const Context& context, const std::vector<TraceId>& ids, Missing missing) {
  query::JsonWriter json;
  json.begin_array();
  std::vector<Problem> problems;
  for (size_t at = 0; at < ids.size(); at += kTracesPerRead) {
    const std::vector<TraceId> part(
        ids.begin() + static_cast<std::ptrdiff_t>(at),
        ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + kTracesPerRead)));
    auto data = query::read_traces(context.source(), part);
    if (!data) return failure(data.error());
    for (const TraceId id : part) {
      std::vector<const query::SpanRecord*> spans;
      for (const auto& span : data->spans) {
        if (span.trace_id == id) spans.push_back(&span);
      }
      if (!spans.empty()) {
        jaeger::write_trace(json, spans, data->resources);
      } else if (missing == Missing::kNotFound) {
        return failure(404, "trace not found");
      } else if (missing == Missing::kProblem) {
        problems.push_back({0, "trace not found", jaeger::trace_id_text(id)});
      }
    }
    if (data->truncated) {
      problems.push_back(
          {0,
           "the answer holds only the first " + std::to_string(query::kMaxSpansPerRead) + " spans",
           {}});
    }
  }
  json.end_array();
  return answer(json.take(), 0, problems);
}

Result<std::optional<uint8_t>> read_kind(const std::string& text) {
  if (text.empty()) return std::optional<uint8_t>();
  for (uint8_t kind = 0; kind <= query::kConsumer; ++kind) {
    if (query::kind_name(kind) == text) return std::optional<uint8_t>(kind);
  }
  return invalid("spanKind", text, "internal, server, client, producer, consumer or unspecified");
}

}  // namespace

Response jaeger_services(const Context& context) {
  auto rows = query::list_services(context.store);
  if (!rows) return failure(rows.error());
  query::JsonWriter json;
  json.begin_array();
  for (const auto& row : *rows) json.string(row.name);
  json.end_array();
  return answer(rows->empty() ? "null" : json.take(), rows->size(), {});
}

Response jaeger_service_operations(const Context& context) {
  auto rows = query::list_operations(context.store, std::string(context.path_parameter), {});
  if (!rows) return failure(rows.error());
  std::vector<std::string> names;
  for (auto& row : *rows) {
    if (names.empty() || names.back() != row.name) names.push_back(std::move(row.name));
  }
  query::JsonWriter json;
  json.begin_array();
  for (const auto& name : names) json.string(name);
  json.end_array();
  return answer(names.empty() ? "null" : json.take(), names.size(), {});
}

Response jaeger_operations(const Context& context) {
  const std::string service = parameter(context, "service");
  if (service.empty()) return failure(400, "the parameter service is required");
  auto kind = read_kind(parameter(context, "spanKind"));
  if (!kind) return failure(kind.error());
  auto rows = query::list_operations(context.store, service, *kind);
  if (!rows) return failure(rows.error());
  query::JsonWriter json;
  json.begin_array();
  for (const auto& row : *rows) {
    json.begin_object().field("name", std::string_view(row.name));
    json.field("spanKind", jaeger::kind_text(row.kind)).end_object();
  }
  json.end_array();
  return answer(json.take(), rows->size(), {});
}

Response jaeger_trace(const Context& context) {
  auto id = read_trace_id(std::string(context.path_parameter));
  if (!id) return failure(id.error());
  if (Status good = check_raw(context); !good) return failure(good.error());
  return traces_answer(context, {*id}, Missing::kNotFound);
}

Response jaeger_traces(const Context& context) {
  if (const auto wanted = all_of(context, "traceID"); !wanted.empty()) {
    std::vector<TraceId> ids;
    for (const std::string& text : wanted) {
      auto id = read_trace_id(text);
      if (!id) return failure(id.error());
      ids.push_back(*id);
    }
    if (ids.size() > kMostTraces) {
      return failure(400, "more than " + std::to_string(kMostTraces) + " trace ids");
    }
    return traces_answer(context, ids, Missing::kProblem);
  }
  auto search = read_search(context);
  if (!search) return failure(search.error());
  auto ids = query::find_traces(context.store, *search);
  if (!ids) return failure(ids.error());
  return traces_answer(context, *ids, Missing::kLeftOut);
}

Response jaeger_dependencies(const Context& context) {
  auto end = whole_number(context, "endTs", kMillisecond);
  if (!end) return failure(end.error());
  auto back = whole_number(context, "lookback", kMillisecond);
  if (!back) return failure(back.error());
  const int64_t until = end->value_or(static_cast<int64_t>(wall_now()));
  const int64_t span = std::max<int64_t>(0, back->value_or(kDependenciesBack));
  const int64_t from = until < std::numeric_limits<int64_t>::min() + span
                           ? std::numeric_limits<int64_t>::min()
                           : until - span;
  auto calls =
      query::count_calls(context.store, std::max<int64_t>(0, from), std::max<int64_t>(0, until));
  if (!calls) return failure(calls.error());
  const std::string service = parameter(context, "service");
  query::JsonWriter json;
  json.begin_array();
  for (const auto& call : *calls) {
    if (!service.empty() && call.parent != service && call.child != service) continue;
    json.begin_object().field("parent", std::string_view(call.parent));
    json.field("child", std::string_view(call.child)).field("callCount", call.count).end_object();
  }
  json.end_array();
  return answer(json.take(), 0, {});
}

}  // namespace nuages::server::api
