#include "python/span_read.h"

#include <string>

#include "python/convert.h"
#include "python/provider.h"

namespace nuages::python {
namespace {

SpanObject* self_of(PyObject* object) { return reinterpret_cast<SpanObject*>(object); }

// Runs a write; on an ended span outside on_end it changes the object's own copy of the data.
template <typename F>
void write(SpanObject* span, F&& change) {
  if (change()) return;
  span->span->set_editable(true);
  change();
  span->span->set_editable(false);
}

PyObject* get_name(PyObject* self, void*) {
  std::string name;
  self_of(self)->span->read([&](const trace::RecordView& record) { name = record.name(); });
  return text_object(name).release();
}

int set_name(PyObject* self, PyObject* value, void*) {
  if (!value) return PyErr_SetString(PyExc_AttributeError, "_name cannot be deleted"), -1;
  const Utf8 text(value);
  write(self_of(self), [&] { return self_of(self)->span->update_name(text.view()); });
  return 0;
}

PyObject* get_kind(PyObject* self, void*) {
  const auto kind = static_cast<size_t>(self_of(self)->span->kind());
  return Ref::share(self_of(self)->state->kinds[kind > 0 ? kind - 1 : 0].get()).release();
}

PyObject* get_parent(PyObject* self, void*) {
  SpanObject* span = self_of(self);
  if (!span->parent_known) {
    if (span->span->parent_id() != 0) {
      span->parent = span_context_object(*span->state, span->span->parent()).release();
      if (!span->parent) return nullptr;
    }
    span->parent_known = true;
  }
  return Ref::share(span->parent ? span->parent : Py_None).release();
}

int set_parent(PyObject* self, PyObject* value, void*) {
  if (!value) return PyErr_SetString(PyExc_AttributeError, "_parent cannot be deleted"), -1;
  SpanObject* span = self_of(self);
  const Ref old = Ref::take(span->parent);
  span->parent = value == Py_None ? nullptr : Ref::share(value).release();
  span->parent_known = true;
  return 0;
}

PyObject* get_start(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(self_of(self)->span->start_ns());
}

PyObject* get_end(PyObject* self, void*) {
  const uint64_t end = self_of(self)->span->end_ns();
  if (end == 0) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(end);
}

PyObject* get_status(PyObject* self, void*) {
  SpanObject* span = self_of(self);
  auto code = wire::StatusCode::kUnset;
  std::string message;
  span->span->read([&](const trace::RecordView& record) {
    code = record.status();
    message = record.status_message();
  });
  PyObject* code_object = span->state->status_codes[static_cast<int>(code)].get();
  if (message.empty())
    return call_python(PyObject_CallOneArg, span->state->status_class.get(), code_object);
  const Ref text = text_object(message);
  if (!text) return nullptr;
  return call_python(PyObject_CallFunctionObjArgs, span->state->status_class.get(), code_object,
                     text.get(), nullptr);
}

int set_status(PyObject* self, PyObject* value, void*) {
  if (!value) return PyErr_SetString(PyExc_AttributeError, "_status cannot be deleted"), -1;
  SpanObject* span = self_of(self);
  ModuleState& state = *span->state;
  const Ref code = Ref::take(call_python(PyObject_GetAttr, value, state.s_status_code.get()));
  const Ref text =
      code ? Ref::take(call_python(PyObject_GetAttr, value, state.s_description.get())) : Ref();
  if (!text) return -1;
  for (int i = 0; i < 3; ++i) {
    if (code.get() != state.status_codes[i].get()) continue;
    const Utf8 message(text.get());
    const std::string_view shown = text.get() == Py_None ? std::string_view() : message.view();
    write(span,
          [&] { return span->span->replace_status(static_cast<wire::StatusCode>(i), shown); });
  }
  return 0;
}

PyObject* get_resource(PyObject* self, void*) {
  const TracerObject* tracer = self_of(self)->tracer;
  PyObject* resource =
      tracer && tracer->provider ? tracer->provider->data->resource.get() : nullptr;
  return Ref::share(resource ? resource : Py_None).release();
}

PyObject* get_scope(PyObject* self, void*) {
  const TracerObject* tracer = self_of(self)->tracer;
  return Ref::share(tracer && tracer->scope_object ? tracer->scope_object : Py_None).release();
}

PyObject* get_tracer(PyObject* self, void*) {
  auto* tracer = reinterpret_cast<PyObject*>(self_of(self)->tracer);
  return Ref::share(tracer ? tracer : Py_None).release();
}

template <uint32_t trace::RecordHeader::* kField>
PyObject* get_dropped(PyObject* self, void*) {
  uint32_t value = 0;
  self_of(self)->span->read(
      [&](const trace::RecordView& record) { value = record.header().*kField; });
  return PyLong_FromUnsignedLong(value);
}

// ---- module functions; each takes a recording span first

SpanObject* checked(PyObject* module, PyObject* object) {
  ModuleState* state = module_state(module);
  SpanObject* span = state ? as_span(*state, object) : nullptr;
  if (span && span->span) return span;
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "not a recording span of nuages");
  return nullptr;
}

PyObject* attribute_dict(PyObject* module, PyObject* object) {
  SpanObject* span = checked(module, object);
  if (!span) return nullptr;
  const std::string bytes = span->span->snapshot();
  return attributes_object(trace::RecordView(bytes).attributes()).release();
}

PyObject* put_attribute(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 3) return PyErr_Format(PyExc_TypeError, "put_attribute() takes 3 arguments");
  SpanObject* span = checked(module, args[0]);
  if (!span) return nullptr;
  // Limits hold while the span lives; afterwards the SDK's copy is a plain dict without any.
  const bool ended = span->span->ended();
  AttributeList list(*span->state,
                     ended ? trace::SpanLimits::kUnlimited : span->span->limits().max_value_length);
  if (list.add(args[1], args[2])) {
    const trace::AttributeView item = list.views()[0];
    write(span, [&] {
      return ended ? span->span->force_attribute(item.key, item.value)
                   : span->span->set_attribute(item.key, item.value);
    });
  }
  Py_RETURN_NONE;
}

