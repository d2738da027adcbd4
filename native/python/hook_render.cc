// Templates and DRF serializers: things whose methods call each other through super() or for their
// parts, where one span must stand for the lot.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "python/convert.h"
#include "python/hook_span.h"
#include "python/provider.h"

namespace nuages::python {
namespace {

using trace::text_value;

thread_local Innermost rendering;
thread_local Innermost serializing;

constexpr std::string_view kBlock = "block ";

// How a span of this name tells what was rendered; views into it.
trace::AttributeView what_attribute(std::string_view span_name) {
  if (!span_name.starts_with(kBlock)) return {"django.template.name", text_value(span_name)};
  return {"django.template.block", text_value(span_name.substr(kBlock.size()))};
}

// What a template, or a block of one, is called and which engine renders it; views into this
// object.
struct Shown {
  Ref name_object;
  Utf8 name, engine;
  std::string block;  // the span's name, of blocks
  std::string_view text, engine_text;

  Shown(Hooks& hooks, PyObject* self, PyObject* data, bool is_block)
      : name_object(attribute_of(self, hooks.n_name.get())),
        name(is_text(name_object.get()) ? name_object.get() : Py_None),
        engine(is_text(data) ? data : Py_None),
        text(is_text(name_object.get()) ? name.view() : "<template>"),
        engine_text(is_text(data) ? engine.view() : "django") {
    if (is_block) text = block.append(kBlock).append(text);
  }
  static bool is_text(PyObject* object) { return object != nullptr && PyUnicode_Check(object); }
  std::array<trace::AttributeView, 3> attributes() const {
    return {{{"nuages.kind", text_value("template")},
             what_attribute(text),
             {"django.template.engine", text_value(engine_text)}}};
  }
};

// The leaves that stand for what was folded below the span.
void record_folded(Hooks& hooks, SpanObject* span, std::string_view engine) noexcept {
  const auto found = hooks.renders.find(span);
  if (found == hooks.renders.end()) return;
  const RepeatedRenders renders = std::move(found->second);
  hooks.renders.erase(found);
  if (span->span == nullptr || !span->span->is_recording()) return;
  const ErrorGuard guard;
  TracerObject* tracer = hook_tracer(hooks.module, hooks.n_django.get());
  if (tracer == nullptr) return;
  for (const RepeatedRenders::Template& each : renders.templates) {
    if (each.folded == 0) continue;
    const trace::AttributeView attributes[] = {
        {"nuages.kind", text_value("template")},
        what_attribute(each.name),
        {"django.template.engine", text_value(engine)},
        {"nuages.folded.count", trace::int_value(each.folded)},
        {"nuages.folded.duration", trace::double_value(static_cast<double>(each.total_ns) / 1e9)},
    };
    trace::LeafOptions leaf;
    leaf.name = each.name;
    leaf.kind = wire::SpanKind::kInternal;
    leaf.scope = tracer->scope;
    leaf.attributes = attributes;
    leaf.start_ns = each.first_ns;
    leaf.end_ns = each.last_ns;
    record_leaf(span, leaf);
  }
}

// A render without a span of its own: its time goes to the templates folded below the parent.
PyObject* render_folded(HookFunction& hook, const HookCall& call, PyObject* self,
                        const Parent& parent, std::string_view name) {
  Hooks& hooks = *hook.hooks;
  const Ref kept = parent.object;
  const trace::Span& span = *parent.span()->span;
  const uint64_t start = span.local_root()->now();
  const void* outer = std::exchange(hooks.renders[kept.get()].folding, self);
  PyObject* result = call_original(hook, call);
  const auto found = hooks.renders.find(kept.get());
  if (found == hooks.renders.end()) return result;  // the page ended inside: a greenlet of its own
  found->second.folding = outer;
  RepeatedRenders::Template& repeated = found->second.of(name);
  const uint64_t end = std::max(start, span.local_root()->now());
  if (repeated.folded++ == 0) repeated.first_ns = start;
  repeated.last_ns = end;
  // What a folded template includes is part of its time.
  repeated.total_ns += end - start;
  return result;
}

// An exception leaves a template and all that include it. The innermost tells it with its stack,
// the others have the status only: a template that includes itself would tell it a hundred times.
void note_failure(Hooks& hooks, CallSpan& span, const Parent& parent, const void* told) noexcept {
  SavedException saved;
  PyObject* exception = saved.value();
  if (exception == nullptr) return;
  trace::Span* core = span.span()->span;
  if (exception != told) {
    span.note(exception);
  } else if (core != nullptr) {
    const Ref text = Ref::take(
        call_python(PyObject_CallOneArg, hooks.module.describe_exception.get(), exception));
    if (!text) drop_error();
    core->set_status(wire::StatusCode::kError, text ? Utf8(text.get()).view() : std::string_view());
  }
  bool failed = false;  // what Django answers with a 4xx is no failure
  if (core != nullptr) {
    core->read([&](const trace::RecordView& record) {
      failed = record.status() == wire::StatusCode::kError;
    });
  }
  const auto page = hooks.renders.find(parent.object.get());
  if (failed && page != hooks.renders.end()) page->second.failure = exception;
}

PyObject* render(HookFunction& hook, const HookCall& call, PyObject* self, const Parent& parent,
                 bool is_block = false) {
  Hooks& hooks = *hook.hooks;
  const Shown shown(hooks, self, hook.data, is_block);
  if (const auto page = hooks.renders.find(parent.object.get()); page != hooks.renders.end()) {
    if (page->second.folding == self) return call_original(hook, call);  // _render() of render()
    RepeatedRenders::Template& repeated = page->second.of(shown.text);
    if (++repeated.count > RepeatedRenders::kShown || page->second.folding != nullptr) {
      return render_folded(hook, call, self, parent, shown.text);
    }
  }
  const auto attributes = shown.attributes();
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = shown.text;
  spec.attributes = attributes;
  if (!span.start(hooks.n_django.get(), spec)) return call_original(hook, call);
  const InnermostScope scope(rendering, span.span(), self);
  hooks.renders.try_emplace(span.span());
  PyObject* result = call_original(hook, call);
  const auto own = hooks.renders.find(span.span());
  const void* told = own == hooks.renders.end() ? nullptr : own->second.failure;
  record_folded(hooks, span.span(), shown.engine_text);
  if (result == nullptr) note_failure(hooks, span, parent, told);
  span.finish(Py_None);
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
  const Parent parent = current_parent(*hook.hooks);
  if (self == nullptr || parent.kind != ParentKind::kOurs) return call_original(hook, call);
  return render(hook, call, self, parent);
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
  return render(hook, call, self, parent);
}

// BlockNode.render: {% block %}, and {{ block.super }} inside of it.
PyObject* handle_template_block(HookFunction& hook, const HookCall& call) {
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(*hook.hooks);
  if (self == nullptr || parent.kind != ParentKind::kOurs) return call_original(hook, call);
  return render(hook, call, self, parent, true);
}

}  // namespace nuages::python
