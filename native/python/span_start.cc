// How a span starts: parent, ids, sampling, attributes, on_start.
#include <deque>
#include <new>

#include "python/args.h"
#include "python/convert.h"
#include "python/off_switch.h"
#include "python/provider.h"
#include "python/span_object.h"
#include "trace/id_generator.h"

namespace nuages::python {
namespace {

struct Parent {
  Ref object;                    // the parent span object, if any
  trace::Span* local = nullptr;  // recording and ours
  trace::SpanContext own;
  const trace::SpanContext* context = &own;  // valid() or not

  Parent() noexcept = default;
  Parent(const Parent&) = delete;
  Parent& operator=(const Parent&) = delete;
  bool valid() const noexcept { return context->valid(); }
};

// The span context of somebody else's span. False with a Python error as the SDK raises it.
bool read_foreign_parent(ModuleState& state, Parent& parent) {
  const int is_span = call_python(PyObject_IsInstance, parent.object.get(), state.span_abc.get());
  if (is_span < 0) return false;
  if (is_span == 0) {  // get_current_span() answers INVALID_SPAN then
    parent.object.reset();
    return true;
  }
  const Ref context = Ref::take(
      call_python(PyObject_CallMethodNoArgs, parent.object.get(), state.s_get_span_context.get()));
  if (!context) return false;
  if (context.get() == Py_None) return true;
  if (!read_span_context(state, context.get(), parent.own)) {
    PyErr_SetString(PyExc_TypeError, "parent_span_context must be a SpanContext or None.");
    return false;
  }
  return true;
}

bool find_parent(ModuleState& state, const SpanSpec& spec, Parent& parent) {
  if (spec.root) return true;
  if (spec.remote_parent) {
    parent.context = spec.remote_parent;
    return true;
  }
  parent.object = span_in_context(state, spec.context ? spec.context : spec.current);
  if (!parent.object) return true;
  if (SpanObject* span = as_span(state, parent.object.get())) {
    parent.local = recorded_parent(span)->span;
    parent.context = &span->span_context();
    return true;
  }
  return read_foreign_parent(state, parent);
}

struct Sampling {
  trace::Decision decision = trace::Decision::kRecordAndSample;
  Ref attributes;  // of a Python sampler: replaces the caller's
  trace::TraceState trace_state;
  bool own_trace_state = false;
};

trace::TraceState header_of(ModuleState& state, PyObject* trace_state) {
  if (!trace_state || trace_state == Py_None || trace_state == state.default_trace_state.get()) {
    return nullptr;
  }
  const Ref header =
      Ref::take(call_python(PyObject_CallMethodNoArgs, trace_state, state.s_to_header.get()));
  if (!header) {
    PyErr_Clear();
    return nullptr;
  }
  const Utf8 text(header.get());
  return text.view().empty() ? nullptr : std::make_shared<const std::string>(text.view());
}

// After `owner.method()` failed: its exception is reported once and gone. False (and the error
// stays) for what is no Exception: KeyboardInterrupt and its like are the application's.
bool forgive(ModuleState& state, PyObject* owner, PyObject* method_name) {
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;
  const Ref error = Ref::take(take_exception());
  const Ref callback = Ref::take(call_python(PyObject_GetAttr, owner, method_name));
  const Ref reported =
      callback ? Ref::take(call_python(PyObject_CallFunctionObjArgs, state.processor_failed.get(),
                                       callback.get(), error.get(), nullptr))
               : Ref();
  if (!reported) drop_error();
  return true;
}

// Asks a sampler written in Python. False with a Python error.
bool ask_python(TracerObject& tracer, const SpanSpec& spec, TraceId id, Sampling& result) {
  ModuleState& state = *tracer.state;
  const Ref sampler = tracer.provider->data->python_sampler;
  const Ref trace_id = trace_id_object(id);
  const Ref name = spec.name_object ? Ref::share(spec.name_object) : text_object(spec.name);
  if (!trace_id || !name) return false;
  Ref attributes = Ref::share(spec.attributes_object);
  if (!attributes && !spec.attributes.empty()) {
    attributes = Ref::take(PyDict_New());
    for (const trace::AttributeView& attribute : spec.attributes) {
      const Ref key = text_object(attribute.key);
      const Ref value = key ? value_object(attribute.value) : Ref();
      if (!value || PyDict_SetItem(attributes.get(), key.get(), value.get()) < 0) return false;
    }
  }
  const Ref no_links = Ref::take(PyTuple_New(0));
  PyObject* arguments[] = {sampler.get(),
                           spec.context ? spec.context : Py_None,
                           trace_id.get(),
                           name.get(),
                           state.kinds[static_cast<int>(spec.kind) - 1].get(),
                           attributes ? attributes.get() : Py_None,
                           spec.links_object ? spec.links_object : no_links.get()};
  const Ref answer = Ref::take(
      call_python(PyObject_VectorcallMethod, state.s_should_sample.get(), arguments, 7, nullptr));
  const Ref decision =
      answer ? Ref::take(call_python(PyObject_GetAttr, answer.get(), state.s_decision.get()))
             : Ref();
  const Ref value =
      decision ? Ref::take(call_python(PyObject_GetAttr, decision.get(), state.s_value.get()))
               : Ref();
  if (!value) return false;
  const long number = PyLong_AsLong(value.get());
  if (number < 0 || number > 2) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "the sampler gave no Decision");
    return false;
  }
  result.decision = static_cast<trace::Decision>(number);
  result.attributes =
      Ref::take(call_python(PyObject_GetAttr, answer.get(), state.s_attributes.get()));
  const Ref trace_state =
      Ref::take(call_python(PyObject_GetAttr, answer.get(), state.s_trace_state.get()));
  if (!result.attributes || !trace_state) return false;
  result.trace_state = header_of(state, trace_state.get());
  result.own_trace_state = true;
  return true;
}

