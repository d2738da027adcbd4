// masked_copy(span, profile): a span object of its own with all text masked, for exporters in
// Python.
#include <deque>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "mask/redact.h"
#include "python/convert.h"
#include "python/span_read.h"
#include "sql/statement.h"
#include "wire/otlp_writer.h"

namespace nuages::python {
namespace {

// Masks views; what it made lives as long as the masker.
class Masker {
 public:
  explicit Masker(const mask::Rules& rules) : rules_(rules) {}

  bool changed() const { return !kept_.empty(); }

  std::string_view text(std::string_view in) {
    std::string out;
    return mask::redact(rules_, in, out) ? std::string_view(kept_.emplace_back(std::move(out)))
                                         : in;
  }

  std::vector<trace::AttributeView> attributes(const trace::AttributeRange& range, bool sql_clean) {
    std::vector<trace::AttributeView> out;
    sql::Dialect dialect = sql::Dialect::kGeneric;
    for (const trace::AttributeView& attribute : range) {
      if (attribute.key == "db.system" || attribute.key == "db.system.name") {
        dialect = sql::dialect_from_system(attribute.value.text);
      }
    }
    for (trace::AttributeView attribute : range) {
      const bool statement =
          !sql_clean && (attribute.key == "db.statement" || attribute.key == "db.query.text");
      mask_value(attribute.value, statement ? std::optional(dialect) : std::nullopt);
      out.push_back(attribute);
    }
    return out;
  }

 private:
  void mask_value(trace::ValueView& value, std::optional<sql::Dialect> statement) {
    std::string out;
    switch (value.type) {
      case wire::ValueType::kString:
        if (statement) {
          out = sql::sanitize(value.text, *statement);
          if (out != value.text) value.text = kept_.emplace_back(std::move(out));
        }
        value.text = text(value.text);
        break;
      case wire::ValueType::kBytes:
        value.text = text(value.text);
        break;
      case wire::ValueType::kArray:
      case wire::ValueType::kKeyValueList:
        if (wire::rewrite_strings(
                value.type, value.text,
                [this](std::string_view in, std::string& masked) {
                  return mask::redact(rules_, in, masked);
                },
                out)) {
          value.text = kept_.emplace_back(std::move(out));
        }
        break;
      default:
        break;
    }
  }

  mask::Rules rules_;
  std::deque<std::string> kept_;
};

// Null when there is nothing to mask.
trace::SpanRef copy_masked(const trace::Span& span, const mask::Rules& rules) {
  const std::string bytes = span.snapshot();
  const trace::RecordView record(bytes);
  Masker masker(rules);
  const auto attributes = masker.attributes(record.attributes(), record.sql_clean());
  trace::SpanContext parent = span.context();
  parent.span_id = span.parent_id();
  parent.remote = span.parent_remote();
  trace::SpanLimits limits = span.limits();
  limits.max_value_length = trace::SpanLimits::kUnlimited;  // cut already; masks may be longer

  trace::StartOptions options;
  options.name = masker.text(record.name());
  options.kind = span.kind();
  options.parent = parent.valid() ? &parent : nullptr;
  options.scope = span.scope();
  options.start_ns = span.start_ns();
  options.sampled = span.context().sampled();
  options.trace_state = &span.context().trace_state;
  options.trace_id = span.context().trace_id;
  options.random_trace_id = (span.context().flags & trace::kRandomFlag) != 0;
  options.span_id = span.context().span_id;
  options.attributes = attributes;
  options.limits = &limits;
  trace::SpanRef copy = trace::Span::start(options);
  if (!copy) return copy;
  for (const trace::EventView event : record.events()) {
    const auto event_attributes = masker.attributes(event.attributes, true);
    copy->add_event(masker.text(event.name), event.time_ns, event_attributes,
                    event.dropped_attributes);
  }
  for (const trace::LinkRead link : record.links()) {
    const auto link_attributes = masker.attributes(link.attributes, true);
    trace::LinkView view;
    view.trace_id = link.trace_id;
    view.span_id = link.span_id;
    view.trace_flags = static_cast<uint8_t>(link.flags);
    view.remote = (link.flags & 0x200) != 0;
    view.trace_state = link.trace_state;
    view.attributes = link_attributes;
    view.dropped_attributes = link.dropped_attributes;
    copy->add_link(view);
  }
  copy->replace_status(record.status(), masker.text(record.status_message()));
  if (!masker.changed()) return {};
  const trace::RecordHeader& header = record.header();
  copy->add_dropped(header.dropped_attributes, header.dropped_events, header.dropped_links);
  if (record.end_ns() != 0) copy->end(record.end_ns());
  return copy;
}

}  // namespace

PyObject* masked_copy(PyObject* module, PyObject* const* args, Py_ssize_t nargs) noexcept try {
  ModuleState* state = module_state(module);
  if (!state) return nullptr;
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "masked_copy() takes 2 arguments");
  SpanObject* span = as_span(*state, args[0]);
  if (!span || !span->span) return PyErr_Format(PyExc_TypeError, "not a recording span of nuages");
  const Utf8 profile(args[1]);
  const auto rules = mask::rules_from_profile(profile.view() == "on" ? "default" : profile.view());
  if (!rules) return PyErr_Format(PyExc_ValueError, "%U is no masking profile", args[1]);
  trace::SpanRef copy = copy_masked(*span->span, *rules);
  if (!copy) return Ref::share(args[0]).release();
  SpanObject* made = new_span_object(*state, span->tracer, true);
  if (!made) return nullptr;
  if (made->span) made->span->release();
  made->span = copy.detach();
  return reinterpret_cast<PyObject*>(made);
} catch (const std::bad_alloc&) {
  return PyErr_NoMemory();
}

}  // namespace nuages::python
