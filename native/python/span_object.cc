// The span types' life and writing methods; reading is in span_read.cc.
#include "python/span_object.h"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <optional>

#include "python/args.h"
#include "python/convert.h"
#include "python/held.h"
#include "python/logs.h"
#include "python/off_switch.h"
#include "python/provider.h"
#include "python/span_read.h"
#include "trace/span_fast.h"

namespace nuages::python {
namespace {

SpanObject* self_of(PyObject* object) { return reinterpret_cast<SpanObject*>(object); }

// A write that the core refused: said once in a while, but not for a span that a fork left behind.
PyObject* refused(SpanObject* self, const char* what) {
  if (!self->span->ended()) Py_RETURN_NONE;
  const Ref said = Ref::take(call_python(PyObject_CallFunction, self->state->warn.get(), "ss",
                                         "%s was called on an ended span; it is ignored.", what));
  if (!said) drop_error();
  Py_RETURN_NONE;
}

uint32_t nested_length(const SpanObject* self) {
  return self->tracer && self->tracer->provider ? self->tracer->provider->data->max_nested_length
                                                : trace::SpanLimits::kUnlimited;
}

int span_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(self_of(self)->tracer));
  Py_VISIT(self_of(self)->context);
  Py_VISIT(self_of(self)->parent);
  Py_VISIT(self_of(self)->stand_in);
  Py_VISIT(self_of(self)->exceptions);
  Py_VISIT(self_of(self)->dict);
  return 0;
}

int span_clear(PyObject* self) {
  Py_CLEAR(self_of(self)->stand_in);
  Py_CLEAR(self_of(self)->exceptions);
  Py_CLEAR(self_of(self)->dict);
  return 0;
}

void span_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  SpanObject* span = self_of(self);
  if (span->weak_references) PyObject_ClearWeakRefs(self);
  Py_CLEAR(span->context);
  Py_CLEAR(span->parent);
  Py_CLEAR(span->stand_in);
  Py_CLEAR(span->exceptions);
  if (span->dict && (Py_REFCNT(span->dict) > 1 || PyDict_GET_SIZE(span->dict) > 0)) {
    Py_CLEAR(span->dict);
  }
  Py_CLEAR(span->tracer);
  Recycler* recycler = span->recycler;  // the module's state may be gone
  bool kept = false;
  if (!recycler || recycler->closed) {
  } else if (type == recycler->span_type) {
    if (span->span && span->span->only_reference()) {
      span->span->make_idle();
      kept = recycler->spans.give(self);
    }
  } else if (type == recycler->nonrecording_type && span->bare) {
    span->bare->trace_state.reset();
    kept = recycler->nonrecording.give(self);
  }
  if (recycler) recycler->forget();
  if (!kept) {
    if (span->span) span->span->release();
    delete span->bare;
    Py_CLEAR(span->dict);
    type->tp_free(self);
  }
  Py_DECREF(type);
}

PyObject* no_new(PyTypeObject* type, PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError, "%s must be instantiated via a tracer.", type->tp_name);
}

// ---- recording

// Nearly always: a new key and a plain value. False: nothing was done.
[[gnu::always_inline]] inline bool add_plain(const SpanObject* span, PyObject* key_object,
                                             PyObject* value) noexcept {
  std::string_view key, text;
  int64_t number = 0;
  if (!ascii_text(key_object, key) || key.empty()) return false;
  trace::Span& core = *span->span;
  const PyTypeObject* type = Py_TYPE(value);
  if (type == &PyUnicode_Type) {
    return ascii_text(value, text) && text.size() <= span->max_text && core.add_text(key, text);
  }
  if (type == &PyLong_Type) {
    return small_int(value, number) && core.add_number(key, wire::ValueType::kInt, number);
  }
  if (type == &PyFloat_Type) {
    return core.add_number(key, wire::ValueType::kDouble, PyFloat_AS_DOUBLE(value));
  }
  return type == &PyBool_Type &&
         core.add_number(key, wire::ValueType::kBool, static_cast<char>(value == Py_True));
}

