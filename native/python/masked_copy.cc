// masked_copy(span): a span object of its own with all text masked, for
// exporters in Python. set_mask_rules(), set_masking(): the
// process's policy.
#include <deque>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "mask/policy.h"
#include "python/convert.h"
#include "python/span_read.h"
#include "sql/statement.h"
#include "wire/otlp_writer.h"

namespace nuages::python {
namespace {

// Masks views; what it made lives as long as the masker.
class Masker {
 public:
  explicit Masker(const mask::Policy& policy) : policy_(policy) {}

  bool changed() const { return dropped_ || !kept_.empty(); }

  std::string_view text(std::string_view in) {
    std::string out;
    return policy_.text(in, out) ? std::string_view(kept_.emplace_back(std::move(out))) : in;
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
      const bool statement = !sql_clean && policy_.statements &&
                             (attribute.key == "db.statement" || attribute.key == "db.query.text");
      const bool is_text = attribute.value.type == wire::ValueType::kString;
      if (statement && is_text) {
        std::string sanitized = sql::sanitize(attribute.value.text, dialect);
        if (sanitized != attribute.value.text) {
          attribute.value.text = kept_.emplace_back(std::move(sanitized));
        }
      }
      std::string changed = "***";
      const mask::Verdict verdict =
          is_text ? policy_.attribute(attribute.key, attribute.value.text, changed)
                  : policy_.key(attribute.key);
      if (verdict == mask::Verdict::kDrop) {
        dropped_ = true;
        continue;
      }
      if (verdict == mask::Verdict::kChanged) {
        attribute.value = trace::text_value(kept_.emplace_back(std::move(changed)));
      } else if (!is_text) {
        mask_value(attribute.value);
      }
      attribute.key = text(attribute.key);
      out.push_back(attribute);
    }
    return out;
  }

 private:
  void mask_value(trace::ValueView& value) {
    std::string out;
    switch (value.type) {
      case wire::ValueType::kBytes:
        value.text = text(value.text);
        break;
      case wire::ValueType::kArray:
      case wire::ValueType::kKeyValueList:
        if (wire::rewrite_strings(
                value.type, value.text,
                [this](std::string_view in, std::string& masked) {
                  return policy_.text(in, masked);
                },
                out, true)) {
          value.text = kept_.emplace_back(std::move(out));
        }
        break;
      default:
        break;
    }
  }

  const mask::Policy& policy_;
  bool dropped_ = false;
  std::deque<std::string> kept_;
};

// Null when there is nothing to mask.
trace::SpanRef copy_masked(const trace::Span& span, const mask::Policy& policy) {
  const std::string bytes = span.snapshot();
  const trace::RecordView record(bytes);
  Masker masker(policy);
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
  const std::string_view state = masker.text(record.trace_state());
  const trace::TraceState masked_state =
      state.empty() ? nullptr : std::make_shared<const std::string>(state);
  options.trace_state = &masked_state;
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
    view.trace_state = masker.text(link.trace_state);
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
  if (nargs != 1) return PyErr_Format(PyExc_TypeError, "masked_copy() takes 1 argument");
  SpanObject* span = as_span(*state, args[0]);
  if (!span || !span->span) return PyErr_Format(PyExc_TypeError, "not a recording span of nuages");
  trace::SpanRef copy = copy_masked(*span->span, mask::process_policy());
  if (!copy) return Ref::share(args[0]).release();
  SpanObject* made = new_span_object(*state, span->tracer, true);
  if (!made) return nullptr;
  if (made->span) made->span->release();
  made->span = copy.detach();
  return reinterpret_cast<PyObject*>(made);
} catch (const std::bad_alloc&) {
  return PyErr_NoMemory();
}

// set_mask_rules([(pattern, replacement), ...], [key, ...]); ValueError says what is wrong with
// one.
PyObject* set_mask_rules(PyObject* /*module*/, PyObject* const* args, Py_ssize_t nargs) noexcept
    try {
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "set_mask_rules() takes 2 arguments");
  const Ref patterns = Ref::take(PySequence_Tuple(args[0]));
  const Ref keys = patterns ? Ref::take(PySequence_Tuple(args[1])) : Ref();
  if (!keys) return nullptr;
  mask::UserRules rules;
  std::string all;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(patterns.get()); ++i) {
    const char *pattern = nullptr, *with = nullptr;
    if (!PyArg_ParseTuple(PyTuple_GET_ITEM(patterns.get(), i), "ss", &pattern, &with)) {
      return nullptr;
    }
    auto compiled = mask::Pattern::compile(pattern);
    if (!compiled.ok()) {
      PyErr_SetString(PyExc_ValueError, compiled.error().message.c_str());
      return nullptr;
    }
    all.append(pattern).append(1, '\0').append(with).append(1, '\0');
    rules.patterns.push_back({std::move(*compiled), with});
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys.get()); ++i) {
    const char* key = PyUnicode_AsUTF8(PyTuple_GET_ITEM(keys.get(), i));
    if (!key) return nullptr;
    all.append(1, '\1').append(key);
    rules.keys.emplace_back(key);
  }
  // Never 0, and the same in every process and version with the same rules (FNV-1a).
  uint32_t id = 2166136261U;
  for (const char c : all) id = (id ^ static_cast<unsigned char>(c)) * 16777619U;
  rules.id = ((id ^ (id >> 16)) & 0x7FFFU) | 0x8000U;
  if (all.empty()) rules.id = 0;
  mask::set_process_rules(std::move(rules));
  Py_RETURN_NONE;
} catch (const std::bad_alloc&) {
  return PyErr_NoMemory();
}

// mask_pattern_problem(pattern): why the pattern cannot be used, or None.
PyObject* mask_pattern_problem(PyObject* /*module*/, PyObject* pattern) noexcept try {
  const char* text = PyUnicode_AsUTF8(pattern);
  if (!text) return nullptr;
  const auto compiled = mask::Pattern::compile(text);
  if (compiled.ok()) Py_RETURN_NONE;
  return PyUnicode_FromString(compiled.error().message.c_str());
} catch (const std::bad_alloc&) {
  return PyErr_NoMemory();
}

// set_masking(profile, keep_literals)
PyObject* set_masking(PyObject* /*module*/, PyObject* const* args, Py_ssize_t nargs) noexcept {
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "set_masking() takes 2 arguments");
  const Utf8 profile(args[0]);
  if (!mask::set_process_profile(profile.view(), args[1] != Py_True)) {
    return PyErr_Format(PyExc_ValueError, "%U is no masking profile", args[0]);
  }
  Py_RETURN_NONE;
}

}  // namespace nuages::python
