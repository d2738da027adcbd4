#include "python/hook_span.h"

#include <algorithm>

#include "python/convert.h"

namespace nuages::python {
namespace {

constexpr const char* kCapsuleName = "nuages.span_template";

using trace::int_value;
using trace::text_value;

void destroy_template(PyObject* capsule) {
  delete static_cast<SpanTemplate*>(PyCapsule_GetPointer(capsule, kCapsuleName));
}

PyObject* call_templated(HookFunction& hook, const HookCall& call, const SpanTemplate& shape,
                         const Parent& parent) {
  CallSpan span(*hook.hooks);
  SpanSpec spec;
  spec.name = shape.name;
  spec.attributes = shape.attributes;
  if (!span.start(hook.hooks->n_django.get(), spec)) return call_original(hook, call);
  span.set_layer(shape.layer, parent);
  PyObject* result = call_original(hook, call);
  span.finish(result, true);
  return result;
}

}  // namespace

std::string_view SpanTemplate::kind() const noexcept {
  for (const trace::AttributeView& attribute : attributes) {
    if (attribute.key == "nuages.kind") return attribute.value.text;
  }
  return {};
}

const SpanTemplate& SpanTemplate::for_method(std::string_view method) const noexcept {
  for (const auto& [key, capsule] : methods) {
    const SpanTemplate* found = key == method ? span_template(capsule.get()) : nullptr;
    if (found != nullptr) return *found;
  }
  return *this;
}

const SpanTemplate* span_template(PyObject* capsule) noexcept {
  if (capsule == nullptr || !PyCapsule_IsValid(capsule, kCapsuleName)) return nullptr;
  return static_cast<const SpanTemplate*>(PyCapsule_GetPointer(capsule, kCapsuleName));
}

PyObject* make_span_template(PyObject* /*module*/, PyObject* arguments) {
  PyObject *name = nullptr, *attributes = nullptr, *methods = Py_None;
  if (!PyArg_ParseTuple(arguments, "UO!|O", &name, &PyDict_Type, &attributes, &methods)) {
    return nullptr;
  }
  auto shape = std::make_unique<SpanTemplate>();
  shape->name = Utf8(name).view();
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(attributes, &position, &key, &value)) {
    const std::string_view key_text = shape->texts.emplace_back(Utf8(key).view());
    if (PyLong_Check(value)) {
      const long long number = PyLong_AsLongLong(value);
      if (number == -1 && PyErr_Occurred()) return nullptr;
      shape->attributes.push_back({key_text, int_value(number)});
    } else {
      shape->attributes.push_back(
          {key_text, text_value(shape->texts.emplace_back(Utf8(value).view()))});
    }
  }
  shape->layer = shape->kind() == "middleware" ? Layer::kMiddleware
                 : shape->kind() == "view"     ? Layer::kView
                                               : Layer::kNone;
  if (PyDict_Check(methods)) {
    position = 0;
    while (PyDict_Next(methods, &position, &key, &value)) {
      shape->methods.emplace_back(Utf8(key).view(), Ref::share(value));
    }
  }
  return hand_over(std::move(shape), kCapsuleName, destroy_template);
}

bool CallSpan::start(PyObject* scope, const SpanSpec& spec) noexcept {
  TracerObject* tracer = hook_tracer(hooks_.module, scope);
  if (tracer == nullptr) return false;
  span_ = start_span(*tracer, spec);
  if (!span_) {
    hook_failed(hooks_, "starting a span");
    return false;
  }
  if (!activate(hooks_.module, span_.get(), activation_)) {
    hook_failed(hooks_, "making a span current");  // it is still ended by finish()
  }
  return true;
}

void CallSpan::note(PyObject* exception) noexcept {
  if (span_) record_escaped(hooks_, span(), exception);
}

void CallSpan::finish(PyObject* result, bool share_attributes) noexcept {
  if (!span_) return;
  deactivate(hooks_.module, activation_);
  {
    SavedException saved;
    if (result == nullptr) record_escaped(hooks_, span(), saved.value());
    if (share_attributes) share_user_attributes(hooks_, span());
    end_span(span(), layer_ == Layer::kNone ? 0 : end_layer());
    outer_.reset();
  }
  const ErrorGuard guard;  // dropping the span object may run a finaliser
  span_.reset();
}

