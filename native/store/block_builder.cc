#include "store/block_builder.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>

#include "store/attribute_text.h"
#include "store/promoted.h"

namespace nuages::store {
namespace {

constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint64_t kLatestStart =
    std::numeric_limits<uint32_t>::max() * kNanosecondsPerSecond;  // 2106-02-07
constexpr uint32_t kRemoteFlags = 0x300;  // OTLP span flags: parent known to be remote

// These keep commands or documents in db.statement, not SQL.
constexpr std::string_view kNotSql[] = {
    "redis", "mongodb", "memcached", "elasticsearch", "dynamodb", "couchdb",      "opensearch",
    "neo4j", "hbase",   "geode",     "aws.dynamodb",  "valkey",   "gcp.firestore"};

bool speaks_sql(std::string_view system) {
  return std::find(std::begin(kNotSql), std::end(kNotSql), system) == std::end(kNotSql);
}

bool fits(Field field, const wire::Value& value) {
  const bool number = value.type == wire::ValueType::kInt;
  switch (field) {
    case Field::kHttpStatus:
      return number && value.integer > 0 && value.integer <= std::numeric_limits<uint16_t>::max();
    case Field::kFingerprint:
      return number && value.integer != 0;
    case Field::kCodeLine:
    case Field::kMaxRepetitions:
      return number && value.integer >= 0 && value.integer <= std::numeric_limits<uint32_t>::max();
    case Field::kQueryCount:
      return number && value.integer >= 0 && value.integer <= std::numeric_limits<int32_t>::max();
    case Field::kNPlusOne:
      return value.type == wire::ValueType::kBool;
    default:
      return value.type == wire::ValueType::kString;
  }
}

std::string_view find_text(const std::vector<wire::KeyValue>& attributes, std::string_view key) {
  for (const auto& attribute : attributes) {
    if (attribute.key == key && attribute.value.type == wire::ValueType::kString) {
      return attribute.value.text;
    }
  }
  return {};
}

void append_count(std::string& out, std::string_view key, uint32_t count) {
  if (count == 0) return;
  out += out.back() == '{' ? "\"" : ",\"";
  out += key;
  out += "\":";
  out += std::to_string(count);
}

}  // namespace

// What one span gives to columns. Views point into the span.
struct BlockBuilder::Promotion {
  std::array<std::string_view, kFields> text{};
  std::array<int64_t, kFields> number{};  // booleans as 0 and 1
  std::array<bool, kFields> has{};

  std::string_view text_of(Field field) const { return text[static_cast<size_t>(field)]; }
  int64_t number_of(Field field) const { return number[static_cast<size_t>(field)]; }
  bool has_field(Field field) const { return has[static_cast<size_t>(field)]; }

