// Templates and DRF serializers: things whose methods call each other through super() or for their
// parts, where one span must stand for the lot.
#include <cstring>

#include "python/convert.h"
#include "python/hook_span.h"

namespace nuages::python {
namespace {

using trace::text_value;

thread_local Innermost rendering;
thread_local Innermost serializing;

PyObject* render(HookFunction& hook, const HookCall& call, PyObject* self) {
  Hooks& hooks = *hook.hooks;
  const Ref name_object = attribute_of(self, hooks.n_name.get());
  const bool named = name_object && PyUnicode_Check(name_object.get());
  const Utf8 name(named ? name_object.get() : Py_None);
  const std::string_view shown = named ? name.view() : "<template>";
  const bool engine_given = hook.data != nullptr && PyUnicode_Check(hook.data);
  const Utf8 engine(engine_given ? hook.data : Py_None);
  const trace::AttributeView attributes[] = {
      {"nuages.kind", text_value("template")},
      {"django.template.name", text_value(shown)},
      {"django.template.engine", text_value(engine_given ? engine.view() : "django")},
  };
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = shown;
  spec.attributes = attributes;
  if (!span.start(hooks.n_django.get(), spec)) return call_original(hook, call);
  const InnermostScope scope(rendering, span.span(), self);
  PyObject* result = call_original(hook, call);
  span.finish(result);
  return result;
}

}  // namespace

// save(), is_valid() and data of DRF serializers. A call inside the same serializer's call is
// super() at work, and `data` of a nested serializer is part of the outer one.
PyObject* handle_serializer(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  const SpanTemplate* shape = span_template(hook.data);
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(hooks);
  if (shape == nullptr || self == nullptr || parent.kind != ParentKind::kOurs) {
    return call_original(hook, call);
  }
  if (serializing.span == parent.object.get() &&
      (serializing.object == self || shape->name == "serializer.data")) {
    return call_original(hook, call);
  }
  if (shape->name == "serializer.data") {  // answered from what an earlier call left
    const Ref dict = Ref::take(PyObject_GenericGetDict(self, nullptr));
    if (!dict) PyErr_Clear();
    if (item_of(dict.get(), "_data") != nullptr) return call_original(hook, call);
  }
  std::vector<trace::AttributeView> attributes = shape->attributes;
  const char* type_name = Py_TYPE(self)->tp_name;
  if (const char* dot = std::strrchr(type_name, '.')) type_name = dot + 1;
  attributes.push_back({"drf.serializer", text_value(type_name)});
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = shape->name;
  spec.attributes = attributes;
  if (!span.start(hooks.n_rest.get(), spec)) return call_original(hook, call);
  const InnermostScope scope(serializing, span.span(), self);
  PyObject* result = call_original(hook, call);
  span.finish(result);
  return result;
}

PyObject* handle_template_render(HookFunction& hook, const HookCall& call) {
  PyObject* self = call.positional(0);
  if (self == nullptr || current_parent(*hook.hooks).kind != ParentKind::kOurs) {
    return call_original(hook, call);
  }
  return render(hook, call, self);
}

// Template._render is called by render(), which has its span already, and for the parents of
// {% extends %}, which have not.
PyObject* handle_template_body(HookFunction& hook, const HookCall& call) {
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(*hook.hooks);
  if (self == nullptr || parent.kind != ParentKind::kOurs ||
      (rendering.span == parent.object.get() && rendering.object == self)) {
    return call_original(hook, call);
  }
  return render(hook, call, self);
}

}  // namespace nuages::python