// The end of the span, after its time has been told to the layer around it.
uint64_t CallSpan::end_layer() noexcept {
  if (span()->span == nullptr) return 0;
  const uint64_t start = span()->span->start_ns();
  const uint64_t end = std::max(start, span()->span->local_root()->now());
  if (SpanObject* outer = as_span(hooks_.module, outer_.get())) outer->inner_ns += end - start;
  if (layer_ == Layer::kMiddleware && span()->inner_ns != 0) {
    const uint64_t inner = std::min(span()->inner_ns, end - start);
    span()->span->set_attribute(
        "django.middleware.self_time",
        trace::double_value(static_cast<double>(end - start - inner) / 1e9));
  }
  return end;
}

void record_escaped(Hooks& hooks, SpanObject* span, PyObject* exception) noexcept {
  if (exception == nullptr || span == nullptr || span->span == nullptr) return;
  bool client = false;
  if (hooks.client_errors && PyTuple_Check(hooks.client_errors.get())) {
    const int matches = call_python(PyObject_IsInstance, exception, hooks.client_errors.get());
    if (matches < 0) PyErr_Clear();
    client = matches > 0;
  }
  if (!client) {  // Django REST framework's say it themselves
    const Ref status = attribute_of(exception, hooks.n_status_code.get());
    const long code = status && PyLong_Check(status.get()) ? PyLong_AsLong(status.get()) : 0;
    if (code == -1) PyErr_Clear();
    client = code >= 400 && code < 500;
  }
  record_exception(span, exception, true, !client);
}

void share_user_attributes(Hooks& hooks, SpanObject* span) noexcept {
  SpanObject* target = request_span(hooks);
  if (target == nullptr || target == span || target->span == nullptr || span->span == nullptr)
    return;
  span->span->read([&](const trace::RecordView& record) {
    for (const trace::AttributeView& attribute : record.attributes()) {
      const std::string_view key = attribute.key;
      if (key.starts_with("nuages.") || key.starts_with("code.")) continue;  // the hook's own
      target->span->set_attribute(key, attribute.value);
    }
  });
}

PyObject* handle_span(HookFunction& hook, const HookCall& call) {
  const SpanTemplate* shape = span_template(hook.data);
  const Parent parent = current_parent(*hook.hooks);
  if (shape == nullptr || parent.kind != ParentKind::kOurs) return call_original(hook, call);
  return call_templated(hook, call, *shape, parent);
}

PyObject* handle_view(HookFunction& hook, const HookCall& call) {
  const SpanTemplate* shape = span_template(hook.data);
  const Parent parent = current_parent(*hook.hooks);
  if (shape == nullptr || parent.kind != ParentKind::kOurs) return call_original(hook, call);
  PyObject* request = call.positional(0);
  if (request != nullptr && !shape->methods.empty()) {
    const Ref method = attribute_of(request, hook.hooks->n_method.get());
    if (method && PyUnicode_Check(method.get())) {
      shape = &shape->for_method(Utf8(method.get()).view());
    }
  }
  return call_templated(hook, call, *shape, parent);
}

// make_view_atomic(handler, view): the view that Django is about to call comes back hooked.
// data: (cache, describe); the cache maps a view to its template, or to a function that makes the
// coroutine shim, or to None.
PyObject* handle_view_seam(HookFunction& hook, const HookCall& call) {
  PyObject* result = call_original(hook, call);
  PyObject* view = call.argument(1, "view");
  if (result == nullptr || view == nullptr) return result;
  Hooks& hooks = *hook.hooks;
  if (current_parent(hooks).kind != ParentKind::kOurs) return result;
  if (hook.data == nullptr || !PyTuple_Check(hook.data) || PyTuple_GET_SIZE(hook.data) != 2)
    return result;
  PyObject* cache = PyTuple_GET_ITEM(hook.data, 0);
  Ref shape = Ref::share(PyDict_GetItemWithError(cache, view));
  if (!shape) {
    PyErr_Clear();  // not hashable
    shape = Ref::take(call_python(PyObject_CallOneArg, PyTuple_GET_ITEM(hook.data, 1), view));
    if (!shape) {
      hook_failed(hooks, "describing a view");
      return result;
    }
    if (PyDict_GET_SIZE(cache) > 4096) PyDict_Clear(cache);  // views made per request
    if (PyDict_SetItem(cache, view, shape.get()) < 0) PyErr_Clear();
  }
  if (shape.get() == Py_None) return result;
  PyObject* hooked = PyCapsule_CheckExact(shape.get())
                         ? new_hook(hooks, result, handle_view, shape.get(), false)
                         : call_python(PyObject_CallOneArg, shape.get(), result);
  if (hooked == nullptr) {
    hook_failed(hooks, "hooking a view");
    return result;
  }
  Py_DECREF(result);
  return hooked;
}