  // False when the column holds another value already, or cannot hold this one.
  bool take(Field field, const wire::Value& value) {
    if (!fits(field, value)) return false;
    const auto i = static_cast<size_t>(field);
    const int64_t as_number =
        value.type == wire::ValueType::kBool ? int64_t{value.boolean} : value.integer;
    if (has[i]) return text[i] == value.text && number[i] == as_number;
    has[i] = true;
    text[i] = value.text;
    number[i] = as_number;
    return true;
  }
};

void BlockBuilder::set_receive_time(uint64_t unix_ns) {
  received_seconds_ =
      static_cast<uint32_t>(std::min(unix_ns, kLatestStart) / kNanosecondsPerSecond);
}

void BlockBuilder::set_block(SpanBlock& block) {
  block_ = &block;
  resource_kept_ = false;
}

void BlockBuilder::on_resource(const wire::Resource& resource) {
  resource_attributes_.clear();
  for (const auto& attribute : resource.attributes) {
    append_attribute_line(resource_attributes_, 0, attribute.key, attribute.value);
  }
  resource_hash_ = XXH3_64bits(resource_attributes_.data(), resource_attributes_.size());
  resource_kept_ = false;
  service_ = find_text(resource.attributes, "service.name");
  if (service_.empty()) service_ = "unknown_service";
  environment_ = find_text(resource.attributes, "deployment.environment.name");
  if (environment_.empty()) {
    environment_ = find_text(resource.attributes, "deployment.environment");
  }
  scope_.clear();
}

void BlockBuilder::on_scope(const wire::Scope& scope) {
  scope_ = scope.name;
  if (!scope.version.empty()) scope_.append("@").append(scope.version);
}

void BlockBuilder::keep_resource() {
  if (resource_kept_) return;
  resource_kept_ = true;
  const auto added =
      block_->resources.try_emplace(resource_hash_, ResourceRow{service_, resource_attributes_});
  if (added.second) block_->side_bytes += service_.size() + resource_attributes_.size();
}

void BlockBuilder::on_span(const wire::Span& span) {
  keep_resource();
  const uint64_t start = std::min(span.start_ns, kLatestStart);
  block_->trace_id.push_back(span.trace_id);
  block_->span_id.push_back(span.span_id);
  block_->parent_id.push_back(span.parent_id);
  block_->ts.push_back(static_cast<int64_t>(start));
  block_->duration.push_back(span.end_ns > span.start_ns ? span.end_ns - span.start_ns : 0);
  block_->kind.push_back(static_cast<uint8_t>(span.kind));
  block_->status.push_back(static_cast<uint8_t>(span.status));
  const bool entry = span.kind == wire::SpanKind::kServer ||
                     span.kind == wire::SpanKind::kConsumer || span.parent_id == 0 ||
                     (span.flags & kRemoteFlags) == kRemoteFlags;
  block_->entry.push_back(entry ? 1 : 0);
  block_->received.push_back(received_seconds_);
  block_->service.append(service_);
  block_->environment.append(environment_);
  block_->scope.append(scope_);
  block_->resource.push_back(resource_hash_);
  block_->name.append(span.name);
  block_->status_message.append(span.status_message);
  append_attributes(span);
  append_events(span);
  append_links(span);
  append_extra(span);
}

void BlockBuilder::append_attributes(const wire::Span& span) {
  Promotion promotion;
  promoted_keys_.clear();
  std::string& lines = block_->attributes.buffer();
  const size_t begin = lines.size();
  auto promote = [&](std::string_view key) {
    if (!promoted_keys_.empty()) promoted_keys_ += ',';
    promoted_keys_ += key;
  };
  // The three SQL fields depend on each other and on the system, so they come second.
  auto is_sql = [](Field field) {
    return field == Field::kStatement || field == Field::kFingerprint || field == Field::kSqlLabel;
  };
  bool has_sql = false;
  for (const auto& [key, value] : span.attributes) {
    const auto field = promoted_field(key);
    if (field && is_sql(*field)) {
      has_sql = true;
    } else if (field && promotion.take(*field, value)) {
      promote(key);
    } else {
      append_attribute_line(lines, begin, key, value);
    }
  }
  uint64_t fingerprint = 0;
  if (has_sql) {
    Promotion all = promotion;
    for (const auto& [key, value] : span.attributes) {
      const auto field = promoted_field(key);
      if (field && is_sql(*field)) all.take(*field, value);
    }
    fingerprint = keep_statement(all);
    for (const auto& [key, value] : span.attributes) {
      const auto field = promoted_field(key);
      if (!field || !is_sql(*field)) continue;
      if (fingerprint != 0 && all.has_field(*field) && all.take(*field, value)) {
        promote(key);
      } else {
        append_attribute_line(lines, begin, key, value);
      }
    }
    promotion = all;
  }
  block_->attributes.finish();
  append_columns(promotion, fingerprint);
}

// Returns the fingerprint, or 0 when the span holds no SQL. Takes a label that is not the kept one
// out of the promotion, so that it stays an attribute.
uint64_t BlockBuilder::keep_statement(Promotion& promotion) {
  const std::string_view text = promotion.text_of(Field::kStatement);
  const std::string_view system = promotion.text_of(Field::kDbSystem);
  auto fingerprint = static_cast<uint64_t>(promotion.number_of(Field::kFingerprint));
  if (!speaks_sql(system) || (text.empty() && fingerprint == 0)) return 0;
  const sql::Dialect dialect = sql::dialect_from_system(system);
  std::shared_ptr<const sql::Statement> analyzed;
  if (fingerprint == 0) {
    analyzed = statements_.get(text, dialect);
    fingerprint = analyzed->fingerprint;
  }
  const std::string_view label = promotion.text_of(Field::kSqlLabel);
  auto found = block_->statements.find(fingerprint);
  if (found == block_->statements.end() && !text.empty()) {
    if (!analyzed) analyzed = statements_.get(text, dialect);
    SqlTextRow row{.text = analyzed->clean ? std::string(text) : sql::sanitize(text, dialect),
                   .label = std::string(label.empty() ? analyzed->label : label)};
    block_->side_bytes += row.text.size() + row.label.size();
    found = block_->statements.emplace(fingerprint, std::move(row)).first;
  }
  const bool known = found != block_->statements.end();
  if (!known || found->second.label != label) {
    promotion.has[static_cast<size_t>(Field::kSqlLabel)] = false;
  }
  return fingerprint;
}

void BlockBuilder::append_columns(const Promotion& promotion, uint64_t fingerprint) {
  block_->http_method.append(promotion.text_of(Field::kHttpMethod));
  block_->http_route.append(promotion.text_of(Field::kHttpRoute));
  block_->http_status.push_back(static_cast<uint16_t>(promotion.number_of(Field::kHttpStatus)));
  block_->db_system.append(promotion.text_of(Field::kDbSystem));
  block_->db_name.append(promotion.text_of(Field::kDbName));
  block_->db_operation.append(promotion.text_of(Field::kDbOperation));
  block_->db_table.append(promotion.text_of(Field::kDbTable));
  block_->fingerprint.push_back(fingerprint);
  block_->code_file.append(promotion.text_of(Field::kCodeFile));
  block_->code_function.append(promotion.text_of(Field::kCodeFunction));
  block_->code_line.push_back(static_cast<uint32_t>(promotion.number_of(Field::kCodeLine)));
  block_->task.append(promotion.text_of(Field::kTask));
  block_->queue.append(promotion.text_of(Field::kQueue));
  block_->nuages_kind.append(promotion.text_of(Field::kNuagesKind));
  block_->query_count.push_back(promotion.has_field(Field::kQueryCount)
                                    ? static_cast<int32_t>(promotion.number_of(Field::kQueryCount))
                                    : -1);
  block_->n_plus_one.push_back(static_cast<uint8_t>(promotion.number_of(Field::kNPlusOne)));
  block_->max_repetitions.push_back(
      static_cast<uint32_t>(promotion.number_of(Field::kMaxRepetitions)));
  block_->promoted.append(promoted_keys_);
}

void BlockBuilder::append_events(const wire::Span& span) {
  std::string_view exception_type;
  std::string& out = block_->events.buffer();
  char separator = '[';
  for (const auto& event : span.events) {
    out += separator;
    separator = ',';
    out += R"({"time":")";
    out += std::to_string(event.time_ns);
    out += R"(","name":)";
    append_json_string(out, event.name);
    out += R"(,"attributes":)";
    append_json_object(out, event.attributes);
    if (event.dropped_attributes > 0) {
      out += R"(,"dropped_attributes":)";
      out += std::to_string(event.dropped_attributes);
    }
    out += '}';
    if (exception_type.empty() && event.name == "exception") {
      exception_type = find_text(event.attributes, "exception.type");
    }
  }
  if (!span.events.empty()) out += ']';
  block_->events.finish();
  block_->exception_type.append(exception_type);
}

