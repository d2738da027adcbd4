#include "base/clock.h"
#include "server/api_routes.h"

namespace nuages::server::api {
namespace {

constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

Response status(const Context& context) {
  Parameters parameters(context.request);
  if (Status good = parameters.finish(); !good) return error_response(good.error());
  const ServerStatus now = context.options.status();
  const uint64_t wall = wall_now();
  query::JsonWriter json;
  json.begin_object().field("version", std::string_view(now.version));
  json.key("store").begin_object();
  json.field("kind", std::string_view(now.store_kind));
  json.field("version", std::string_view(now.store_version));
  json.field("ready", now.store_ready).field("error", std::string_view(now.store_error));
  json.end_object();
  json.key("received").begin_object();
  json.field("spans", now.received_spans).field("rejected", now.rejected_spans);
  json.field("repeated", now.repeated_spans).end_object();
  json.key("wal").begin_object();
  json.field("segments", now.wal_segments).field("bytes", now.wal_bytes).end_object();
  json.field("start_time", std::string_view(time_text(static_cast<int64_t>(now.start_time_ns))));
  json.field("uptime_seconds",
             wall > now.start_time_ns ? (wall - now.start_time_ns) / kNanosecondsPerSecond : 0);
  json.end_object();
  return json_response(std::move(json));
}

Response health(const Context&) { return text_response(200, "ok\n"); }

Response readiness(const Context& context) {
  const ServerStatus now = context.options.status();
  if (now.store_ready) return text_response(200, "ready\n");
  return text_response(
      503,
      "not ready: " + (now.store_error.empty() ? "the store is opening" : now.store_error) + "\n");
}

}  // namespace nuages::server::api