PyObject* remove_attribute(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "remove_attribute() takes 2 arguments");
  SpanObject* span = checked(module, args[0]);
  if (!span) return nullptr;
  const Utf8 key(args[1]);
  bool there = false;
  span->span->read([&](const trace::RecordView& record) {
    for (const trace::AttributeView attribute : record.attributes()) {
      there = there || attribute.key == key.view();
    }
  });
  if (!there) return PyErr_SetObject(PyExc_KeyError, args[1]), nullptr;
  write(span, [&] { return span->span->remove_attribute(key.view()); });
  Py_RETURN_NONE;
}

PyObject* clear_part(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "clear_part() takes 2 arguments");
  SpanObject* span = checked(module, args[0]);
  if (!span) return nullptr;
  const Utf8 part(args[1]);
  write(span, [&] {
    if (part.view() == "attributes") return span->span->clear_attributes();
    if (part.view() == "events") return span->span->clear_events();
    return span->span->clear_links();
  });
  Py_RETURN_NONE;
}

// put_event(span, name, attributes, timestamp): also on ended spans, for `_events = (...)`.
PyObject* put_event(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) return PyErr_Format(PyExc_TypeError, "put_event() takes 4 arguments");
  SpanObject* span = checked(module, args[0]);
  if (!span) return nullptr;
  const uint64_t time = PyLong_AsUnsignedLongLongMask(args[3]);
  if (PyErr_Occurred()) return nullptr;
  AttributeList list(*span->state);
  list.add_mapping(args[2]);
  const Utf8 name(args[1]);
  write(span, [&] { return span->span->add_event(name.view(), time, list.views()); });
  Py_RETURN_NONE;
}

// [(name, time, attributes, dropped_attributes), ...]
PyObject* event_list(PyObject* module, PyObject* object) {
  SpanObject* span = checked(module, object);
  if (!span) return nullptr;
  const std::string bytes = span->span->snapshot();
  Ref list = Ref::take(PyList_New(0));
  if (!list) return nullptr;
  const trace::RecordView record(bytes);
  for (const trace::EventView event : record.events()) {
    const Ref name = text_object(event.name);
    const Ref attributes = attributes_object(event.attributes);
    if (!name || !attributes) return nullptr;
    const Ref item = Ref::take(Py_BuildValue("(OKOI)", name.get(),
                                             static_cast<unsigned long long>(event.time_ns),
                                             attributes.get(), event.dropped_attributes));
    if (!item || PyList_Append(list.get(), item.get()) < 0) return nullptr;
  }
  return list.release();
}

