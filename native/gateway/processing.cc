#include "gateway/processing.h"

#include <algorithm>
#include <utility>

#include "gateway/memory.h"
#include "gateway/request_builder.h"
#include "wire/otlp_check.h"

namespace nuages::gateway {
namespace {

constexpr uint32_t kSpanAttributes = 9;
constexpr uint32_t kLogAttributes = 6;

struct Nobody {
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span&) {}
};

std::string key_value(std::string_view key, std::string_view value) {
  wire::ProtobufWriter out;
  out.string(1, key);
  out.string(2, value);
  return std::string(out.view());
}

// Key and encoded value of an encoded KeyValue.
std::pair<std::string_view, std::string_view> parts_of(std::string_view attribute) {
  std::pair<std::string_view, std::string_view> out;
  wire::ProtobufReader reader(attribute);
  while (reader.next()) {
    if (reader.is(1, wire::WireType::kLength)) {
      out.first = reader.bytes();
    } else if (reader.is(2, wire::WireType::kLength)) {
      out.second = reader.bytes();
    } else {
      reader.skip();
    }
  }
  return out;
}

// Rebuilds a request span by span.
class SpanFilter {
 public:
  SpanFilter(const std::vector<ProcessorConfig>& steps, RequestBuilder& builder)
      : steps_(steps), builder_(builder), reader_(wire::Limits{}) {}

  void on_resource(std::string_view head) {
    builder_.resource(head);
    resource_ = {};
    reader_.clear_problem();
    read_field_1(
        head, [this](std::string_view bytes) { return reader_.read_resource(bytes, resource_); });
    resource_bad_ = reader_.has_problem();
    if (resource_bad_) problem_ = reader_.problem();
  }
  void on_scope(std::string_view head) {
    builder_.scope(head);
    scope_ = {};
    reader_.clear_problem();
    read_field_1(head,
                 [this](std::string_view bytes) { return reader_.read_scope(bytes, scope_); });
    scope_bad_ = reader_.has_problem();
    if (scope_bad_ && !resource_bad_) problem_ = reader_.problem();
  }
  void on_item(std::string_view bytes) {
    reader_.clear_problem();
    good_ &= reader_.read_span(bytes, span_);
    if (!good_) return;
    if (resource_bad_ || scope_bad_ || reader_.has_problem()) {
      const auto reason = resource_bad_ || scope_bad_ ? problem_ : reader_.problem();
      ++stats_.rejected;
      ++stats_.reasons[static_cast<size_t>(reason)];
      return;
    }
    ++stats_.accepted;
    for (const ProcessorConfig& step : steps_) {
      const SpanContext context{&resource_, &scope_, &span_};
      if (std::any_of(step.drop.begin(), step.drop.end(),
                      [&](const Condition& one) { return one.holds(context); })) {
        ++dropped_;
        return;
      }
      if (step.actions.empty()) continue;
      std::string& changed = changed_[turn_ ^= 1];  // `bytes` may lie in the other
      apply_actions(bytes, kSpanAttributes, step.actions, changed);
      bytes = changed;
      reader_.clear_problem();
      good_ &= reader_.read_span(bytes, span_);
    }
    builder_.item(bytes);
  }

  bool good() const { return good_; }
  uint64_t dropped() const { return dropped_; }
  const wire::ReadStats& stats() const { return stats_; }

 private:
  template <typename F>
  void read_field_1(std::string_view head, F&& f) {
    wire::ProtobufReader reader(head);
    while (reader.next()) {
      if (reader.is(1, wire::WireType::kLength)) {
        good_ &= f(reader.bytes());
      } else {
        reader.skip();
      }
    }
  }

  const std::vector<ProcessorConfig>& steps_;
  RequestBuilder& builder_;
  wire::TraceReader reader_;
  wire::Resource resource_;
  wire::Scope scope_;
  wire::Span span_;
  wire::ReadStats stats_;
  wire::RejectReason problem_ = wire::RejectReason::kUtf8;
  uint64_t dropped_ = 0;
  std::string changed_[2];
  int turn_ = 0;
  bool resource_bad_ = false;
  bool scope_bad_ = false;
  bool good_ = true;
};

struct LogChanger {
  const std::vector<ProcessorConfig>& steps;
  RequestBuilder& builder;
  std::string changed[2];

