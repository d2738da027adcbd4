// One span as the API shows it: read from the store or from a block not yet inserted.
//
// Plain data with everything the span was sent with: attributes are in their original names again,
// values as JSON text. Owns its strings; free to copy between threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "store/span_block.h"

namespace nuages::query {

// OTLP numbers.
inline constexpr uint8_t kServer = 2;
inline constexpr uint8_t kClient = 3;
inline constexpr uint8_t kProducer = 4;
inline constexpr uint8_t kConsumer = 5;
inline constexpr uint8_t kStatusError = 2;

std::string_view kind_name(uint8_t kind);      // "server", ..., "unspecified"
std::string_view status_name(uint8_t status);  // "unset", "ok", "error"

struct LinkRecord {
  TraceId trace_id;
  SpanId span_id = 0;
};

struct SpanRecord {
  TraceId trace_id;
  SpanId span_id = 0;
  SpanId parent_id = 0;
  int64_t start = 0;  // Unix nanoseconds
  uint64_t duration = 0;
  uint8_t kind = 0;
  uint8_t status = 0;
  bool entry = false;
  std::string name;
  std::string status_message;
  std::string service;
  std::string scope;
  uint64_t resource = 0;  // content hash
  std::string http_method, http_route;
  uint16_t http_status = 0;
  std::string db_system, db_name, db_operation, db_table;
  uint64_t fingerprint = 0;
  std::string statement, sql_label;  // without literals
  std::string code_file, code_function;
  uint32_t code_line = 0;
  std::string task, queue, nuages_kind;
  int32_t query_count = -1;
  bool n_plus_one = false;
  uint32_t max_repetitions = 0;
  std::vector<std::pair<std::string, std::string>> attributes;  // key, JSON
  std::string events;                                           // JSON array or empty
  std::string links_json;                                       // JSON array or empty
  std::string extra;                                            // JSON object or empty
  std::vector<LinkRecord> links;

  int64_t end() const { return start + static_cast<int64_t>(duration); }
};

// What trees and lists call the span: the SQL label, "Celery Task: process_order" for a task, else
// its name.
std::string display_label(const SpanRecord& span);

SpanRecord record_from_block(const store::SpanBlock& block, uint32_t row);

// Puts the attributes of a row together: `promoted` names those that columns hold, `lines` has the
// others. Needs all columns of the record set.
void rebuild_attributes(SpanRecord& span, std::string_view promoted, std::string_view lines);

}  // namespace nuages::query
