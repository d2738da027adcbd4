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
  json.field("bytes", now.store_bytes).field("waiting_blocks", now.waiting_blocks);
  json.field("split_blocks", now.split_blocks).field("quarantined_blocks", now.quarantined_blocks);
  json.field("dropped_partitions", now.dropped_partitions);
  json.field("disk_free_bytes", now.disk_free_bytes);
  json.field("disk_full_seconds", now.disk_full_seconds);
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

Response metrics(const Context& context) {
  struct Metric {
    const char* name;
    const char* type;
    const char* help;
    uint64_t value;
  };
  const ServerStatus now = context.options.status();
  const Metric list[] = {
      {"nuages_received_spans_total", "counter", "Spans acknowledged.", now.received_spans},
      {"nuages_rejected_spans_total", "counter", "Spans refused as malformed.", now.rejected_spans},
      {"nuages_repeated_spans_total", "counter", "Spans sent again and not stored again.",
       now.repeated_spans},
      {"nuages_dropped_log_records_total", "counter", "Log records received and not kept.",
       now.dropped_log_records},
      {"nuages_dropped_data_points_total", "counter", "Metric data points received and not kept.",
       now.dropped_data_points},
      {"nuages_inserted_spans_total", "counter", "Spans written to the store.", now.inserted_spans},
      {"nuages_split_blocks_total", "counter", "Blocks too large for the store's memory.",
       now.split_blocks},
      {"nuages_quarantined_blocks_total", "counter", "Blocks set aside in wal/quarantine.",
       now.quarantined_blocks},
      {"nuages_dropped_partitions_total", "counter", "Days deleted by retention.",
       now.dropped_partitions},
      {"nuages_waiting_blocks", "gauge", "Blocks not yet in the store.", now.waiting_blocks},
      {"nuages_wal_segments", "gauge", "Files of the write-ahead log.", now.wal_segments},
      {"nuages_wal_bytes", "gauge", "Size of the write-ahead log.", now.wal_bytes},
      {"nuages_store_bytes", "gauge", "Size of the store's tables.", now.store_bytes},
      {"nuages_disk_free_bytes", "gauge", "Free space of the data folder's disk.",
       now.disk_free_bytes},
      {"nuages_disk_full_seconds", "gauge",
       "Until the disk is full at the growth of the last hour; 0: not in sight.",
       now.disk_full_seconds},
      {"nuages_store_ready", "gauge", "1 when the last insert succeeded.",
       uint64_t{now.store_ready}},
      {"nuages_start_time_seconds", "gauge", "Start of the process, Unix time.",
       now.start_time_ns / kNanosecondsPerSecond},
  };
  std::string out;
  for (const Metric& metric : list) {
    out.append("# HELP ").append(metric.name).append(" ").append(metric.help);
    out.append("\n# TYPE ").append(metric.name).append(" ").append(metric.type).append("\n");
    out.append(metric.name).append(" ").append(std::to_string(metric.value)).append("\n");
  }
  if (context.options.more_metrics) out += context.options.more_metrics();
  Response response = text_response(200, std::move(out));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
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