bool sample(TracerObject& tracer, const SpanSpec& spec, const Parent& parent, TraceId id,
            Sampling& result) {
  const ProviderData& data = *tracer.provider->data;
  if (spec.forced_decision >= 0) {
    result.decision =
        spec.forced_decision == 0 ? trace::Decision::kDrop : trace::Decision::kRecordAndSample;
    return true;
  }
  if (data.python_sampler) {
    const Ref sampler = data.python_sampler;
    if (ask_python(tracer, spec, id, result)) return true;
    if (!forgive(*tracer.state, sampler.get(), tracer.state->s_should_sample.get())) return false;
    // A broken sampler loses nothing: the parent's decision, and roots are recorded.
    result = {};
    if (parent.valid() && !parent.context->sampled()) result.decision = trace::Decision::kDrop;
    return true;
  }
  result.decision = data.sampler.decide(parent.valid() ? parent.context : nullptr, id);
  return true;
}

bool generate(ModuleState& state, PyObject* generator, bool root, TraceId& trace_id,
              SpanId& span_id) {
  if (root) {
    const Ref id = Ref::take(
        call_python(PyObject_CallMethodNoArgs, generator, state.s_generate_trace_id.get()));
    if (!id || !read_trace_id(id.get(), trace_id)) return false;
  }
  const Ref id =
      Ref::take(call_python(PyObject_CallMethodNoArgs, generator, state.s_generate_span_id.get()));
  if (!id) return false;
  span_id = PyLong_AsUnsignedLongLongMask(id.get());
  return !PyErr_Occurred();
}

TraceId new_trace_id(ModuleState& state) noexcept {
  return kSerialised ? state.ids.new_trace_id() : trace::new_trace_id();
}
SpanId new_span_id(ModuleState& state) noexcept {
  return kSerialised ? state.ids.new_span_id() : trace::new_span_id();
}

Ref non_recording(TracerObject& tracer, trace::SpanContext context) {
  SpanObject* span = new_span_object(*tracer.state, &tracer, false);
  Ref object = Ref::take(reinterpret_cast<PyObject*>(span));
  if (!span) return {};
  if (span->bare) {
    *span->bare = std::move(context);
    return object;
  }
  span->bare = new (std::nothrow) trace::SpanContext(std::move(context));
  if (!span->bare) {
    PyErr_NoMemory();
    return {};
  }
  return object;
}

class Links {
 public:
  Links(ModuleState& state, uint32_t max_length) : state_(state), max_length_(max_length) {}

  // What is no Link is left out, and said once in a while.
  void read(PyObject* links) {
    if (!links || links == Py_None) return;
    const Ref items = Ref::take(PySequence_Tuple(links));
    if (!items) return refuse(links);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.get()); ++i) {
      PyObject* link = PyTuple_GET_ITEM(items.get(), i);
      if (!add(link)) refuse(link);
    }
  }
  std::span<const trace::LinkView> views() const { return views_; }

 private:
  void refuse(PyObject* link) {
    drop_error();
    const Ref said = Ref::take(call_python(PyObject_CallFunction, state_.warn.get(), "ss",
                                           "a link must be a Link, not a %s; it is left out.",
                                           Py_TYPE(link)->tp_name));
    if (!said) drop_error();
  }

  bool add(PyObject* link) {
    if (link == Py_None) return true;
    const Ref context = Ref::take(call_python(PyObject_GetAttr, link, state_.s_context.get()));
    const Ref attributes =
        context ? Ref::take(call_python(PyObject_GetAttr, link, state_.s_attributes.get())) : Ref();
    if (!attributes) return false;
    trace::SpanContext read;
    if (!read_span_context(state_, context.get(), read)) return true;
    AttributeList& list = attributes_.emplace_back(state_, max_length_);
    list.add_mapping(attributes.get());
    if (!read.valid() && list.views().empty() && list.dropped() == 0 &&
        read.trace_state_text().empty()) {
      return true;
    }
    const trace::SpanContext& kept = contexts_.emplace_back(std::move(read));
    trace::LinkView view;
    view.trace_id = kept.trace_id;
    view.span_id = kept.span_id;
    view.trace_flags = kept.flags;
    view.remote = kept.remote;
    view.trace_state = kept.trace_state_text();
    view.attributes = list.views();
    view.dropped_attributes = list.dropped();
    views_.push_back(view);
    return true;
  }

  ModuleState& state_;
  uint32_t max_length_;
  std::deque<AttributeList> attributes_;
  std::deque<trace::SpanContext> contexts_;
  std::vector<trace::LinkView> views_;
};