[[gnu::noinline]] PyObject* set_any_attribute(PyObject* self, PyObject* const* args,
                                              Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const kNames[] = {"key", "value"};
  PyObject* values[2] = {};
  if (nargs == 2 && kwnames == nullptr) {
    SpanObject* span = self_of(self);
    std::string_view key;
    trace::ValueView value;
    if (ascii_text(args[0], key) && !key.empty() && plain_value(args[1], span->max_text, value)) {
      if (!span->span->set_attribute(key, value)) return refused(span, "set_attribute()");
      Py_RETURN_NONE;
    }
  }
  if (!read_arguments("set_attribute", kNames, 2, args, nargs, kwnames, values)) return nullptr;
  SpanObject* span = self_of(self);
  Py_ssize_t size = 0;
  const char* key =
      PyUnicode_Check(values[0]) ? PyUnicode_AsUTF8AndSize(values[0], &size) : nullptr;
  if (!key || size == 0) {  // odd keys: the general way says what is wrong
    PyErr_Clear();
    AttributeList list(*span->state, span->max_text);
    list.add(values[0], values[1]);
    span->span->set_attributes(list.views(), list.dropped());
    Py_RETURN_NONE;
  }
  ValueHolder holder;
  if (!holder.convert(*span->state, values[1], span->max_text)) Py_RETURN_NONE;
  if (!span->span->set_attribute({key, static_cast<size_t>(size)}, holder.view())) {
    return refused(span, "set_attribute()");
  }
  Py_RETURN_NONE;
}

PyObject* span_set_attribute(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                             PyObject* kwnames) {
  if (nargs == 2 && kwnames == nullptr && add_plain(self_of(self), args[0], args[1])) [[likely]] {
    Py_RETURN_NONE;
  }
  return set_any_attribute(self, args, nargs, kwnames);
}

PyObject* span_set_attributes(PyObject* self, PyObject* attributes) {
  SpanObject* span = self_of(self);
  AttributeList list(*span->state, span->max_text);
  list.add_mapping(attributes);
  if ((!list.views().empty() || list.dropped() > 0) &&
      !span->span->set_attributes(list.views(), list.dropped())) {
    return refused(span, "set_attributes()");
  }
  Py_RETURN_NONE;
}

PyObject* span_add_event(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames) {
  static const char* const kNames[] = {"name", "attributes", "timestamp"};
  PyObject* values[3] = {};
  uint64_t time = 0;
  if (!read_arguments("add_event", kNames, 1, args, nargs, kwnames, values)) {
    return nullptr;
  }
  read_time(values[2], time);
  SpanObject* span = self_of(self);
  AttributeList list(*span->state, nested_length(span));
  list.add_mapping(values[1]);
  const Utf8 name(values[0]);
  if (!span->span->add_event(name.view(), time, list.views(), list.dropped())) {
    return refused(span, "add_event()");
  }
  Py_RETURN_NONE;
}

PyObject* span_add_link(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  static const char* const kNames[] = {"context", "attributes"};
  PyObject* values[2] = {};
  if (!read_arguments("add_link", kNames, 1, args, nargs, kwnames, values)) return nullptr;
  SpanObject* span = self_of(self);
  trace::SpanContext context;
  if (!read_span_context(*span->state, values[0], context)) Py_RETURN_NONE;
  AttributeList list(*span->state, nested_length(span));
  list.add_mapping(values[1]);
  if (!context.valid() && list.views().empty() && list.dropped() == 0 &&
      context.trace_state_text().empty()) {
    Py_RETURN_NONE;
  }
  trace::LinkView link;
  link.trace_id = context.trace_id;
  link.span_id = context.span_id;
  link.trace_flags = context.flags;
  link.remote = context.remote;
  link.trace_state = context.trace_state_text();
  link.attributes = list.views();
  link.dropped_attributes = list.dropped();
  if (!span->span->add_link(link)) return refused(span, "add_link()");
  Py_RETURN_NONE;
}

bool seen_before(SpanObject* span, PyObject* exception) {
  if (!span->exceptions) span->exceptions = PyList_New(0);
  if (!span->exceptions) {
    PyErr_Clear();
    return false;
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(span->exceptions); ++i) {
    if (PyList_GET_ITEM(span->exceptions, i) == exception) return true;
  }
  if (PyList_Append(span->exceptions, exception) < 0) PyErr_Clear();
  return false;
}

