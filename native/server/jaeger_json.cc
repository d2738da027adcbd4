#include "server/jaeger_json.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <set>

#include "store/attribute_text.h"

namespace nuages::server::jaeger {
namespace {

namespace json = boost::json;
using query::JsonWriter;
using query::SpanRecord;

constexpr int64_t kMicrosecond = 1000;
constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;  // of JavaScript

struct Tag {
  std::string key;
  std::string type;
  std::string value;  // JSON
};

std::string quoted(std::string_view text) {
  std::string out;
  store::append_json_string(out, text);
  return out;
}

Tag text_tag(std::string key, std::string_view value) {
  return {std::move(key), "string", quoted(value)};
}

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

// {"$bytes":"..."} or {"$double":"..."}: what JSON has no form for (store/attribute_text.h).
const json::string* special(const json::object& object, std::string_view name) {
  if (object.size() != 1) return nullptr;
  const auto* value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_string();
}

// The shortest text that reads back as the number; an exponent from 1e21 and below 1e-6.
std::string double_text(double value) {
  char digits[64];
  const double size = std::fabs(value);
  const bool exponent = size != 0 && (size < 1e-6 || size >= 1e21);
  const auto end =
      std::to_chars(digits, digits + sizeof digits, value,
                    exponent ? std::chars_format::scientific : std::chars_format::fixed)
          .ptr;
  std::string text(digits, end);
  // "1e-09" is written "1e-9".
  if (const size_t at = text.find("e-0"); at != std::string::npos) text.erase(at + 2, 1);
  return text;
}

// Text inside arrays and maps; Go escapes what HTML could take for markup.
void append_nested_string(std::string& out, std::string_view text) {
  std::string escaped;
  store::append_json_string(escaped, text);
  for (const char c : escaped) {
    switch (c) {
      case '<':
        out += "\\u003c";
        break;
      case '>':
        out += "\\u003e";
        break;
      case '&':
        out += "\\u0026";
        break;
      default:
        out += c;
    }
  }
}

void append_nested(std::string& out, const json::value& value);

void append_object(std::string& out, const json::object& object) {
  if (const auto* bytes = special(object, "$bytes")) return append_nested_string(out, view(*bytes));
  if (const auto* number = special(object, "$double")) {
    return append_nested_string(out, view(*number));
  }
  std::map<std::string_view, const json::value*> sorted;
  for (const auto& entry : object) {
    std::string_view key(entry.key().data(), entry.key().size());
    if (key.starts_with("$$")) key.remove_prefix(1);
    sorted[key] = &entry.value();
  }
  out += '{';
  bool first = true;
  for (const auto& [key, inner] : sorted) {
    if (!first) out += ',';
    first = false;
    append_nested_string(out, key);
    out += ':';
    append_nested(out, *inner);
  }
  out += '}';
}

void append_nested(std::string& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      out += "null";
      return;
    case json::kind::bool_:
      out += value.get_bool() ? "true" : "false";
      return;
    case json::kind::int64:
      out += std::to_string(value.get_int64());
      return;
    case json::kind::uint64:
      out += std::to_string(value.get_uint64());
      return;
    case json::kind::double_:
      out += double_text(value.get_double());
      return;
    case json::kind::string:
      return append_nested_string(out, view(value.get_string()));
    case json::kind::array: {
      out += '[';
      bool first = true;
      for (const auto& element : value.get_array()) {
        if (!first) out += ',';
        first = false;
        append_nested(out, element);
      }
      out += ']';
      return;
    }
    case json::kind::object:
      return append_object(out, value.get_object());
  }
}

// An IPv4 address that somebody sent as a number.
bool is_address(std::string_view key) { return key == "ip" || key == "peer.ipv4"; }

std::string address_text(double value) {
  const auto bits = static_cast<uint32_t>(static_cast<int64_t>(value));
  return std::to_string(bits >> 24) + "." + std::to_string(bits >> 16 & 255) + "." +
         std::to_string(bits >> 8 & 255) + "." + std::to_string(bits & 255);
}

Tag tag_of(std::string_view key, const json::value& value) {
  std::string name(key);
  switch (value.kind()) {
    case json::kind::null:
      return text_tag(std::move(name), "");
    case json::kind::bool_:
      return {std::move(name), "bool", value.get_bool() ? "true" : "false"};
    case json::kind::int64: {
      const int64_t number = value.get_int64();
      if (is_address(key)) return text_tag(std::move(name), address_text(double(number)));
      std::string text = std::to_string(number);
      const bool safe = number <= kMaxSafeInteger && number >= -kMaxSafeInteger;
      return {std::move(name), "int64", safe ? std::move(text) : quoted(text)};
    }
    case json::kind::double_:
      if (is_address(key)) return text_tag(std::move(name), address_text(value.get_double()));
      return {std::move(name), "float64", double_text(value.get_double())};
    case json::kind::string:
      return text_tag(std::move(name), view(value.get_string()));
    case json::kind::object:
      if (const auto* bytes = special(value.get_object(), "$bytes")) {
        return {std::move(name), "binary", quoted(view(*bytes))};
      }
      if (const auto* number = special(value.get_object(), "$double")) {
        return {std::move(name), "float64", quoted(view(*number))};
      }
      [[fallthrough]];
    default: {
      std::string text;
      append_nested(text, value);
      return text_tag(std::move(name), text);
    }
  }
}

Tag tag_of_json(std::string_view key, std::string_view text) {
  boost::system::error_code failure;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), failure);
  return failure ? text_tag(std::string(key), text) : tag_of(key, value);
}