// The ratio by which a sampled root counts for others, so that the server can extrapolate.
void add_ratio(const ProviderData& data, const SpanSpec& spec, const Parent& parent,
               trace::Span& span) {
  if (data.python_sampler || data.sampler.limiter || spec.forced_decision >= 0) return;
  if (data.sampler.parent_based && parent.valid()) return;
  if (!data.sampler.parent_based && parent.local) return;
  const double rate = data.sampler.root.rate();
  if (rate > 0 && rate < 1) span.set_sampling_ratio(rate);
}

// With attributes and links as Python objects (either may be null). Apart, because what it needs
// costs the usual start something even when it is not used.
[[gnu::noinline]] bool begin_with(SpanObject& span, trace::StartOptions& options, PyObject* mapping,
                                  PyObject* link_sequence) {
  const ProviderData& data = *span.tracer->provider->data;
  AttributeList attributes(*span.state, data.max_span_length);
  Links links(*span.state, data.max_nested_length);
  if (mapping) {
    attributes.add_mapping(mapping);
    options.attributes = attributes.views();
    options.dropped_attributes = attributes.dropped();
  }
  if (link_sequence) {
    links.read(link_sequence);
    options.links = links.views();
  }
  return span.span->begin(options);
}

// Whether the end of an unsampled trace may keep it: then it is recorded until there.
bool may_be_kept(const Parent& parent) noexcept {
  if (parent.local != nullptr) {
    const trace::LocalRoot::Fate fate = parent.local->local_root()->fate();
    return parent.local->in_own_process() &&
           (fate == trace::LocalRoot::Fate::kPending || fate == trace::LocalRoot::Fate::kKept);
  }
  // Below a span of ours that does not record, that one's decision holds.
  return !parent.object && trace::keep_rules().any();
}

Ref start_checked(TracerObject& tracer, const SpanSpec& spec) {
  ModuleState& state = *tracer.state;
  Parent parent;
  if (!find_parent(state, spec, parent)) return {};
  ProviderData& data = *tracer.provider->data;
  if (parent.local == nullptr) look_for_off_file();
  if (!tracer.enabled || !data.enabled || is_off()) return non_recording(tracer, *parent.context);

  const bool root = !parent.valid();
  TraceId trace_id = parent.context->trace_id;
  SpanId span_id = 0;
  if (data.id_generator) {
    const Ref generator = data.id_generator;
    if (!generate(state, generator.get(), root, trace_id, span_id)) {
      if (!forgive(state, generator.get(), state.s_generate_span_id.get())) return {};
      span_id = 0;
    }
    if (!trace_id.valid() || span_id == 0) {  // no ids at all: ours
      if (root) trace_id = new_trace_id(state);
      span_id = new_span_id(state);
    }
  } else {
    if (root) trace_id = new_trace_id(state);
    span_id = new_span_id(state);
  }

  Sampling sampling;
  if (!sample(tracer, spec, parent, trace_id, sampling)) return {};
  const bool held =
      sampling.decision == trace::Decision::kDrop && !spec.excluded && may_be_kept(parent);
  if (held) {
    sampling.decision = trace::Decision::kRecordOnly;
  } else if (sampling.decision == trace::Decision::kDrop) {
    trace::SpanContext context;
    context.trace_id = trace_id;
    context.span_id = span_id;
    context.flags = root ? (data.random_trace_ids ? trace::kRandomFlag : 0)
                         : (parent.context->flags & trace::kRandomFlag);
    if (sampling.own_trace_state) {
      context.trace_state = sampling.trace_state;
    } else if (!root) {
      context.trace_state = parent.context->trace_state;
    }
    return non_recording(tracer, std::move(context));
  }

  trace::StartOptions options{
      .name = spec.name,
      .kind = spec.kind,
      .local_parent = parent.local,
      .parent = root ? nullptr : parent.context,
      .scope = tracer.scope,
      .start_ns = spec.start_ns,
      .sampled = sampling.decision == trace::Decision::kRecordAndSample,
      .trace_state = sampling.own_trace_state ? &sampling.trace_state : nullptr,
      .trace_id = trace_id,
      .random_trace_id = data.random_trace_ids,
      .span_id = span_id,
      .attributes = spec.attributes,
      .dropped_attributes = 0,
      .links = spec.links,
      .limits = &data.limits,
      .serialised = kSerialised,
  };
  SpanObject* span = new_span_object(state, &tracer, true);
  Ref object = Ref::take(reinterpret_cast<PyObject*>(span));
  if (!span) return {};
  if (!span->span) span->span = trace::Span::make();
  if (!span->span) return non_recording(tracer, *parent.context);
  PyObject* mapping = sampling.attributes ? sampling.attributes.get() : spec.attributes_object;
  const bool begun = mapping || spec.links_object
                         ? begin_with(*span, options, mapping, spec.links_object)
                         : span->span->begin(options);
  if (!begun) {
    Ref folded = non_recording(tracer, *parent.context);
    if (folded && parent.local != nullptr) {
      SpanObject* ancestor = recorded_parent(as_span(state, parent.object.get()));
      reinterpret_cast<SpanObject*>(folded.get())->stand_in =
          Ref::share(reinterpret_cast<PyObject*>(ancestor)).release();
    }
    return folded;
  }
  if (held && span->span->is_local_root()) span->span->local_root()->hold_until_end();
  add_ratio(data, spec, parent, *span->span);
  span->record_exception = spec.record_exception;
  span->set_status_on_exception = spec.set_status_on_exception;
  if (data.on_start && !run_callbacks(state, data.on_start, object.get(), spec.context, true)) {
    return {};
  }
  return object;
}

}  // namespace

