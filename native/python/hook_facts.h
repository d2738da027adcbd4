// What a request says about itself, and the attributes that a SERVER span starts with.
//
// Read once per request from a WSGI environment (or Django's request.META) or from an ASGI scope.
// Attribute names follow OTEL_SEMCONV_STABILITY_OPT_IN as the official instrumentation does: the
// old names by default, the stable ones with `http`, both with `http/dup`. Under the GIL only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "python/hook_names.h"
#include "python/hook_state.h"
#include "trace/span.h"

namespace nuages::python {

struct RequestFacts {
  bool websocket = false;
  std::string method, path, query, target, scheme, host, url, version;

  // Of a WSGI environment or request.META; `request` (may be null) is Django's, for the scheme.
  static RequestFacts of_environ(Hooks& hooks, PyObject* environ, PyObject* request);
  // Of an ASGI scope of type http or websocket; a websocket's handshake is a GET.
  static RequestFacts of_scope(PyObject* scope);

  // Views into this object.
  std::vector<trace::AttributeView> attributes(SemconvNames names);

 private:
  void complete();
  std::string server_;  // of the host, without the port
};

// The headers of an ASGI scope as a WSGI environment has them (HTTP_HOST); with `all` false only
// those that trace context is read from. Empty with a Python error.
Ref environ_of_scope(PyObject* scope, bool all);

// A method of HTTP that may be part of a span's name.
bool known_method(std::string_view method) noexcept;

// `environ` strings are bytes decoded as Latin-1 (PEP 3333); this gives their UTF-8.
std::string environ_text(PyObject* environ, const char* key);

}  // namespace nuages::python