void sort(std::vector<Tag>& tags) {
  std::stable_sort(tags.begin(), tags.end(),
                   [](const Tag& a, const Tag& b) { return a.key < b.key; });
}

void write_tags(JsonWriter& out, const std::vector<Tag>& tags) {
  out.begin_array();
  for (const Tag& tag : tags) {
    out.begin_object().field("key", std::string_view(tag.key));
    out.field("type", std::string_view(tag.type)).key("value").raw(tag.value).end_object();
  }
  out.end_array();
}

json::value parsed(const std::string& text) {
  boost::system::error_code failure;
  json::value value = json::parse(text, failure);
  return failure ? json::value() : value;
}

std::vector<Tag> span_tags(const SpanRecord& span) {
  std::vector<Tag> tags;
  // "name@version"; a scope's own name may begin with '@', as Node's packages do.
  const size_t at = span.scope.rfind('@');
  const bool versioned = at != std::string::npos && at != 0;
  const std::string_view scope = span.scope;
  if (!scope.empty())
    tags.push_back(text_tag("otel.scope.name", scope.substr(0, versioned ? at : scope.npos)));
  if (versioned) tags.push_back(text_tag("otel.scope.version", scope.substr(at + 1)));
  for (const auto& [key, value] : span.attributes) tags.push_back(tag_of_json(key, value));
  if (span.kind != 0) tags.push_back(text_tag("span.kind", kind_text(span.kind)));
  if (span.status != 0) {
    tags.push_back(
        text_tag("otel.status_code", span.status == query::kStatusError ? "ERROR" : "OK"));
  }
  if (span.status == query::kStatusError) tags.push_back({"error", "bool", "true"});
  if (!span.status_message.empty()) {
    tags.push_back(text_tag("otel.status_description", span.status_message));
  }
  if (!span.extra.empty()) {
    const json::value extra = parsed(span.extra);
    const auto* object = extra.if_object();
    const auto* state = object == nullptr ? nullptr : object->if_contains("trace_state");
    if (state != nullptr && state->is_string()) {
      tags.push_back(text_tag("w3c.tracestate", view(state->get_string())));
    }
  }
  sort(tags);
  return tags;
}

void write_logs(JsonWriter& out, const std::string& events) {
  out.key("logs").begin_array();
  const json::value list = events.empty() ? json::value() : parsed(events);
  if (const auto* array = list.if_array()) {
    for (const json::value& element : *array) {
      const auto* event = element.if_object();
      if (event == nullptr) continue;
      int64_t time = 0;
      if (const auto* text = event->if_contains("time"); text != nullptr && text->is_string()) {
        const std::string_view digits = view(text->get_string());
        std::from_chars(digits.data(), digits.data() + digits.size(), time);
      }
      std::vector<Tag> fields;
      bool named = false;
      if (const auto* attributes = event->if_contains("attributes");
          attributes != nullptr && attributes->is_object()) {
        for (const auto& entry : attributes->get_object()) {
          const std::string_view key(entry.key().data(), entry.key().size());
          named |= key == "event";
          fields.push_back(tag_of(key, entry.value()));
        }
      }
      sort(fields);
      std::stable_partition(fields.begin(), fields.end(),
                            [](const Tag& field) { return field.key == "event"; });
      const auto* name = event->if_contains("name");
      if (!named && name != nullptr && name->is_string() && !name->get_string().empty()) {
        fields.insert(fields.begin(), text_tag("event", view(name->get_string())));
      }
      out.begin_object().field("timestamp", time / kMicrosecond).key("fields");
      write_tags(out, fields);
      out.end_object();
    }
  }
  out.end_array();
}

struct Reference {
  TraceId trace_id;
  SpanId span_id = 0;
  bool child = false;
};

