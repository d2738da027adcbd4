#include "query/span_record.h"

#include <array>

#include "store/attribute_text.h"
#include "store/promoted.h"

namespace nuages::query {
namespace {

std::string quoted(std::string_view text) {
  std::string out;
  store::append_json_string(out, text);
  return out;
}

std::string promoted_value(const SpanRecord& span, store::Field field) {
  using store::Field;
  switch (field) {
    case Field::kHttpMethod:
      return quoted(span.http_method);
    case Field::kHttpRoute:
      return quoted(span.http_route);
    case Field::kHttpStatus:
      return std::to_string(span.http_status);
    case Field::kDbSystem:
      return quoted(span.db_system);
    case Field::kDbName:
      return quoted(span.db_name);
    case Field::kDbOperation:
      return quoted(span.db_operation);
    case Field::kDbTable:
      return quoted(span.db_table);
    case Field::kStatement:
      return quoted(span.statement);
    case Field::kFingerprint:
      return std::to_string(static_cast<int64_t>(span.fingerprint));
    case Field::kSqlLabel:
      return quoted(span.sql_label);
    case Field::kCodeFile:
      return quoted(span.code_file);
    case Field::kCodeFunction:
      return quoted(span.code_function);
    case Field::kCodeLine:
      return std::to_string(span.code_line);
    case Field::kTask:
      return quoted(span.task);
    case Field::kQueue:
      return quoted(span.queue);
    case Field::kNuagesKind:
      return quoted(span.nuages_kind);
    case Field::kQueryCount:
      return std::to_string(span.query_count);
    case Field::kNPlusOne:
      return span.n_plus_one ? "true" : "false";
    case Field::kMaxRepetitions:
      return std::to_string(span.max_repetitions);
  }
  return "null";
}

}  // namespace

std::string_view kind_name(uint8_t kind) {
  constexpr std::array<std::string_view, 6> kNames{"unspecified", "internal", "server",
                                                   "client",      "producer", "consumer"};
  return kind < kNames.size() ? kNames[kind] : kNames[0];
}

std::string_view status_name(uint8_t status) {
  constexpr std::array<std::string_view, 3> kNames{"unset", "ok", "error"};
  return status < kNames.size() ? kNames[status] : kNames[0];
}

std::string display_label(const SpanRecord& span) {
  if (!span.sql_label.empty()) return span.sql_label;
  if (span.kind == kConsumer && !span.task.empty()) {
    return "Celery Task: " + span.task.substr(span.task.rfind('.') + 1);
  }
  return span.name;
}

void rebuild_attributes(SpanRecord& span, std::string_view promoted, std::string_view lines) {
  while (!promoted.empty()) {
    const size_t end = promoted.find(',');
    const std::string_view key = promoted.substr(0, end);
    promoted.remove_prefix(end == std::string_view::npos ? promoted.size() : end + 1);
    if (const auto field = store::promoted_field(key)) {
      span.attributes.emplace_back(key, promoted_value(span, *field));
    }
  }
  store::read_attribute_lines(lines, [&](std::string_view key, std::string_view json) {
    span.attributes.emplace_back(key, json);
  });
}

SpanRecord record_from_block(const store::SpanBlock& block, uint32_t row) {
  SpanRecord span;
  span.trace_id = block.trace_id[row];
  span.span_id = block.span_id[row];
  span.parent_id = block.parent_id[row];
  span.start = block.ts[row];
  span.duration = block.duration[row];
  span.kind = block.kind[row];
  span.status = block.status[row];
  span.entry = block.entry[row] != 0;
  span.name = block.name.at(row);
  span.status_message = block.status_message.at(row);
  span.service = block.service.at(row);
  span.scope = block.scope.at(row);
  span.resource = block.resource[row];
  span.http_method = block.http_method.at(row);
  span.http_route = block.http_route.at(row);
  span.http_status = block.http_status[row];
  span.db_system = block.db_system.at(row);
  span.db_name = block.db_name.at(row);
  span.db_operation = block.db_operation.at(row);
  span.db_table = block.db_table.at(row);
  span.fingerprint = block.fingerprint[row];
  if (const auto found = block.statements.find(span.fingerprint);
      span.fingerprint != 0 && found != block.statements.end()) {
    span.statement = found->second.text;
    span.sql_label = found->second.label;
  }
  span.code_file = block.code_file.at(row);
  span.code_function = block.code_function.at(row);
  span.code_line = block.code_line[row];
  span.task = block.task.at(row);
  span.queue = block.queue.at(row);
  span.nuages_kind = block.nuages_kind.at(row);
  span.query_count = block.query_count[row];
  span.n_plus_one = block.n_plus_one[row] != 0;
  span.max_repetitions = block.max_repetitions[row];
  span.events = block.events.at(row);
  span.links_json = block.links.at(row);
  span.extra = block.extra.at(row);
  for (uint64_t i = row == 0 ? 0 : block.link_ends[row - 1]; i < block.link_ends[row]; ++i) {
    span.links.push_back({block.link_trace_id[i], block.link_span_id[i]});
  }
  rebuild_attributes(span, block.promoted.at(row), block.attributes.at(row));
  return span;
}

}  // namespace nuages::query
