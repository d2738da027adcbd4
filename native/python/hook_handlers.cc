// The seams of a request in Django: the WSGI handler, get_response, the resolver, the conversion of
// exceptions to responses; and begin_request() for the coroutine shim.
#include <string>

#include "python/convert.h"
#include "python/hook_request.h"
#include "python/hook_span.h"
#include "python/provider.h"

namespace nuages::python {

using trace::text_value;

PyObject* handle_wsgi(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  const Ref made = begin_request(hooks, call.argument(1, "environ"), nullptr);
  PyObject* result = call_original(hook, call);
  if (!made) return result;
  auto& request = *reinterpret_cast<RequestObject*>(made.get());
  leave_request(request);
  SavedException saved;
  if (result == nullptr) {
    request_failed(request, saved.value());
    close_request(request);
  } else if (!request.attached) {
    request_answered(request, nullptr, result);  // a handler with its own get_response()
    if (!request.attached) close_request(request);
  }
  return result;
}

PyObject* handle_get_response(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* http_request = call.argument(1, "request");
  if (http_request == nullptr) return call_original(hook, call);
  RequestObject* open = current_request(hooks);
  const bool ours = open != nullptr && !open->answering;
  Ref made;
  if (ours) {
    made = Ref::share(reinterpret_cast<PyObject*>(open));
  } else {
    const Ref environ = attribute_of(http_request, hooks.n_meta.get());
    made = begin_request(hooks, environ.get(), http_request);
  }
  if (!made) return call_original(hook, call);
  auto& request = *reinterpret_cast<RequestObject*>(made.get());
  request.answering = true;
  if (request.recording) {
    call_user_hook(hooks, hooks.n_request_hook.get(), request.span->get(), http_request, nullptr);
  }
  PyObject* result = call_original(hook, call);
  if (!ours) leave_request(request);
  SavedException saved;
  if (result != nullptr) {
    request_answered(request, http_request, result);
  } else if (!ours) {
    request_failed(request, saved.value());
  }
  if (!ours && !request.attached) close_request(request);
  return result;
}

namespace {

// The time that the resolver took, as a leaf: the first request imports the URLconf there.
void record_resolution(Hooks& hooks, const Parent& parent, uint64_t start) noexcept {
  const ErrorGuard guard;
  TracerObject* tracer = hook_tracer(hooks.module, hooks.n_django.get());
  if (tracer == nullptr) return;
  const trace::AttributeView attributes[] = {{"nuages.kind", text_value("urls")}};
  trace::LeafOptions leaf;
  leaf.name = "urls.resolve";
  leaf.kind = wire::SpanKind::kInternal;
  leaf.scope = tracer->scope;
  leaf.attributes = attributes;
  leaf.start_ns = start;
  leaf.end_ns = parent.span()->span->local_root()->now();
  record_leaf(parent.span(), leaf);
}

}  // namespace

// BaseHandler.resolve_request(request): the route names the span.
PyObject* handle_resolve(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  const Parent parent = current_parent(hooks);
  const bool ours = parent.kind == ParentKind::kOurs;
  const uint64_t start = ours ? parent.span()->span->local_root()->now() : 0;
  PyObject* match = call_original(hook, call);
  if (ours) record_resolution(hooks, parent, start);
  if (match == nullptr) return match;
  if (RequestObject* request = current_request(hooks)) *request->match = Ref::share(match);
  SpanObject* span = request_span(hooks);
  if (span == nullptr || !hooks.route_name) return match;
  const Ref route = attribute_of(match, hooks.n_route.get());
  if (!route || !PyUnicode_Check(route.get())) return match;
  Ref normal = Ref::share(item_of(hooks.routes.get(), route.get()));
  if (!normal) {
    normal = Ref::take(call_python(PyObject_CallOneArg, hooks.route_name.get(), route.get()));
    if (!normal || PyDict_SetItem(hooks.routes.get(), route.get(), normal.get()) < 0) {
      hook_failed(hooks, "reading a route");
      return match;
    }
  }
  const Utf8 text(normal.get());
  std::string name;
  span->span->read([&](const trace::RecordView& record) { name = record.name(); });
  if (known_method(name) || name == "HTTP") {  // else the application has named it already
    span->span->update_name(name.append(" ").append(text.view()));
  }
  span->span->set_attribute("http.route", text_value(text.view()));
  return match;
}

// response_for_exception(request, exc): what Django makes a 500 of is the request's exception.
PyObject* handle_exception_response(HookFunction& hook, const HookCall& call) {
  PyObject* response = call_original(hook, call);
  Hooks& hooks = *hook.hooks;
  RequestObject* request = current_request(hooks);
  PyObject* exception = call.argument(1, "exc");
  if (request == nullptr || response == nullptr || exception == nullptr) return response;
  const Ref status = attribute_of(response, hooks.n_status_code.get());
  const long code = status && PyLong_Check(status.get()) ? PyLong_AsLong(status.get()) : 0;
  if (code >= 500) request_failed(*request, exception);
  return response;
}

// begin_request(request) -> (Request, whether it was opened here) or None.
PyObject* begin_request_span(PyObject* module, PyObject* http_request) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  RequestObject* open = current_request(hooks);
  const bool ours = open != nullptr && !open->answering;
  Ref made;
  if (ours) {
    made = Ref::share(reinterpret_cast<PyObject*>(open));
  } else {
    const Ref environ = attribute_of(http_request, hooks.n_meta.get());
    made = begin_request(hooks, environ.get(), http_request);
  }
  if (!made) Py_RETURN_NONE;
  auto& request = *reinterpret_cast<RequestObject*>(made.get());
  request.answering = true;
  if (request.recording) {
    call_user_hook(hooks, hooks.n_request_hook.get(), request.span->get(), http_request, nullptr);
  }
  return Py_BuildValue("OO", made.get(), ours ? Py_False : Py_True);
}