std::vector<Reference> references_of(const SpanRecord& span) {
  std::vector<Reference> out;
  if (span.parent_id != 0) out.push_back({span.trace_id, span.parent_id, true});
  const json::value links = span.links_json.empty() ? json::value() : parsed(span.links_json);
  const auto* array = links.if_array();
  for (size_t i = 0; i < span.links.size(); ++i) {
    bool child = false;
    if (array != nullptr && i < array->size()) {
      const auto* link = (*array)[i].if_object();
      const auto* attributes = link == nullptr ? nullptr : link->if_contains("attributes");
      if (attributes != nullptr && attributes->is_object()) {
        const auto* type = attributes->get_object().if_contains("opentracing.ref_type");
        child = type != nullptr && type->is_string() && type->get_string() == "child_of";
      }
    }
    const auto& link = span.links[i];
    if (span.parent_id != 0 && link.trace_id == span.trace_id && link.span_id == span.parent_id) {
      out[0].child = child;  // the same span: the link says better what it is
    } else {
      out.push_back({link.trace_id, link.span_id, child});
    }
  }
  // First the one that stands for the parent.
  const auto own = [&](const Reference& one) { return one.trace_id == span.trace_id; };
  auto first = std::find_if(out.begin(), out.end(),
                            [&](const Reference& one) { return own(one) && one.child; });
  if (first == out.end()) first = std::find_if(out.begin(), out.end(), own);
  if (first != out.end()) std::swap(*first, out.front());
  return out;
}

SpanId parent_of(const SpanRecord& span) {
  if (span.links.empty()) return span.parent_id;
  const std::vector<Reference> references = references_of(span);
  return references.front().trace_id == span.trace_id ? references.front().span_id : 0;
}

struct Process {
  std::string id;
  std::string service;
  std::vector<Tag> tags;
  std::string host;  // tells whose clock it is
};

std::map<uint64_t, Process> processes_of(const std::vector<const SpanRecord*>& spans,
                                         const std::map<uint64_t, std::string>& resources) {
  std::map<uint64_t, Process> out;
  for (const SpanRecord* span : spans) {
    if (out.contains(span->resource)) continue;
    Process process{"p" + std::to_string(out.size() + 1), span->service, {}, {}};
    if (const auto found = resources.find(span->resource); found != resources.end()) {
      store::read_attribute_lines(found->second, [&](std::string_view key, std::string_view value) {
        if (key == "service.name") return;
        process.tags.push_back(tag_of_json(key, value));
        if (key == "ip") process.host = process.tags.back().value;
      });
    }
    sort(process.tags);
    out.emplace(span->resource, std::move(process));
  }
  return out;
}

// By how much a child's clock seems to differ from its parent's.
int64_t skew_of(const SpanRecord& child, const SpanRecord& parent) {
  const auto child_duration = static_cast<int64_t>(child.duration);
  const auto parent_duration = static_cast<int64_t>(parent.duration);
  if (child_duration > parent_duration) return std::max<int64_t>(0, parent.start - child.start);
  if (child.start >= parent.start && child.end() <= parent.end()) return 0;
  return parent.start + (parent_duration - child_duration) / 2 - child.start;
}

// The warnings of each span. A difference found goes on to the span's descendants on its host.
class Warnings {
 public:
  Warnings(const std::vector<const SpanRecord*>& spans,
           const std::map<uint64_t, Process>& processes)
      : processes_(processes) {
    for (const SpanRecord* span : spans) {
      if (!by_id_.emplace(span->span_id, span).second) {
        texts_[span].emplace_back("duplicate span IDs; skipping clock skew adjustment");
      }
    }
    std::vector<const SpanRecord*> roots;
    for (const auto& [id, span] : by_id_) {
      const SpanId parent = parent_of(*span);
      if (parent == 0) {
        roots.push_back(span);
      } else if (by_id_.contains(parent)) {
        children_[parent].push_back(span);
      } else {
        texts_[span].push_back("invalid parent span IDs=" + to_hex(parent) +
                               "; skipping clock skew adjustment");
        roots.push_back(span);
      }
    }
    for (const SpanRecord* root : roots) walk(root);
  }

  const std::vector<std::string>* of(const SpanRecord* span) const {
    const auto found = texts_.find(span);
    return found == texts_.end() ? nullptr : &found->second;
  }

 private:
  struct Step {
    const SpanRecord* span;
    const SpanRecord* parent;
    std::string_view host;
    int64_t delta;
  };