// Leaves no Python error.
bool add_exception(SpanObject* span, PyObject* exception, PyObject* attributes, uint64_t time,
                   bool escaped) {
  if (!span->span->is_recording()) return false;
  if (seen_before(span, exception)) return true;
  const Ref described =
      Ref::take(call_python(PyObject_CallFunctionObjArgs, span->state->exception_attributes.get(),
                            exception, escaped ? Py_True : Py_False, nullptr));
  if (!described) drop_error();
  if (described && attributes && attributes != Py_None &&
      PyDict_Update(described.get(), attributes) < 0) {
    PyErr_Clear();
  }
  AttributeList list(*span->state, nested_length(span));
  list.add_mapping(described.get());
  return span->span->add_event("exception", time, list.views(), list.dropped());
}

PyObject* span_record_exception(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                                PyObject* kwnames) {
  static const char* const kNames[] = {"exception", "attributes", "timestamp", "escaped"};
  PyObject* values[4] = {};
  uint64_t time = 0;
  if (!read_arguments("record_exception", kNames, 1, args, nargs, kwnames, values)) {
    return nullptr;
  }
  read_time(values[2], time);
  const int escaped = flag_or(values[3], false);
  if (escaped < 0) return nullptr;
  if (!add_exception(self_of(self), values[0], values[1], time, escaped != 0)) {
    return refused(self_of(self), "record_exception()");
  }
  Py_RETURN_NONE;
}

PyObject* span_set_status(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                          PyObject* kwnames) {
  static const char* const kNames[] = {"status", "description"};
  PyObject* values[2] = {};
  if (!read_arguments("set_status", kNames, 1, args, nargs, kwnames, values)) return nullptr;
  SpanObject* span = self_of(self);
  ModuleState& state = *span->state;
  Ref code = Ref::share(values[0]);
  Ref description = Ref::share(values[1]);
  if (PyObject_TypeCheck(values[0], reinterpret_cast<PyTypeObject*>(state.status_class.get()))) {
    code = Ref::take(call_python(PyObject_GetAttr, values[0], state.s_status_code.get()));
    description = Ref::take(call_python(PyObject_GetAttr, values[0], state.s_description.get()));
    if (!code || !description) return nullptr;
  }
  std::optional<Utf8> text;
  if (description && PyUnicode_Check(description.get())) text.emplace(description.get());
  for (int i = 0; i < 3; ++i) {
    if (code.get() != state.status_codes[i].get()) continue;
    const std::string_view message = text ? text->view() : std::string_view();
    if (!span->span->set_status(static_cast<wire::StatusCode>(i), message)) {
      return refused(span, "set_status()");
    }
  }
  Py_RETURN_NONE;
}

PyObject* span_update_name(PyObject* self, PyObject* name) {
  const Utf8 text(name);
  if (!self_of(self)->span->update_name(text.view()))
    return refused(self_of(self), "update_name()");
  Py_RETURN_NONE;
}

PyObject* span_is_recording(PyObject* self, PyObject*) {
  return PyBool_FromLong(self_of(self)->span->is_recording() ? 1 : 0);
}