// [(SpanContext, attributes, dropped_attributes), ...]
PyObject* link_list(PyObject* module, PyObject* object) {
  SpanObject* span = checked(module, object);
  if (!span) return nullptr;
  const std::string bytes = span->span->snapshot();
  Ref list = Ref::take(PyList_New(0));
  if (!list) return nullptr;
  const trace::RecordView record(bytes);
  for (const trace::LinkRead link : record.links()) {
    trace::SpanContext context;
    context.trace_id = link.trace_id;
    context.span_id = link.span_id;
    context.flags = static_cast<uint8_t>(link.flags & 3);
    context.remote = (link.flags & 0x200) != 0;
    if (!link.trace_state.empty()) {
      context.trace_state = std::make_shared<const std::string>(link.trace_state);
    }
    const Ref context_object = span_context_object(*span->state, context);
    const Ref attributes = context_object ? attributes_object(link.attributes) : Ref();
    if (!attributes) return nullptr;
    const Ref item = Ref::take(
        Py_BuildValue("(OOI)", context_object.get(), attributes.get(), link.dropped_attributes));
    if (!item || PyList_Append(list.get(), item.get()) < 0) return nullptr;
  }
  return list.release();
}

}  // namespace

PyGetSetDef kRecordingGetSet[] = {
    {"name", get_name, nullptr, nullptr, nullptr},
    {"_name", get_name, set_name, nullptr, nullptr},
    {"kind", get_kind, nullptr, nullptr, nullptr},
    {"_kind", get_kind, nullptr, nullptr, nullptr},
    {"parent", get_parent, nullptr, nullptr, nullptr},
    {"_parent", get_parent, set_parent, nullptr, nullptr},
    {"start_time", get_start, nullptr, nullptr, nullptr},
    {"_start_time", get_start, nullptr, nullptr, nullptr},
    {"end_time", get_end, nullptr, nullptr, nullptr},
    {"_end_time", get_end, nullptr, nullptr, nullptr},
    {"status", get_status, nullptr, nullptr, nullptr},
    {"_status", get_status, set_status, nullptr, nullptr},
    {"resource", get_resource, nullptr, nullptr, nullptr},
    {"_resource", get_resource, nullptr, nullptr, nullptr},
    {"instrumentation_scope", get_scope, nullptr, nullptr, nullptr},
    {"_instrumentation_scope", get_scope, nullptr, nullptr, nullptr},
    {"_tracer", get_tracer, nullptr, nullptr, nullptr},
    {"dropped_attributes", get_dropped<&trace::RecordHeader::dropped_attributes>, nullptr, nullptr,
     nullptr},
    {"dropped_events", get_dropped<&trace::RecordHeader::dropped_events>, nullptr, nullptr,
     nullptr},
    {"dropped_links", get_dropped<&trace::RecordHeader::dropped_links>, nullptr, nullptr, nullptr},
    {}};

PyMethodDef kSpanReadFunctions[] = {
    {"masked_copy", method(masked_copy), METH_FASTCALL, "(span): a masked copy."},
    {"set_mask_rules", method(set_mask_rules), METH_FASTCALL,
     "([(pattern, with), ...], [key, ...])"},
    {"mask_pattern_problem", mask_pattern_problem, METH_O, "(pattern): why it cannot be used."},
    {"set_masking", method(set_masking), METH_FASTCALL, "(profile, keep_literals)"},
    {"attribute_dict", attribute_dict, METH_O, "A span's attributes as a new dict."},
    {"put_attribute", method(put_attribute), METH_FASTCALL, "(span, key, value), also when ended."},
    {"remove_attribute", method(remove_attribute), METH_FASTCALL, "(span, key); KeyError."},
    {"clear_part", method(clear_part), METH_FASTCALL, "(span, 'attributes' | 'events' | 'links')"},
    {"put_event", method(put_event), METH_FASTCALL, "(span, name, attributes, timestamp)"},
    {"event_list", event_list, METH_O, "[(name, time, attributes, dropped)]"},
    {"link_list", link_list, METH_O, "[(SpanContext, attributes, dropped)]"},
    {}};

}  // namespace nuages::python