  void on_resource(std::string_view head) { builder.resource(head); }
  void on_scope(std::string_view head) { builder.scope(head); }
  void on_item(std::string_view bytes) {
    int turn = 0;
    for (const ProcessorConfig& step : steps) {
      std::string& next = changed[turn ^= 1];
      apply_actions(bytes, kLogAttributes, step.actions, next);
      bytes = next;
    }
    builder.item(bytes);
  }
};

}  // namespace

void apply_actions(std::string_view item, uint32_t attribute_field,
                   const std::vector<AttributeAction>& actions, std::string& out) {
  std::vector<std::string> attributes;
  const bool good = split_message(item, attribute_field, out, [&](std::string_view attribute) {
    attributes.emplace_back(attribute);
  });
  if (!good) {
    out = item;
    return;
  }
  const auto find = [&](std::string_view key) {
    return std::find_if(attributes.begin(), attributes.end(),
                        [&](const std::string& one) { return parts_of(one).first == key; });
  };
  for (const AttributeAction& action : actions) {
    const auto found = find(action.key);
    const bool there = found != attributes.end();
    if (action.kind == AttributeAction::Kind::kDelete) {
      std::erase_if(attributes,
                    [&](const std::string& one) { return parts_of(one).first == action.key; });
      continue;
    }
    if (there && action.kind == AttributeAction::Kind::kInsert) continue;
    if (!there && action.kind == AttributeAction::Kind::kUpdate) continue;
    std::string value = action.value;
    if (!action.from.empty()) {
      const auto from = find(action.from);
      if (from == attributes.end()) continue;
      value = parts_of(*from).second;
    }
    std::string made = key_value(action.key, value);
    if (there) {
      *found = std::move(made);
    } else {
      attributes.push_back(std::move(made));
    }
  }
  wire::ProtobufWriter tail;
  for (const std::string& attribute : attributes) tail.string(attribute_field, attribute);
  out += tail.view();
}

Processing::Processing(wire::Signal signal, std::vector<ProcessorConfig> steps)
    : signal_(signal),
      steps_([&steps] {
        std::vector<ProcessorConfig> kept;
        for (const ProcessorConfig& step : steps) {
          if (!step.actions.empty() || !step.drop.empty()) kept.push_back(step);
        }
        return kept;
      }()),
      changes_(!steps_.empty()) {
  for (const ProcessorConfig& step : steps) {
    if (step.kind == ProcessorConfig::Kind::kMemory) memory_ = step.memory;
  }
}

Result<Processed> Processing::apply(std::string body) const {
  if (memory_.limit_bytes != 0 && resident_memory() > memory_.limit_bytes - memory_.spike_bytes) {
    return Error{ErrorCode::kExhausted,
                 "memory_limiter: the server uses more memory than its limit; retry later"};
  }
  if (signal_ == wire::Signal::kTraces) return spans(std::move(body));
  Result<uint64_t> items = wire::check_export_request(body, signal_);
  if (!items.ok()) return items.error();
  if (signal_ == wire::Signal::kLogs && changes_) return log_records(body);
  return Processed{std::move(body), *items, 0, {}};
}

Result<Processed> Processing::spans(std::string body) const {
  Nobody nobody;
  const wire::Limits limits;
  Result<wire::ReadStats> read = wire::read_export_trace_request(body, limits, nobody);
  if (!read.ok()) return read.error();
  if (!changes_ && read->rejected == 0) {
    const uint64_t items = read->accepted;
    return Processed{std::move(body), items, 0, std::move(read).value()};
  }
  RequestBuilder builder;
  SpanFilter filter(steps_, builder);
  if (!read_request(body, filter) || !filter.good()) {
    return Error{ErrorCode::kInvalid, "the body is not a valid ExportTraceServiceRequest"};
  }
  Processed out;
  out.items = builder.items();
  out.dropped = filter.dropped();
  out.refused = filter.stats();
  auto parts = builder.take();
  if (!parts.empty()) out.body = std::move(parts[0].body);
  return out;
}

Result<Processed> Processing::log_records(const std::string& body) const {
  RequestBuilder builder;
  LogChanger changer{steps_, builder, {}};
  if (!read_request(body, changer)) {
    return Error{ErrorCode::kInvalid, "the body is not a valid ExportLogsServiceRequest"};
  }
  Processed out;
  out.items = builder.items();
  auto parts = builder.take();
  if (!parts.empty()) out.body = std::move(parts[0].body);
  return out;
}

}  // namespace nuages::gateway