PyObject* span_end(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const kNames[] = {"end_time"};
  PyObject* values[1] = {};
  uint64_t time = 0;
  if (!read_arguments("end", kNames, 0, args, nargs, kwnames, values)) {
    return nullptr;
  }
  read_time(values[0], time);
  if (!finish_span(self_of(self), time)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* span_enter(PyObject* self, PyObject*) { return Ref::share(self).release(); }

// `with tracer.start_span(...)`: any BaseException counts as escaped, as in the SDK.
PyObject* span_exit(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  SpanObject* span = self_of(self);
  if (nargs >= 2 && args[1] != Py_None && span->span->is_recording()) {
    if (span->record_exception) {
      record_exception(span, args[1], true, span->set_status_on_exception);
    } else if (span->set_status_on_exception) {
      set_error_status(span, args[1]);
    }
  }
  if (!finish_span(span, 0)) return nullptr;
  Py_RETURN_NONE;
}

constexpr int kFast = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef kRecordingMethods[] = {
    {"set_attribute", method(span_set_attribute), kFast, "Sets one attribute."},
    {"set_attributes", span_set_attributes, METH_O, "Sets the items of a mapping."},
    {"add_event", method(span_add_event), kFast, "Adds an event."},
    {"add_link", method(span_add_link), kFast, "Adds a link to another span."},
    {"record_exception", method(span_record_exception), kFast,
     "Adds an `exception` event, once per exception object."},
    {"set_status", method(span_set_status), kFast, "OK is final, UNSET is ignored."},
    {"update_name", span_update_name, METH_O, "Renames the span."},
    {"is_recording", span_is_recording, METH_NOARGS, "Whether the span still takes data."},
    {"end", method(span_end), kFast, "Ends the span; only the first call counts."},
    {"__enter__", span_enter, METH_NOARGS, nullptr},
    {"__exit__", method(span_exit), METH_FASTCALL, nullptr},
    {}};

// ---- non-recording: the same methods do nothing

PyObject* nothing(PyObject*, PyObject* const*, Py_ssize_t, PyObject*) { Py_RETURN_NONE; }
PyObject* nothing_one(PyObject*, PyObject*) { Py_RETURN_NONE; }
PyObject* always_false(PyObject*, PyObject*) { Py_RETURN_FALSE; }

PyMethodDef kBareMethods[] = {{"set_attribute", method(nothing), kFast, nullptr},
                              {"set_attributes", nothing_one, METH_O, nullptr},
                              {"add_event", method(nothing), kFast, nullptr},
                              {"add_link", method(nothing), kFast, nullptr},
                              {"record_exception", method(nothing), kFast, nullptr},
                              {"set_status", method(nothing), kFast, nullptr},
                              {"update_name", nothing_one, METH_O, nullptr},
                              {"is_recording", always_false, METH_NOARGS, nullptr},
                              {"end", method(nothing), kFast, nullptr},
                              {"__enter__", span_enter, METH_NOARGS, nullptr},
                              {"__exit__", method(nothing), kFast, nullptr},
                              {}};

PyObject* get_span_context(PyObject* self, PyObject*) {
  return Ref::share(context_of(self_of(self))).release();
}

PyObject* get_context(PyObject* self, void*) { return get_span_context(self, nullptr); }

PyMethodDef kBaseMethods[] = {
    {"get_span_context", get_span_context, METH_NOARGS, "The span's SpanContext."}, {}};
PyGetSetDef kBaseGetSet[] = {
    {"context", get_context, nullptr, nullptr, nullptr},
    {"_context", get_context, nullptr, nullptr, nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {}};

constexpr unsigned kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;

PyMemberDef kBaseMembers[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(SpanObject, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SpanObject, weak_references), READONLY, nullptr},
    {}};

PyType_Slot kBaseSlots[] = {{Py_tp_new, reinterpret_cast<void*>(no_new)},
                            {Py_tp_dealloc, reinterpret_cast<void*>(span_dealloc)},
                            {Py_tp_traverse, reinterpret_cast<void*>(span_traverse)},
                            {Py_tp_clear, reinterpret_cast<void*>(span_clear)},
                            {Py_tp_methods, kBaseMethods},
                            {Py_tp_getset, kBaseGetSet},
                            {Py_tp_members, kBaseMembers},
                            {}};
PyType_Spec kBaseSpec = {"nuages._native.SpanBase", sizeof(SpanObject), 0, kFlags, kBaseSlots};

PyType_Slot kRecordingSlots[] = {{Py_tp_new, reinterpret_cast<void*>(no_new)},
                                 {Py_tp_dealloc, reinterpret_cast<void*>(span_dealloc)},
                                 {Py_tp_traverse, reinterpret_cast<void*>(span_traverse)},
                                 {Py_tp_clear, reinterpret_cast<void*>(span_clear)},
                                 {Py_tp_methods, kRecordingMethods},
                                 {Py_tp_getset, kRecordingGetSet},
                                 {}};
PyType_Spec kRecordingSpec = {"nuages._native.RecordingSpanBase", sizeof(SpanObject), 0, kFlags,
                              kRecordingSlots};

PyType_Slot kBareSlots[] = {{Py_tp_new, reinterpret_cast<void*>(no_new)},
                            {Py_tp_dealloc, reinterpret_cast<void*>(span_dealloc)},
                            {Py_tp_traverse, reinterpret_cast<void*>(span_traverse)},
                            {Py_tp_clear, reinterpret_cast<void*>(span_clear)},
                            {Py_tp_methods, kBareMethods},
                            {}};
PyType_Spec kBareSpec = {"nuages._native.NonRecordingSpanBase", sizeof(SpanObject), 0, kFlags,
                         kBareSlots};

}  // namespace

PyObject* context_of(SpanObject* span) noexcept {
  if (!span->context) {
    span->context = span_context_object(*span->state, span->span_context()).release();
  }
  return span->context;
}

namespace {

// What a root of the application's own (a command, a script) says about the queries below it.
void note_queries(trace::Span& span) noexcept {
  if (!span.is_local_root() || !span.is_recording()) return;
  trace::LocalRoot& root = *span.local_root();
  if (root.query_count() == 0 || root.noted()) return;
  try {
    trace::annotate_n_plus_one(span, root.n_plus_one());
  } catch (const std::bad_alloc&) {
    root.set_noted();  // the span goes out without
  }
}

}  // namespace

namespace {

// Whether an unsampled trace that was held until now is kept; called before the span's end. For
// spans below the root only notes errors.
bool settle_fate(trace::Span& span, uint64_t end_ns) noexcept {
  trace::LocalRoot& root = *span.local_root();
  if (root.fate() != trace::LocalRoot::Fate::kPending || !span.is_recording()) return false;
  if (span.status() == wire::StatusCode::kError) root.note_error();
  if (!span.is_local_root()) return false;
  const trace::KeepRules rules = trace::keep_rules();
  const uint64_t end = end_ns != 0 ? end_ns : root.now();
  std::string why;
  const auto because = [&why](bool holds, std::string_view word) {
    if (holds) why.append(why.empty() ? "" : ",").append(word);
  };
  try {
    because(rules.errors && root.has_errors(), "error");
    because(rules.slow_ns != 0 && end > span.start_ns() + rules.slow_ns, "slow");
    because(rules.n_plus_one && root.n_plus_one().potential_n_plus_one, "n_plus_one");
    if (!why.empty()) span.set_attribute("nuages.sampling.kept", trace::text_value(why));
  } catch (const std::bad_alloc&) {
    why.clear();
  }
  return !why.empty();
}

// `keep`: of the local root of a held trace, whether it stays.
void publish(const trace::Span& span, bool keep, std::span<trace::RecordSink* const> sinks) {
  trace::LocalRoot& root = *span.local_root();
  using Fate = trace::LocalRoot::Fate;
  const bool held = !span.context().sampled();
  if (held && root.fate() == Fate::kPending) {
    if (!span.is_local_root()) {
      Holder holder(root);
      span.publish(holder, true);
      return;
    }
    root.settle(keep, sinks);
  }
  if (held && root.fate() != Fate::kKept) return;
  for (trace::RecordSink* sink : sinks) span.publish(*sink, held);
  if (!span.is_local_root() || root.dropped_spans() == 0) return;
  try {
    trace::publish_folded(span, sinks);
  } catch (const std::bad_alloc&) {
    return;  // the count on the root is all that is left
  }
}

}  // namespace

SpanObject* new_span_object(ModuleState& state, TracerObject* tracer, bool recording) noexcept {
  auto* type = reinterpret_cast<PyTypeObject*>(
      (recording ? state.span_class : state.nonrecording_class).get());
  PyObject* object = (recording ? state.recycler->spans : state.recycler->nonrecording).take(type);
  if (object) {
    PyObject_GC_Track(object);
  } else {
    object = type->tp_alloc(type, 0);
    if (!object) return nullptr;
  }
  SpanObject* span = self_of(object);
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
  // This interpreter has a fast way to methods of objects with a dict, and of those that can have
  // none, but not of those that have none yet.
  if (!span->dict) span->dict = PyDict_New();
  if (!span->dict) PyErr_Clear();
#endif
  span->state = &state;
  span->recycler = state.recycler;
  ++state.recycler->live;
  span->tracer = tracer;
  Py_XINCREF(reinterpret_cast<PyObject*>(tracer));
  span->max_text = tracer && tracer->provider ? tracer->provider->data->max_span_length
                                              : trace::SpanLimits::kUnlimited;
  span->record_exception = span->set_status_on_exception = span->parent_known = false;
  span->inner_ns = 0;
  return span;
}

void free_idle_spans(ModuleState& state) noexcept {
  for (IdleObjects* idle : {&state.recycler->spans, &state.recycler->nonrecording}) {
    while (idle->count > 0) {
      SpanObject* span = self_of(idle->objects[--idle->count]);
      if (span->span) span->span->release();
      delete span->bare;
      Py_CLEAR(span->dict);
      PyObject_GC_Del(span);
    }
  }
}

bool add_exact_methods(PyObject* type, PyMethodDef* methods) noexcept {
  auto* exact = reinterpret_cast<PyTypeObject*>(type);
  for (PyMethodDef* each = methods; each->ml_name; ++each) {
    const Ref own = Ref::take(PyObject_GetAttrString(type, "__dict__"));
    const Ref name = own ? Ref::take(PyUnicode_InternFromString(each->ml_name)) : Ref();
    const int defined = name ? PySequence_Contains(own.get(), name.get()) : -1;
    if (defined < 0) return false;
    if (defined > 0) continue;
    const Ref descriptor = Ref::take(PyDescr_NewMethod(exact, each));
    if (!descriptor || PyObject_SetAttr(type, name.get(), descriptor.get()) < 0) return false;
  }
  return true;
}

bool add_exact_span_methods(ModuleState& state) noexcept {
  state.recycler->span_type = reinterpret_cast<PyTypeObject*>(state.span_class.get());
  state.recycler->nonrecording_type =
      reinterpret_cast<PyTypeObject*>(state.nonrecording_class.get());
  return add_exact_methods(state.span_class.get(), kRecordingMethods) &&
         add_exact_methods(state.span_class.get(), kBaseMethods) &&
         add_exact_methods(state.nonrecording_class.get(), kBareMethods) &&
         add_exact_methods(state.nonrecording_class.get(), kBaseMethods);
}

bool finish_span(SpanObject* span, uint64_t end_ns) noexcept {
  note_queries(*span->span);
  const bool keep = settle_fate(*span->span, end_ns);
  if (const uint32_t folded = span->span->local_root()->dropped_spans();
      folded > 0 && span->span->is_local_root()) {
    span->span->set_attribute("nuages.folded_spans", trace::int_value(folded));
  }
  if (!span->span->end(end_ns)) {
    Py_DECREF(refused(span, "end()"));
    return true;
  }
  Py_CLEAR(span->exceptions);
  bool ok = true;
  if (span->tracer && span->tracer->provider) {
    const ProviderData& data = *span->tracer->provider->data;
    if (data.on_ending || data.on_end) {
      const Ref kept = Ref::share(reinterpret_cast<PyObject*>(span));
      span->span->set_editable(true);
      ok = run_callbacks(*span->state, data.on_ending, kept.get(), nullptr, false) &&
           run_callbacks(*span->state, data.on_end, kept.get(), nullptr, false);
      span->span->set_editable(false);
    }
    if (!is_off()) publish(*span->span, keep, data.sinks);
  }
  drain_logs(*span->state);
  return ok;
}

void set_error_status(SpanObject* span, PyObject* exception) noexcept {
  const Ref text =
      Ref::take(call_python(PyObject_CallOneArg, span->state->describe_exception.get(), exception));
  if (!text) drop_error();
  const Utf8 shown(text ? text.get() : Py_None);
  span->span->set_status(wire::StatusCode::kError, text ? shown.view() : std::string_view());
}

void record_exception(SpanObject* span, PyObject* exception, bool escaped,
                      bool set_status) noexcept {
  if (!span->span || !span->span->is_recording()) return;
  const ErrorGuard guard;
  add_exception(span, exception, nullptr, 0, escaped);
  if (set_status) set_error_status(span, exception);
}

void end_span(SpanObject* span, uint64_t end_ns) noexcept {
  if (!span->span) return;
  const ErrorGuard guard;
  if (finish_span(span, end_ns)) return;
  drop_error();
}

int add_span_types(PyObject* module, ModuleState& state) noexcept {
  state.span_base =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kBaseSpec, nullptr));
  if (!state.span_base || PyModule_AddType(module, state.span_base) < 0) return -1;
  const Ref bases = Ref::take(PyTuple_Pack(1, state.span_base));
  if (!bases) return -1;
  state.recording_base = reinterpret_cast<PyTypeObject*>(
      PyType_FromModuleAndSpec(module, &kRecordingSpec, bases.get()));
  if (!state.recording_base || PyModule_AddType(module, state.recording_base) < 0) return -1;
  state.nonrecording_base =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kBareSpec, bases.get()));
  return state.nonrecording_base ? PyModule_AddType(module, state.nonrecording_base) : -1;
}

}  // namespace nuages::python