void BlockBuilder::append_links(const wire::Span& span) {
  std::string& out = block_->links.buffer();
  char separator = '[';
  for (const auto& link : span.links) {
    block_->link_trace_id.push_back(link.trace_id);
    block_->link_span_id.push_back(link.span_id);
    out += separator;
    separator = ',';
    out += R"({"trace_id":")" + to_hex(link.trace_id) + R"(","span_id":")" + to_hex(link.span_id) +
           R"(","attributes":)";
    append_json_object(out, link.attributes);
    if (!link.trace_state.empty()) {
      out += R"(,"trace_state":)";
      append_json_string(out, link.trace_state);
    }
    if (link.dropped_attributes > 0) {
      out += R"(,"dropped_attributes":)";
      out += std::to_string(link.dropped_attributes);
    }
    out += '}';
  }
  if (!span.links.empty()) out += ']';
  block_->links.finish();
  block_->link_ends.push_back(block_->link_trace_id.size());
}

void BlockBuilder::append_extra(const wire::Span& span) {
  const bool any = !span.trace_state.empty() || span.dropped_attributes > 0 ||
                   span.dropped_events > 0 || span.dropped_links > 0;
  if (any) {
    std::string& out = block_->extra.buffer();
    out += '{';
    if (!span.trace_state.empty()) {
      out += R"("trace_state":)";
      append_json_string(out, span.trace_state);
    }
    append_count(out, "dropped_attributes", span.dropped_attributes);
    append_count(out, "dropped_events", span.dropped_events);
    append_count(out, "dropped_links", span.dropped_links);
    out += '}';
  }
  block_->extra.finish();
}

}  // namespace nuages::store