// begin_asgi(scope) -> Request, or None where its span is open already.
PyObject* begin_asgi(PyObject* module, PyObject* scope) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  Ref made = begin_connection(static_cast<Hooks&>(*state->hooks), scope);
  if (!made) Py_RETURN_NONE;
  return made.release();
}

// start_message_span(name, connection, attributes): the handling of one message of a websocket is
// the root of its own trace, linked to the connection's span, and follows its sampling decision.
PyObject* start_message_span(PyObject* module, PyObject* arguments) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  PyObject *name = nullptr, *connection = nullptr, *attributes = nullptr;
  if (!PyArg_ParseTuple(arguments, "UO!O!", &name, hooks.request_type, &connection, &PyDict_Type,
                        &attributes)) {
    return nullptr;
  }
  TracerObject* tracer = hook_tracer(*state, hooks.n_django.get());
  if (tracer == nullptr) Py_RETURN_NONE;
  const Ref kept = Ref::share(reinterpret_cast<PyObject*>(tracer));  // Python code runs below
  const auto& request = *reinterpret_cast<RequestObject*>(connection);
  const trace::SpanContext& context =
      reinterpret_cast<SpanObject*>(request.span->get())->span_context();
  const Utf8 name_text(name);
  const trace::AttributeView link_attributes[] = {{"nuages.link", text_value("websocket")}};
  trace::LinkView link;
  link.trace_id = context.trace_id;
  link.span_id = context.span_id;
  link.trace_flags = context.flags;
  link.trace_state = context.trace_state_text();
  link.attributes = link_attributes;
  SpanSpec spec;
  spec.name = name_text.view();
  spec.name_object = name;
  spec.kind = wire::SpanKind::kConsumer;
  spec.attributes_object = attributes;
  spec.root = true;
  spec.links = {&link, 1};
  spec.forced_decision = request.recording && context.sampled() ? 1 : 0;
  spec.excluded = !request.recording;
  Ref span = start_span(*tracer, spec);
  return span.release();
}

}  // namespace nuages::python