Ref start_span(TracerObject& tracer, const SpanSpec& spec) noexcept {
  if (!tracer.state->configured() || !tracer.provider) {
    PyErr_SetString(PyExc_RuntimeError, "nuages._native is not configured");
    return {};
  }
  // A sampler or processor in Python may let a new provider in, and the hooks' tracers go with the
  // old one.
  const Ref kept = Ref::share(reinterpret_cast<PyObject*>(&tracer));
  try {
    return start_checked(tracer, spec);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return {};
  }
}

bool read_span_context(ModuleState& state, PyObject* object, trace::SpanContext& out) noexcept {
  if (!PyObject_TypeCheck(object,
                          reinterpret_cast<PyTypeObject*>(state.span_context_class.get())) ||
      !PyTuple_Check(object) || PyTuple_GET_SIZE(object) != 6) {
    return false;
  }
  out.span_id = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(object, 1));
  const unsigned long flags = PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(object, 3));
  if (PyErr_Occurred() || !read_trace_id(PyTuple_GET_ITEM(object, 0), out.trace_id)) {
    PyErr_Clear();
    return false;
  }
  out.flags = static_cast<uint8_t>(flags);
  out.remote = PyTuple_GET_ITEM(object, 2) == Py_True;
  // Ids that are too large for the wire are none at all; a link keeps half a context as it is.
  if (PyTuple_GET_ITEM(object, 5) != Py_True && out.valid()) {
    out.trace_id = {};
    out.span_id = 0;
  }
  try {
    out.trace_state = header_of(state, PyTuple_GET_ITEM(object, 4));
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

Ref span_context_object(ModuleState& state, const trace::SpanContext& context) noexcept {
  Ref trace_state = state.default_trace_state;
  if (!context.trace_state_text().empty()) {
    const Ref text = text_object(context.trace_state_text());
    const Ref headers = text ? Ref::take(PyList_New(1)) : Ref();
    if (!headers) return {};
    PyList_SET_ITEM(headers.get(), 0, Ref(text).release());
    trace_state = Ref::take(
        call_python(PyObject_CallOneArg, state.trace_state_from_header.get(), headers.get()));
    if (!trace_state) return {};
  }
  const Ref trace_id = trace_id_object(context.trace_id);
  const Ref span_id = Ref::take(PyLong_FromUnsignedLongLong(context.span_id));
  if (!trace_id || !span_id) return {};
  const Ref fields =
      Ref::take(PyTuple_Pack(6, trace_id.get(), span_id.get(), context.remote ? Py_True : Py_False,
                             state.trace_flags[context.flags & 3].get(), trace_state.get(),
                             context.valid() ? Py_True : Py_False));
  const Ref arguments = fields ? Ref::take(PyTuple_Pack(1, fields.get())) : Ref();
  if (!arguments) return {};
  // SpanContext is a tuple of these six (opentelemetry-api since 1.0); its own __new__ only checks.
  return Ref::take(PyTuple_Type.tp_new(
      reinterpret_cast<PyTypeObject*>(state.span_context_class.get()), arguments.get(), nullptr));
}

}  // namespace nuages::python
