// RequestObject: one HTTP request being served, from the server's call to the response's close().
//
// It is the value of a ContextVar while the application runs, so the seams in between (resolver,
// exception handler, views) find the SERVER span without a thread-local. The span ends when the
// response is closed: the object's close() is one of the response's resource closers, so the
// application gets its own response object back, unwrapped. Under the GIL only.
#pragma once

#include "python/context.h"
#include "python/hook_facts.h"
#include "python/hook_function.h"
#include "python/hook_state.h"

namespace nuages::python {

struct RequestObject {
  PyObject_HEAD Hooks* hooks;
  Ref* span;               // owned; the SERVER span, or the silent span of an excluded request
  Activation* activation;  // owned
  Ref* token;              // owned; of hooks->request_var
  Ref* previous;           // owned; the RequestObject around this one, if any
  Ref* match;              // owned; the ResolverMatch, once there is one
  bool recording;
  bool answering;  // get_response() has begun: the next one is another request's
  bool attached;   // the response will call close()
  bool ended;
  bool failed;    // an exception has given the span its status
  bool finished;  // the server has the last message of the answer
  bool lost;      // the client went away before that
  long status;    // of the answer; 0: none yet
  SemconvNames names;
};

// Starts the span of a request described by a WSGI environment (or request.META) and makes it
// current. Empty when tracing is off; leaves no Python error.
Ref begin_request(Hooks& hooks, PyObject* environ, PyObject* request) noexcept;

// The same for an ASGI scope (http, websocket). Empty also when the request's span is open already.
Ref begin_connection(Hooks& hooks, PyObject* scope) noexcept;

// Makes the context of before current again; the span goes on until close().
void leave_request(RequestObject& request) noexcept;

// The view's or handler's answer: status, hooks of the user, closer, streaming.
void request_answered(RequestObject& request, PyObject* http_request, PyObject* response) noexcept;
// The status code of the answer.
void note_status(RequestObject& request, long code) noexcept;
// A message that the application sends to the ASGI server: status, end of the answer.
void note_sent(RequestObject& request, PyObject* message) noexcept;
// An exception came out of the application.
void request_failed(RequestObject& request, PyObject* exception) noexcept;
// Query counts and N+1 findings on the span, then its end. Only the first call counts.
void close_request(RequestObject& request) noexcept;

// The request being served in this context; null when there is none (borrowed under the GIL).
RequestObject* current_request(Hooks& hooks) noexcept;

// Runs request_hook or response_hook (`response` null: the first); its exception is swallowed.
void call_user_hook(Hooks& hooks, PyObject* name, PyObject* span, PyObject* request,
                    PyObject* response) noexcept;

// Follows the body of a StreamingHttpResponse: response._iterator becomes one of ours.
void wrap_stream(RequestObject& request, PyObject* response) noexcept;

// N+1 result of the span's local trace on the span itself.
void annotate_queries(Hooks& hooks, SpanObject* span) noexcept;

}  // namespace nuages::python
