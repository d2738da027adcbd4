// The routes behind server/api.h, one function each, and what they share: reading parameters and
// writing answers. Only api*.cc files include this. Functions are stateless; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "query/json_writer.h"
#include "query/trace_reader.h"
#include "server/api.h"
#include "server/http_types.h"

namespace nuages::server::api {

struct Context {
  store::Store& store;
  const ApiOptions& options;
  const Request& request;
  std::string_view path_parameter;  // of the route's {…}, if it has one

  query::Source source() const { return {&store, options.recent}; }
};

Response error_response(const Error& error);
Response json_response(query::JsonWriter writer);
Response text_response(int status, std::string text);

// Reads query parameters and remembers the first thing that is wrong. An empty value counts as not
// given. Call finish() last: it also refuses parameters that were never asked for.
class Parameters {
 public:
  explicit Parameters(const Request& request) : request_(request) {}

  std::string text(const char* name);
  std::optional<bool> boolean(const char* name);
  std::optional<int64_t> nanoseconds(const char* name);          // a time
  std::optional<uint64_t> milliseconds_as_ns(const char* name);  // a duration, decimals allowed
  uint64_t limit(uint64_t fallback, uint64_t most);
  // One of the words, separated by '|'.
  std::string choice(const char* name, const char* words);
  void refuse(const char* name, const std::string& expected);

  Status finish();

 private:
  const std::string* find(const char* name);

  const Request& request_;
  std::string known_;  // names asked for, each between commas
  std::optional<Error> error_;
};

// Text of a time as the API writes it: decimal nanoseconds.
std::string time_text(int64_t nanoseconds);
std::string id_or_empty(SpanId id);

Response status(const Context& context);  // api_status.cc
Response health(const Context& context);
Response readiness(const Context& context);
Response metrics(const Context& context);
Response services(const Context& context);  // api_lists.cc
Response routes(const Context& context);
Response traces(const Context& context);
Response findings(const Context& context);
Response red(const Context& context);  // api_insight.cc
Response queries(const Context& context);
Response edges(const Context& context);
Response erase(const Context& context);  // api_admin.cc
Response make_backup(const Context& context);
Response check(const Context& context);
Response trace(const Context& context);  // api_trace.cc
Response trace_tree(const Context& context);
Response jaeger_services(const Context& context);  // api_jaeger.cc
Response jaeger_service_operations(const Context& context);
Response jaeger_operations(const Context& context);
Response jaeger_traces(const Context& context);
Response jaeger_trace(const Context& context);
Response jaeger_dependencies(const Context& context);

}  // namespace nuages::server::api
