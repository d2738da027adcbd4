#include "export/batch_encoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/ids.h"
#include "trace/scope.h"

namespace nuages::exporter {
namespace {

constexpr size_t kKeptCapacity = 4U << 20;  // of the request buffer between batches
constexpr uint32_t kRemoteKnown = 0x100;
constexpr uint32_t kIsRemote = 0x200;

constexpr size_t kAhead = 2;  // records to fetch before they are read

// Another core has written the records: without this every cache line is waited for.
void prefetch(std::string_view record) {
  constexpr size_t kLine = 64;
  constexpr size_t kMost = 512;
  for (size_t i = 0; i < std::min(record.size(), kMost); i += kLine) {
    __builtin_prefetch(record.data() + i);
  }
}

std::string_view database_system(const trace::RecordView& record) {
  for (const trace::AttributeView& each : record.attributes()) {
    if (each.key == "db.system" || each.key == "db.system.name") return each.value.text;
  }
  return {};
}

// What keys look like: no rule of ours can match.
bool plain(std::string_view key) {
  using Block = uint8_t __attribute__((vector_size(16)));
  using Halves = uint64_t __attribute__((vector_size(16)));
  constexpr uint8_t kFirst = 'A';
  constexpr uint8_t kLetters = 'z' - 'A' + 1;  // and [\]^_`
  const auto others = [](const Block& block) {
    const Block offset = block - kFirst;
    const auto found = reinterpret_cast<Halves>((offset >= kLetters) & (block != uint8_t{'.'}));
    return found[0] | found[1];
  };
  Block block{};
  if (key.size() >= sizeof block) {
    uint64_t found = 0;
    for (size_t i = 0; i + sizeof block <= key.size(); i += sizeof block) {
      std::memcpy(&block, key.data() + i, sizeof block);
      found |= others(block);
    }
    std::memcpy(&block, key.data() + key.size() - sizeof block, sizeof block);
    return (found | others(block)) == 0;
  }
  if (key.size() >= 8) {
    uint64_t ends[2];
    std::memcpy(&ends[0], key.data(), 8);
    std::memcpy(&ends[1], key.data() + key.size() - 8, 8);
    std::memcpy(&block, ends, sizeof block);
    return others(block) == 0;
  }
  return std::all_of(key.begin(), key.end(),
                     [](char c) { return (c >= 'A' && c <= 'z') || c == '.'; });
}

bool is_statement(std::string_view key) { return key == "db.statement" || key == "db.query.text"; }

char* put_span_id(char* at, uint32_t field, SpanId id) {
  at = wire::ProtobufWriter::put_length(at, field, 8);
  span_id_to_bytes(id, at);
  return at + 8;
}

char* put_trace_id(char* at, uint32_t field, TraceId id) {
  at = wire::ProtobufWriter::put_length(at, field, 16);
  trace_id_to_bytes(id, at);
  return at + 16;
}

void write_count(wire::ProtobufWriter& out, uint32_t field, uint32_t count) {
  if (count != 0) out.varint(field, count);
}

void write_text(wire::ProtobufWriter& out, uint32_t field, std::string_view text) {
  if (!text.empty()) out.string(field, text);
}

}  // namespace

BatchEncoder::BatchEncoder(TextFilter mask, StatementFilter sql, AttributeFilter attribute)
    : mask_(std::move(mask)), sql_(std::move(sql)), attribute_(std::move(attribute)) {}

void BatchEncoder::clear() {
  out_.clear();
  out_.shrink(kKeptCapacity);
}

std::string_view BatchEncoder::encode(const trace::RecordQueue& queue,
                                      std::span<const std::string_view> records) {
  clear();
  order_.clear();
  for (uint32_t i = 0; i < records.size(); ++i) {
    order_.push_back({trace::load<trace::RecordHeader>(records[i].data()).scope, i});
  }
  const auto by_scope = [](const Item& a, const Item& b) { return a.scope < b.scope; };
  if (!std::is_sorted(order_.begin(), order_.end(), by_scope)) {
    std::stable_sort(order_.begin(), order_.end(), by_scope);
  }

  const auto resource_spans = out_.begin_large(1);
  resource(queue);
  for (size_t i = 0; i < order_.size();) {
    const uint32_t scope = order_[i].scope;
    const std::string_view description = queue.scope(scope);
    const auto scope_spans = out_.begin_large(2);
    scope_header(description);
    for (; i < order_.size() && order_[i].scope == scope; ++i) {
      if (i + kAhead < order_.size()) prefetch(records[order_[i + kAhead].index]);
      span(trace::RecordView(records[order_[i].index]));
    }
    write_text(out_, 3, trace::read_description(description).scope.schema_url);
    out_.end(scope_spans);
  }
  write_text(out_, 3, trace::read_description(queue.resource()).scope.schema_url);
  out_.end(resource_spans);
  return out_.view();
}

std::string_view BatchEncoder::encode_resource(const trace::RecordQueue& queue) {
  clear();
  resource(queue);
  return out_.view();
}

void BatchEncoder::resource(const trace::RecordQueue& queue) {
  if (const mask::Policy* now = &mask::process_policy(); now != policy_) {
    cache_.clear();
    policy_ = now;
  }
  sql_clean_ = true;
  const auto message = out_.begin(1);
  attributes(1, trace::read_description(queue.resource()).attributes);
  out_.end(message);
}

void BatchEncoder::scope_header(std::string_view description) {
  const trace::DescriptionView view = trace::read_description(description);
  sql_clean_ = true;
  const auto message = out_.begin(1);
  write_text(out_, 1, masked(view.scope.name));
  write_text(out_, 2, masked(view.scope.version));
  attributes(3, view.attributes);
  out_.end(message);
}

void BatchEncoder::span(const trace::RecordView& record) {
  using W = wire::ProtobufWriter;
  const trace::RecordHeader& header = record.header();
  sql_clean_ = record.sql_clean();
  record_ = &record;
  const std::string_view name = masked(record.name());
  std::string_view state = record.trace_state();
  if (mask_ && !state.empty() && mask_(state, key_text_)) state = key_text_;
  constexpr size_t kFixedPart = 96;  // everything but the two texts
  const auto message = out_.begin(2);
  char* at = out_.room_for(kFixedPart + state.size() + name.size());
  at = put_trace_id(at, 1, record.trace_id());
  at = put_span_id(at, 2, header.span_id);
  if (!state.empty()) at = W::put_text(W::put_length(at, 3, state.size()), state);
  if (header.parent_id != 0) at = put_span_id(at, 4, header.parent_id);
  if (!name.empty()) at = W::put_text(W::put_length(at, 5, name.size()), name);
  at = W::put_varint(W::put_varint(at, 6 << 3), header.kind);
  at = W::put_fixed(W::put_varint(at, 7 << 3 | 1), header.start_ns);
  at = W::put_fixed(W::put_varint(at, 8 << 3 | 1), header.end_ns);
  out_.advance(at);
  attributes(9, record.attributes());
  write_count(out_, 10, header.dropped_attributes);
  // A range without elements would be walked to its end all the same.
  if (header.events != 0) {
    for (const trace::EventView& each : record.events()) event(each);
  }
  write_count(out_, 12, header.dropped_events);
  if (header.links != 0) {
    for (const trace::LinkRead& each : record.links()) link(each);
  }
  write_count(out_, 14, header.dropped_links);
  if (header.status != 0 || header.status_size != 0) {
    const auto status = out_.begin(15);
    write_text(out_, 2, masked(record.status_message()));
    if (header.status != 0) out_.varint(3, header.status);
    out_.end(status);
  }
  out_.fixed32(16, kRemoteKnown | (record.parent_remote() ? kIsRemote : 0));
  out_.end(message);
}

void BatchEncoder::event(const trace::EventView& event) {
  const auto message = out_.begin(11);
  out_.fixed64(1, event.time_ns);
  write_text(out_, 2, masked(event.name));
  attributes(3, event.attributes);
  write_count(out_, 4, event.dropped_attributes);
  out_.end(message);
}

void BatchEncoder::link(const trace::LinkRead& link) {
  const auto message = out_.begin(13);
  constexpr size_t kIds = 32;
  out_.advance(put_span_id(put_trace_id(out_.room_for(kIds), 1, link.trace_id), 2, link.span_id));
  write_text(out_, 3, masked(link.trace_state));
  attributes(4, link.attributes);
  write_count(out_, 5, link.dropped_attributes);
  out_.fixed32(6, link.flags);
  out_.end(message);
}

void BatchEncoder::attributes(uint32_t field, const trace::AttributeRange& attributes) {
  for (auto each = attributes.begin(), end = attributes.end(); each != end; ++each) {
    const std::string_view entry = each.bytes();
    // What becomes of a statement depends on the span's other attributes, too.
    if (entry.size() < AttributeCache::kFewest || (!sql_clean_ && is_statement((*each).key))) {
      attribute(field, *each);
      continue;
    }
    const AttributeCache::Found found = cache_.find(field, entry);
    if (found.hit) {
      repeat(found.slot->encoded());
      continue;
    }
    const size_t before = out_.size();
    attribute(field, *each);
    if (found.keep) AttributeCache::store(found, field, entry, out_.view().substr(before));
  }
}

// By blocks, which may read and write a little further: a call of memcpy costs more than the copy.
void BatchEncoder::repeat(std::string_view encoded) {
  constexpr size_t kMost = 256;
  if (encoded.size() > kMost) return out_.raw(encoded);
  char* at = out_.room_for(encoded.size() + AttributeCache::kBlock);
  for (size_t i = 0; i < encoded.size(); i += AttributeCache::kBlock) {
    std::memcpy(at + i, encoded.data() + i, AttributeCache::kBlock);
  }
  out_.advance(at + encoded.size());
}

void BatchEncoder::attribute(uint32_t field, trace::AttributeView attribute) {
  if (attribute_ || attribute.value.type >= wire::ValueType::kString) {
    if (!filter(attribute)) return;
  }
  const bool every_key = mask::process_policy().user != nullptr;
  if (mask_ && (every_key || !plain(attribute.key)) && mask_(attribute.key, key_text_)) {
    attribute.key = key_text_;
  }
  wire::write_key_value(out_, field, attribute.key, attribute.value);
}

// Replaces key and value by what may leave the process; false: nothing of it may.
bool BatchEncoder::filter(trace::AttributeView& attribute) {
  wire::Value& value = attribute.value;
  if (value.type == wire::ValueType::kString && !sql_clean_ && sql_ &&
      is_statement(attribute.key) && sql_(database_system(*record_), value.text, sql_text_)) {
    value.text = sql_text_;
  }
  if (attribute_) {
    const mask::Verdict verdict = attribute_(attribute.key, value, mask_text_);
    if (verdict == mask::Verdict::kDrop) return false;
    if (verdict == mask::Verdict::kChanged) {
      if (value.type != wire::ValueType::kString) mask_text_ = "***";
      value = trace::text_value(mask_text_);
      return true;
    }
  }
  switch (value.type) {
    case wire::ValueType::kString:
      if (!attribute_) value.text = masked(value.text);
      break;
    case wire::ValueType::kBytes:
      value.text = masked(value.text);
      break;
    case wire::ValueType::kArray:
    case wire::ValueType::kKeyValueList:
      if (mask_ && wire::rewrite_strings(value.type, value.text, mask_, array_text_, true)) {
        value.text = array_text_;
      }
      break;
    default:
      break;
  }
  return true;
}

std::string_view BatchEncoder::masked(std::string_view text) {
  return mask_ && mask_(text, mask_text_) ? std::string_view(mask_text_) : text;
}

}  // namespace nuages::exporter