  void walk(const SpanRecord* root) {
    std::vector<Step> steps{{root, nullptr, host_of(root), 0}};
    while (!steps.empty()) {
      Step step = steps.back();
      steps.pop_back();
      const std::string_view host = host_of(step.span);
      if (step.parent != nullptr && (host != step.host || host.empty())) {
        step.host = host;
        step.delta = skew_of(*step.span, *step.parent);
      }
      if (step.delta != 0) {
        texts_[step.span].push_back(
            "clock skew adjustment disabled; not applying calculated delta of " +
            duration_text(step.delta));
      }
      const auto found = children_.find(step.span->span_id);
      if (found == children_.end()) continue;
      for (const SpanRecord* child : found->second) {
        steps.push_back({child, step.span, step.host, step.delta});
      }
    }
  }

  std::string_view host_of(const SpanRecord* span) const {
    return processes_.at(span->resource).host;
  }

  const std::map<uint64_t, Process>& processes_;
  std::map<SpanId, const SpanRecord*> by_id_;
  std::map<SpanId, std::vector<const SpanRecord*>> children_;
  std::map<const SpanRecord*, std::vector<std::string>> texts_;
};

void write_span(JsonWriter& out, const SpanRecord& span, const Process& process,
                const std::vector<std::string>* warnings) {
  out.begin_object().field("traceID", std::string_view(trace_id_text(span.trace_id)));
  out.field("spanID", std::string_view(to_hex(span.span_id)));
  out.field("operationName", std::string_view(span.name));
  out.key("references").begin_array();
  for (const Reference& reference : references_of(span)) {
    out.begin_object().field("refType", reference.child ? "CHILD_OF" : "FOLLOWS_FROM");
    out.field("traceID", std::string_view(trace_id_text(reference.trace_id)));
    out.field("spanID", std::string_view(to_hex(reference.span_id))).end_object();
  }
  out.end_array();
  out.field("startTime", span.start / kMicrosecond);
  out.field("duration", span.duration / static_cast<uint64_t>(kMicrosecond));
  out.key("tags");
  write_tags(out, span_tags(span));
  write_logs(out, span.events);
  out.field("processID", std::string_view(process.id)).key("warnings");
  if (warnings == nullptr) {
    out.null();
  } else {
    out.begin_array();
    for (const std::string& text : *warnings) out.string(text);
    out.end_array();
  }
  out.end_object();
}

}  // namespace

std::string_view kind_text(uint8_t kind) { return kind == 0 ? "" : query::kind_name(kind); }

std::string trace_id_text(TraceId id) {
  const std::string text = to_hex(id);
  constexpr size_t kHalf = 16;
  return text.find_first_not_of('0') >= kHalf ? text.substr(kHalf) : text;
}

std::string duration_text(int64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  const std::string sign = nanoseconds < 0 ? "-" : "";
  const uint64_t size = nanoseconds < 0 ? uint64_t{0} - static_cast<uint64_t>(nanoseconds)
                                        : static_cast<uint64_t>(nanoseconds);
  const auto decimal = [](uint64_t value, uint64_t unit) {
    std::string text = std::to_string(value / unit);
    std::string rest = std::to_string(unit + value % unit).substr(1);
    rest.erase(rest.find_last_not_of('0') + 1);
    return rest.empty() ? text : text + "." + rest;
  };
  constexpr uint64_t kMicro = 1000;
  constexpr uint64_t kMilli = kMicro * 1000;
  constexpr uint64_t kSecond = kMilli * 1000;
  if (size < kMicro) return sign + std::to_string(size) + "ns";
  if (size < kMilli) return sign + decimal(size, kMicro) + "µs";
  if (size < kSecond) return sign + decimal(size, kMilli) + "ms";
  const uint64_t minutes = size / (60 * kSecond);
  std::string text = decimal(size % (60 * kSecond), kSecond) + "s";
  if (minutes > 0) text = std::to_string(minutes % 60) + "m" + text;
  if (minutes >= 60) text = std::to_string(minutes / 60) + "h" + text;
  return sign + text;
}

void write_trace(JsonWriter& out, const std::vector<const SpanRecord*>& spans,
                 const std::map<uint64_t, std::string>& resources) {
  const std::map<uint64_t, Process> processes = processes_of(spans, resources);
  const Warnings warnings(spans, processes);
  out.begin_object();
  out.field("traceID",
            std::string_view(spans.empty() ? std::string() : trace_id_text(spans[0]->trace_id)));
  out.key("spans").begin_array();
  for (const SpanRecord* span : spans) {
    write_span(out, *span, processes.at(span->resource), warnings.of(span));
  }
  out.end_array();
  out.key("processes").begin_object();
  for (const auto& [hash, process] : processes) {
    out.key(process.id).begin_object().field("serviceName", std::string_view(process.service));
    out.key("tags");
    write_tags(out, process.tags);
    out.end_object();
  }
  out.end_object();
  out.key("warnings").null().end_object();
}

}  // namespace nuages::server::jaeger