// data: (begin, end). begin(args, kwargs) may change kwargs in place and returns a state or None;
// end(state, result, exception) is called in any case unless the state is None.
PyObject* handle_around(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  if (hooks.module.configured() && is_suppressed(hooks.module)) return call_original(hook, call);
  const Py_ssize_t count = call.count();
  Ref args = Ref::take(PyTuple_New(count));
  Ref kwargs = Ref::take(PyDict_New());
  bool packed = args && kwargs && hook.data != nullptr && PyTuple_Check(hook.data);
  for (Py_ssize_t i = 0; packed && i < count; ++i) {
    Py_INCREF(call.args[i]);
    PyTuple_SET_ITEM(args.get(), i, call.args[i]);
  }
  const Py_ssize_t named = call.keywords == nullptr ? 0 : PyTuple_GET_SIZE(call.keywords);
  for (Py_ssize_t i = 0; packed && i < named; ++i) {
    packed =
        PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.keywords, i), call.args[count + i]) == 0;
  }
  if (!packed) {
    hook_failed(hooks, "reading the arguments of a hooked call");
    return call_original(hook, call);
  }
  const Ref state =
      Ref::take(call_python(PyObject_CallFunctionObjArgs, PyTuple_GET_ITEM(hook.data, 0),
                            args.get(), kwargs.get(), nullptr));
  if (!state) hook_failed(hooks, "before a hooked call");
  PyObject* result = call_python(PyObject_Call, hook.original, args.get(), kwargs.get());
  if (state && state.get() != Py_None) {
    SavedException saved;
    PyObject* exception = result == nullptr ? saved.value() : nullptr;
    const Ref done = Ref::take(call_python(
        PyObject_CallFunctionObjArgs, PyTuple_GET_ITEM(hook.data, 1), state.get(),
        result == nullptr ? Py_None : result, exception == nullptr ? Py_None : exception, nullptr));
    if (!done) hook_failed(hooks, "after a hooked call");
  }
  return result;
}

namespace {

constexpr const char* kOpenName = "nuages.open_span";

void destroy_open(PyObject* capsule) {
  auto* span = static_cast<CallSpan*>(PyCapsule_GetPointer(capsule, kOpenName));
  if (span == nullptr) return;
  const ErrorGuard guard;
  span->finish(Py_None);  // a coroutine that was dropped
  delete span;
}

}  // namespace

PyObject* open_span(Hooks& hooks, const SpanTemplate& shape,
                    std::span<const trace::AttributeView> attributes, const Parent& parent) {
  auto span = std::make_unique<CallSpan>(hooks);
  SpanSpec spec;
  spec.name = shape.name;
  spec.attributes = attributes;
  if (!span->start(hooks.n_django.get(), spec)) Py_RETURN_NONE;
  span->set_layer(shape.layer, parent);
  return hand_over(std::move(span), kOpenName, destroy_open);
}

CallSpan* opened_span(PyObject* capsule) noexcept {
  if (!PyCapsule_IsValid(capsule, kOpenName)) return nullptr;
  return static_cast<CallSpan*>(PyCapsule_GetPointer(capsule, kOpenName));
}

// enter_span(template) -> opaque or None: for the coroutine shims, whose Python code awaits
// between.
PyObject* enter_span(PyObject* module, PyObject* capsule) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  const SpanTemplate* shape = span_template(capsule);
  const Parent parent = current_parent(hooks);
  if (shape == nullptr || parent.kind != ParentKind::kOurs) Py_RETURN_NONE;
  return open_span(hooks, *shape, shape->attributes, parent);
}

// leave_span(opaque, exception or None, share)
PyObject* leave_span(PyObject* /*module*/, PyObject* arguments) {
  PyObject *opened = nullptr, *exception = nullptr;
  int share = 0;
  if (!PyArg_ParseTuple(arguments, "OOp", &opened, &exception, &share)) return nullptr;
  if (CallSpan* span = opened_span(opened)) {
    if (exception != Py_None) span->note(exception);
    span->finish(Py_None, share != 0);
  }
  Py_RETURN_NONE;
}

}  // namespace nuages::python
