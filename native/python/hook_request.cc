#include "python/hook_request.h"

#include <structmember.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "python/convert.h"
#include "python/hook_span.h"
#include "trace/local_root.h"
#include "wire/traceparent.h"

namespace nuages::python {
namespace {

using trace::int_value;
using trace::text_value;

SpanObject* span_of(const RequestObject& request) noexcept {
  return reinterpret_cast<SpanObject*>(request.span->get());
}

bool excluded(Hooks& hooks, const RequestFacts& facts) noexcept {
  PyObject* filter = item_of(hooks.options.get(), hooks.n_excluded.get());
  if (filter == nullptr || filter == Py_None) return false;
  const Ref path = text_object(facts.path), url = text_object(facts.url);
  const Ref answer = path && url ? Ref::take(call_python(PyObject_CallFunctionObjArgs, filter,
                                                         path.get(), url.get(), nullptr))
                                 : Ref();
  if (!answer) {
    hook_failed(hooks, "matching excluded URLs");
    return false;
  }
  return answer.get() == Py_True;
}

// The parent named by the request's headers; false when there is none.
bool read_parent(PyObject* environ, trace::SpanContext& parent) {
  const std::string header = environ_text(environ, "HTTP_TRACEPARENT");
  if (header.empty()) return false;
  const auto read = wire::parse_traceparent(header);
  if (!read) return false;
  parent.trace_id = read->trace_id;
  parent.span_id = read->span_id;
  parent.flags = read->flags;
  parent.remote = true;
  const std::string state = wire::parse_tracestate(environ_text(environ, "HTTP_TRACESTATE"));
  if (!state.empty()) parent.trace_state = std::make_shared<const std::string>(state);
  return true;
}

bool usual_propagator(Hooks& hooks) noexcept {
  PyObject* options = hooks.options.get();
  PyObject* propagate = item_of(options, hooks.n_propagate.get());
  return item_of(propagate, hooks.n_propagator.get()) ==
         item_of(options, hooks.n_usual_propagator.get());
}

// What the application's propagators read from the headers, where that is more than a traceparent:
// (Context, SpanContext) from `options["extract"]`. Empty: read_parent() is all there is to do.
Ref extract(Hooks& hooks, PyObject* environ) {
  PyObject* options = hooks.options.get();
  PyObject* extract = item_of(options, hooks.n_extract.get());
  PyObject* propagate = item_of(options, hooks.n_propagate.get());
  if (extract == nullptr || propagate == nullptr || !PyDict_Check(propagate)) return {};
  if (usual_propagator(hooks) && item_of(environ, "HTTP_BAGGAGE") == nullptr) return {};
  Ref read = Ref::take(call_python(PyObject_CallOneArg, extract, environ));
  if (read && PyTuple_Check(read.get()) && PyTuple_GET_SIZE(read.get()) == 2) return read;
  hook_failed(hooks, "reading the context of a request");
  return {};
}

// Whether a span is current that the request would belong to: the headers count only without one.
bool has_current_span(Hooks& hooks) noexcept {
  const Parent parent = current_parent(hooks);
  if (parent.kind != ParentKind::kForeign) return parent.kind != ParentKind::kNone;
  if (parent.object && as_span(hooks.module, parent.object.get()) != nullptr) return true;
  const Ref context =
      Ref::take(call_python(PyObject_CallMethod, parent.object.get(), "get_span_context", nullptr));
  if (!context) PyErr_Clear();
  trace::SpanContext read;
  return context && read_span_context(hooks.module, context.get(), read) && read.valid();
}

Ref new_request(Hooks& hooks, Ref span, bool recording) {
  PyObject* object = hooks.request_type->tp_alloc(hooks.request_type, 0);
  if (object == nullptr) return {};
  auto& request = *reinterpret_cast<RequestObject*>(object);
  request.hooks = &hooks;
  request.span = new Ref(std::move(span));
  request.activation = new Activation();
  request.token = new Ref();
  request.previous = new Ref();
  request.match = new Ref();
  request.recording = recording;
  return Ref::take(object);
}

// `environ` gives the headers; with `detached` neither the current span nor the current Context
// counts.
Ref start(Hooks& hooks, RequestFacts& facts, PyObject* environ, bool detached, Ref& base) {
  TracerObject* tracer = hook_tracer(hooks.module, hooks.n_django.get());
  if (tracer == nullptr || (!detached && is_suppressed(hooks.module))) return {};
  const Ref kept = Ref::share(reinterpret_cast<PyObject*>(tracer));  // Python code runs below
  SpanSpec spec;
  trace::SpanContext parent;
  const bool exclude = excluded(hooks, facts);
  const bool inside = !detached && has_current_span(hooks);
  const SemconvNames names = http_names(hooks);
  const std::vector<trace::AttributeView> attributes = facts.attributes(names);
  spec.name = facts.websocket              ? "WEBSOCKET"
              : known_method(facts.method) ? std::string_view(facts.method)
                                           : "HTTP";
  spec.kind = wire::SpanKind::kServer;
  spec.attributes = attributes;
  if (detached)
    base = Ref::take(call_python(PyObject_CallNoArgs, hooks.module.context_class.get()));
  if (exclude) {  // a span that does not record silences everything below it
    spec.root = true;
    spec.forced_decision = 0;
    spec.excluded = true;
  } else if (!inside) {
    bool known = false;
    if (const Ref extracted = extract(hooks, environ)) {
      base = Ref::share(PyTuple_GET_ITEM(extracted.get(), 0));
      known = read_span_context(hooks.module, PyTuple_GET_ITEM(extracted.get(), 1), parent) &&
              parent.valid();
    } else {
      known = read_parent(environ, parent);
    }
    if (known) {
      spec.remote_parent = &parent;
    } else {
      spec.root = detached;
    }
  }
  Ref span = start_span(*tracer, spec);
  if (!span) {
    hook_failed(hooks, "starting the span of a request");
    return {};
  }
  const bool recording = reinterpret_cast<SpanObject*>(span.get())->span != nullptr;
  Ref made = new_request(hooks, std::move(span), recording);
  if (made) reinterpret_cast<RequestObject*>(made.get())->names = names;
  return made;
}

// Makes the request current.
Ref enter(Hooks& hooks, Ref made, const Ref& base) noexcept {
  if (!made) {
    if (PyErr_Occurred()) hook_failed(hooks, "starting a request");
    return {};
  }
  auto& request = *reinterpret_cast<RequestObject*>(made.get());
  activate(hooks.module, request.span->get(), *request.activation, base.get());
  PyObject* previous = nullptr;
  if (PyContextVar_Get(hooks.request_var.get(), nullptr, &previous) < 0) PyErr_Clear();
  *request.previous = Ref::take(previous);
  *request.token = Ref::take(PyContextVar_Set(hooks.request_var.get(), made.get()));
  PyErr_Clear();
  return made;
}

// ---- the Python type

void request_dealloc(PyObject* self) {
  auto& request = *reinterpret_cast<RequestObject*>(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (request.span != nullptr) {
    const ErrorGuard guard;
    close_request(request);  // a server that never closed the response
    delete request.span;
    delete request.activation;
    delete request.token;
    delete request.previous;
    delete request.match;
  }
  type->tp_free(self);
  Py_DECREF(type);
}

int request_traverse(PyObject* self, visitproc visit, void* arg) {
  auto& request = *reinterpret_cast<RequestObject*>(self);
  Py_VISIT(Py_TYPE(self));
  if (request.span == nullptr) return 0;
  Py_VISIT(request.span->get());
  Py_VISIT(request.activation->ours.get());
  Py_VISIT(request.activation->previous.get());
  Py_VISIT(request.activation->token.get());
  Py_VISIT(request.token->get());
  Py_VISIT(request.previous->get());
  Py_VISIT(request.match->get());
  return 0;
}

PyObject* request_close(PyObject* self, PyObject* /*unused*/) {
  close_request(*reinterpret_cast<RequestObject*>(self));
  Py_RETURN_NONE;
}

PyObject* request_leave(PyObject* self, PyObject* /*unused*/) {
  leave_request(*reinterpret_cast<RequestObject*>(self));
  Py_RETURN_NONE;
}

PyObject* request_answer(PyObject* self, PyObject* arguments) {
  PyObject *request = nullptr, *response = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO", &request, &response)) return nullptr;
  request_answered(*reinterpret_cast<RequestObject*>(self), request, response);
  Py_RETURN_NONE;
}

PyObject* request_fail(PyObject* self, PyObject* exception) {
  request_failed(*reinterpret_cast<RequestObject*>(self), exception);
  Py_RETURN_NONE;
}

PyObject* request_sent(PyObject* self, PyObject* message) {
  note_sent(*reinterpret_cast<RequestObject*>(self), message);
  Py_RETURN_NONE;
}

PyObject* request_lost(PyObject* self, PyObject* why) {
  auto& request = *reinterpret_cast<RequestObject*>(self);
  if (!request.recording || request.ended || request.finished || request.lost) Py_RETURN_NONE;
  request.lost = true;
  span_of(request)->span->set_attribute(Utf8(why).view(), trace::bool_value(true));
  Py_RETURN_NONE;
}

PyObject* request_rename(PyObject* self, PyObject* arguments) {
  auto& request = *reinterpret_cast<RequestObject*>(self);
  PyObject *name = nullptr, *route = nullptr;
  if (!PyArg_ParseTuple(arguments, "UU", &name, &route)) return nullptr;
  if (!request.recording || request.ended) Py_RETURN_NONE;
  span_of(request)->span->update_name(std::string(Utf8(name).view()));
  span_of(request)->span->set_attribute("http.route", text_value(Utf8(route).view()));
  Py_RETURN_NONE;
}

PyObject* request_span_object(PyObject* self, void* /*unused*/) {
  return Ref(*reinterpret_cast<RequestObject*>(self)->span).release();
}

PyMethodDef request_methods[] = {
    {"sent", request_sent, METH_O, "Notes a message to the ASGI server."},
    {"lost", request_lost, METH_O, "Sets that attribute to true unless the answer was complete."},
    {"rename", request_rename, METH_VARARGS, "Sets the span's name and its route."},
    {"close", request_close, METH_NOARGS, "Ends the span; only the first call counts."},
    {"leave", request_leave, METH_NOARGS, "Restores the context of before."},
    {"answered", request_answer, METH_VARARGS, "Notes the response (request, response)."},
    {"failed", request_fail, METH_O, "Notes the exception."},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef request_members[] = {
    {"recording", T_BOOL, offsetof(RequestObject, recording), READONLY, nullptr},
    {"answering", T_BOOL, offsetof(RequestObject, answering), READONLY, nullptr},
    {"ended", T_BOOL, offsetof(RequestObject, ended), READONLY, nullptr},
    {"finished", T_BOOL, offsetof(RequestObject, finished), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyGetSetDef request_properties[] = {
    {"span", request_span_object, nullptr, "The SERVER span, or a silent one.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot request_slots[] = {
    {Py_tp_members, request_members},
    {Py_tp_getset, request_properties},
    {Py_tp_dealloc, reinterpret_cast<void*>(request_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(request_traverse)},
    {Py_tp_methods, request_methods},
    {0, nullptr},
};
PyType_Spec request_spec = {"nuages._native.Request", sizeof(RequestObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | kNoConstructor,
                            request_slots};

bool attach_closer(RequestObject& request, PyObject* response) noexcept {
  const Ref closers = attribute_of(response, request.hooks->n_resource_closers.get());
  if (!closers || !PyList_Check(closers.get())) return false;
  const Ref close = Ref::take(
      call_python(PyObject_GetAttrString, reinterpret_cast<PyObject*>(&request), "close"));
  if (close && PyList_Append(closers.get(), close.get()) == 0) return true;
  PyErr_Clear();
  return false;
}

}  // namespace

void call_user_hook(Hooks& hooks, PyObject* name, PyObject* span, PyObject* request,
                    PyObject* response) noexcept {
  PyObject* user = item_of(hooks.options.get(), name);
  if (user == nullptr || user == Py_None) return;
  const Ref kept = Ref::share(user);
  const Ref done =
      Ref::take(call_python(PyObject_CallFunctionObjArgs, user, span, request, response, nullptr));
  if (!done)
    hook_failed(hooks, response == nullptr ? "calling request_hook or reading the user"
                                           : "calling response_hook or reading headers");
}

Ref begin_request(Hooks& hooks, PyObject* environ, PyObject* http_request) noexcept {
  try {
    if (environ == nullptr || !PyDict_Check(environ) || !hooks.options) return {};
    RequestFacts facts = RequestFacts::of_environ(hooks, environ, http_request);
    Ref base;
    Ref made = start(hooks, facts, environ, false, base);
    return enter(hooks, std::move(made), base);
  } catch (...) {
    hook_failed(hooks, "starting a request");
    return {};
  }
}

Ref begin_connection(Hooks& hooks, PyObject* scope) noexcept {
  try {
    if (scope == nullptr || !PyDict_Check(scope) || !hooks.options) return {};
    const RequestObject* open = current_request(hooks);
    // asyncio hands the context of one request on to the next of the same connection
    // (python/cpython#140947): what has been answered is nobody's parent.
    const bool stale = open != nullptr && (open->ended || open->finished);
    if (open != nullptr && !stale && !open->answering) return {};
    RequestFacts facts = RequestFacts::of_scope(scope);
    const Ref environ = environ_of_scope(scope, !usual_propagator(hooks));
    if (!environ) {
      hook_failed(hooks, "reading the headers of a request");
      return {};
    }
    Ref base;
    Ref made = start(hooks, facts, environ.get(), stale, base);
    return enter(hooks, std::move(made), base);
  } catch (...) {
    hook_failed(hooks, "starting a request");
    return {};
  }
}

void leave_request(RequestObject& request) noexcept {
  const ErrorGuard guard;
  Hooks& hooks = *request.hooks;
  deactivate(hooks.module, *request.activation);
  if (!*request.token) return;
  const Ref token = std::exchange(*request.token, Ref());
  const Ref previous = std::exchange(*request.previous, Ref());
  if (current_request(hooks) != &request) return;
  if (PyContextVar_Reset(hooks.request_var.get(), token.get()) == 0) return;
  PyErr_Clear();  // another contextvars.Context, of which this one is a copy
  const Ref set =
      Ref::take(PyContextVar_Set(hooks.request_var.get(), previous ? previous.get() : Py_None));
  PyErr_Clear();
}

RequestObject* current_request(Hooks& hooks) noexcept {
  PyObject* value = nullptr;
  if (!hooks.request_var || PyContextVar_Get(hooks.request_var.get(), nullptr, &value) < 0) {
    PyErr_Clear();
    return nullptr;
  }
  const Ref kept = Ref::take(value);  // the Context keeps it alive
  if (!kept || Py_TYPE(kept.get()) != hooks.request_type) return nullptr;
  return reinterpret_cast<RequestObject*>(kept.get());
}

SpanObject* request_span(Hooks& hooks) noexcept {
  RequestObject* request = current_request(hooks);
  return request != nullptr && request->recording ? span_of(*request) : nullptr;
}

void note_status(RequestObject& request, long code) noexcept {
  if (!request.recording || request.ended) return;
  request.status = code;
  trace::Span& span = *span_of(request)->span;
  if (request.names != SemconvNames::kStable) {
    span.set_attribute("http.status_code", int_value(code));
  }
  if (request.names != SemconvNames::kOld) {
    span.set_attribute("http.response.status_code", int_value(code));
    if (code >= 500 && !request.failed) {
      span.set_attribute("error.type", text_value(std::to_string(code)));
    }
  }
  // not over what the exception said
  if (code >= 500 && !request.failed) span.set_status(wire::StatusCode::kError);
}

void request_answered(RequestObject& request, PyObject* http_request, PyObject* response) noexcept {
  const ErrorGuard guard;
  Hooks& hooks = *request.hooks;
  if (request.ended) return;
  if (!request.recording) {
    wrap_stream(request, response);  // its body must stay as silent as the rest
    return;
  }
  const Ref status = attribute_of(response, hooks.n_status_code.get());
  if (status && PyLong_Check(status.get())) {
    note_status(request, PyLong_AsLong(status.get()));
    PyErr_Clear();
  }
  if (http_request != nullptr) {
    call_user_hook(hooks, hooks.n_user.get(), request.span->get(), http_request, nullptr);
    call_user_hook(hooks, hooks.n_headers.get(), request.span->get(), http_request, response);
    call_user_hook(hooks, hooks.n_response_hook.get(), request.span->get(), http_request, response);
  }
  request.attached = attach_closer(request, response);
  if (request.attached) wrap_stream(request, response);
}

void note_sent(RequestObject& request, PyObject* message) noexcept {
  PyObject* type = item_of(message, "type");
  if (type == nullptr || !PyUnicode_Check(type)) return;
  const Utf8 kept(type);
  const std::string_view text = kept.view();
  if (text == "http.response.body") {
    PyObject* more = item_of(message, "more_body");
    if (more == nullptr || call_python(PyObject_IsTrue, more) == 0) request.finished = true;
    PyErr_Clear();
  } else if (request.status != 0) {
    return;
  } else if (text == "http.response.start" || text == "websocket.http.response.start") {
    PyObject* status = item_of(message, "status");
    if (status != nullptr && PyLong_Check(status)) note_status(request, PyLong_AsLong(status));
    PyErr_Clear();
  } else if (text == "websocket.accept") {
    note_status(request, 101);
  } else if (text == "websocket.close") {  // before any answer: refused
    note_status(request, 403);
  }
}

void request_failed(RequestObject& request, PyObject* exception) noexcept {
  if (!request.recording || request.ended || exception == nullptr) return;
  request.failed = true;
  record_exception(span_of(request), exception, true, true);
  if (request.names != SemconvNames::kOld) {
    span_of(request)->span->set_attribute("error.type", text_value(Py_TYPE(exception)->tp_name));
  }
}

void annotate_queries(Hooks& hooks, SpanObject* span) noexcept {
  if (span == nullptr || span->span == nullptr || !span->span->is_recording()) return;
  try {
    trace::annotate_n_plus_one(*span->span, span->span->local_root()->n_plus_one());
  } catch (...) {
    hook_failed(hooks, "noting repeated queries");
  }
}

void close_request(RequestObject& request) noexcept {
  if (request.ended) return;
  request.ended = true;
  if (!request.recording) return;
  annotate_queries(*request.hooks, span_of(request));
  end_span(span_of(request));
}

bool add_request_type(PyObject* module, Hooks& hooks) noexcept {
  PyObject* type = PyType_FromModuleAndSpec(module, &request_spec, nullptr);
  hooks.request_type = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

}  // namespace nuages::python
