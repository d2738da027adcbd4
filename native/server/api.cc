#include "server/api.h"

#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <limits>
#include <utility>

#include "base/log.h"
#include "server/api_routes.h"

namespace nuages::server {
namespace api {
namespace {

constexpr double kNanosecondsPerMillisecond = 1e6;

struct Route {
  std::string_view pattern;  // at most one {…}, a whole segment
  Response (*handler)(const Context&);
  std::string_view method = "GET";  // HEAD too
};

constexpr std::array<Route, 22> kRoutes{{
    {"/healthz", health},
    {"/readyz", readiness},
    {"/metrics", metrics},
    {"/api/v1/status", status},
    {"/api/v1/services", services},
    {"/api/v1/routes", routes},
    {"/api/v1/traces", traces},
    {"/api/v1/traces/{trace_id}", trace},
    {"/api/v1/traces/{trace_id}/tree", trace_tree},
    {"/api/v1/findings", findings},
    {"/api/v1/red", red},
    {"/api/v1/queries", queries},
    {"/api/v1/edges", edges},
    {"/api/v1/erasures", erase, "POST"},
    {"/api/v1/backups", make_backup, "POST"},
    {"/api/v1/checks", check, "POST"},
    {"/api/services", jaeger_services},
    {"/api/services/{service}/operations", jaeger_service_operations},
    {"/api/operations", jaeger_operations},
    {"/api/traces", jaeger_traces},
    {"/api/traces/{trace_id}", jaeger_trace},
    {"/api/dependencies", jaeger_dependencies},
}};

// Whether the path is the pattern's; the segment at {…} goes to `parameter`.
bool matches(std::string_view pattern, std::string_view path, std::string_view& parameter) {
  const size_t open = pattern.find('{');
  if (open == std::string_view::npos) return pattern == path;
  const std::string_view rest = pattern.substr(pattern.find('}') + 1);
  if (!path.starts_with(pattern.substr(0, open)) || path.size() < open + rest.size()) return false;
  parameter = path.substr(open, path.size() - open - rest.size());
  return path.ends_with(rest) && !parameter.empty() &&
         parameter.find('/') == std::string_view::npos;
}

int http_status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnavailable:
    case ErrorCode::kExhausted:
      return 503;
    case ErrorCode::kDenied:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

std::string_view name_of(int status) {
  return status == 400   ? "invalid"
         : status == 404 ? "not_found"
         : status == 503 ? "unavailable"
                         : "internal";
}

Response dispatch(store::Store& store, const ApiOptions& options, const Request& request) {
  for (const Route& route : kRoutes) {
    std::string_view parameter;
    if (!matches(route.pattern, request.path, parameter)) continue;
    // The connection leaves out the body of an answer to HEAD.
    if (request.method == route.method || (request.method == "HEAD" && route.method == "GET"))
      return route.handler({store, options, request, parameter});
    const std::string method(route.method);
    Response response = error_response(
        {ErrorCode::kInvalid, request.path + " answers " + method + ", not " + request.method});
    response.status = 405;
    response.headers.emplace_back("Allow", method);
    return response;
  }
  return error_response({ErrorCode::kNotFound, "there is nothing at " + request.path});
}

}  // namespace

Response error_response(const Error& error) {
  Response response;
  response.status = http_status_of(error.code);
  query::JsonWriter json;
  json.begin_object().key("error").begin_object();
  json.field("code", name_of(response.status)).field("message", std::string_view(error.message));
  json.end_object().end_object();
  response.body = json.take();
  if (response.status >= 500) log(LogLevel::kWarning, "api", error.message);
  return response;
}

Response json_response(query::JsonWriter writer) {
  Response response;
  response.body = writer.take();
  return response;
}

Response text_response(int status, std::string text) {
  Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

const std::string* Parameters::find(const char* name) {
  known_.append(known_.empty() ? "," : "").append(name).append(",");
  const auto found = request_.query.find(name);
  return found == request_.query.end() || found->second.empty() ? nullptr : &found->second;
}

void Parameters::refuse(const char* name, const std::string& expected) {
  if (error_) return;
  error_ = Error{ErrorCode::kInvalid, std::string("the parameter ") + name + "='" +
                                          request_.query.at(name) + "' must be " + expected};
}

std::string Parameters::text(const char* name) {
  const std::string* value = find(name);
  return value == nullptr ? std::string() : *value;
}

std::optional<bool> Parameters::boolean(const char* name) {
  const std::string value = choice(name, "true|false");
  if (value.empty()) return std::nullopt;
  return value == "true";
}

std::optional<int64_t> Parameters::nanoseconds(const char* name) {
  const std::string* value = find(name);
  if (value == nullptr) return std::nullopt;
  int64_t number = 0;
  const auto [end, failure] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (failure != std::errc() || end != value->data() + value->size() || number < 0) {
    refuse(name, "a time in Unix nanoseconds, for example 1700000000000000000");
    return std::nullopt;
  }
  return number;
}

std::optional<uint64_t> Parameters::milliseconds_as_ns(const char* name) {
  const std::string* value = find(name);
  if (value == nullptr) return std::nullopt;
  double number = 0;
  const auto [end, failure] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (failure != std::errc() || end != value->data() + value->size() || !(number >= 0) ||
      number > 1e12) {
    refuse(name, "a number of milliseconds, for example 250 or 0.5");
    return std::nullopt;
  }
  return static_cast<uint64_t>(std::llround(number * kNanosecondsPerMillisecond));
}

uint64_t Parameters::limit(uint64_t fallback, uint64_t most) {
  const std::string* value = find("limit");
  if (value == nullptr) return fallback;
  uint64_t number = 0;
  const auto [end, failure] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (failure != std::errc() || end != value->data() + value->size() || number < 1 ||
      number > most) {
    refuse("limit", "a number from 1 to " + std::to_string(most));
    return fallback;
  }
  return number;
}

std::string Parameters::choice(const char* name, const char* words) {
  const std::string* value = find(name);
  if (value == nullptr) return {};
  const std::string all = std::string("|").append(words).append("|");
  if (value->find('|') != std::string::npos ||
      all.find(std::string("|").append(*value).append("|")) == std::string::npos) {
    refuse(name, "one of " + std::string(words));
    return {};
  }
  return *value;
}

Status Parameters::finish() {
  for (const auto& [name, value] : request_.query) {
    if (error_) break;
    if (known_.find(std::string(",").append(name).append(",")) != std::string::npos) continue;
    const std::string list =
        known_.empty() ? std::string("none") : known_.substr(1, known_.size() - 2);
    std::string message = "there is no parameter '";
    message.append(name).append("' at ").append(request_.path).append("; it takes: ").append(list);
    error_ = Error{ErrorCode::kInvalid, std::move(message)};
  }
  if (error_) return *error_;
  return {};
}

std::string time_text(int64_t nanoseconds) { return std::to_string(nanoseconds); }

std::string id_or_empty(SpanId id) { return id == 0 ? std::string() : to_hex(id); }

}  // namespace api

Api::Api(store::Store& store, ApiOptions options) : store_(&store), options_(std::move(options)) {}

Response Api::handle(const Request& request) const {
  try {
    return api::dispatch(*store_, options_, request);
  } catch (const std::exception& failure) {
    return api::error_response(
        {ErrorCode::kInternal, "the request to " + request.path + " failed: " + failure.what()});
  }
}

std::vector<std::pair<std::string, std::string>> Api::routes() {
  std::vector<std::pair<std::string, std::string>> all;
  all.reserve(api::kRoutes.size());
  for (const auto& route : api::kRoutes) all.emplace_back(route.method, route.pattern);
  return all;
}

}  // namespace nuages::server
