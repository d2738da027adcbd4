#include "python/hook_facts.h"

#include <charconv>

#include "python/convert.h"

namespace nuages::python {
namespace {

using trace::AttributeView;
using trace::int_value;
using trace::text_value;

// The bytes of a scope's value, or the UTF-8 of a str.
std::string_view raw(PyObject* value, std::string& kept) {
  if (value == nullptr) return {};
  if (PyBytes_Check(value)) {
    return {PyBytes_AS_STRING(value), static_cast<size_t>(PyBytes_GET_SIZE(value))};
  }
  if (!PyUnicode_Check(value)) return {};
  kept = Utf8(value).view();
  return kept;
}

std::string scope_text(PyObject* scope, const char* key) {
  std::string kept;
  const std::string_view text = raw(item_of(scope, key), kept);
  return std::string(text);
}

// UTF-8 whatever the client sent.
std::string valid(std::string_view text) {
  const Ref decoded =
      Ref::take(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  if (!decoded) {
    PyErr_Clear();
    return {};
  }
  return std::string(Utf8(decoded.get()).view());
}

// Calls visit(name, value) with the bytes of each header of the scope.
template <typename Visit>
void each_header(PyObject* scope, Visit visit) {
  PyObject* headers = item_of(scope, "headers");
  if (headers == nullptr) return;
  const Ref items = Ref::take(call_python(PySequence_Fast, headers, "headers"));
  if (!items) return PyErr_Clear();
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    const Ref pair =
        Ref::take(call_python(PySequence_Fast, PySequence_Fast_GET_ITEM(items.get(), i), "pair"));
    if (!pair || PySequence_Fast_GET_SIZE(pair.get()) != 2) {
      PyErr_Clear();
      continue;
    }
    std::string kept_name, kept_value;
    const std::string_view name = raw(PySequence_Fast_GET_ITEM(pair.get(), 0), kept_name);
    if (name.empty() || !visit(name, raw(PySequence_Fast_GET_ITEM(pair.get(), 1), kept_value)))
      return;
  }
}

bool is_word(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != lower[i]) return false;
  }
  return true;
}

// "shop.example:8000" -> 8000; -1 without one.
long long port_of(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) return -1;
  long long port = -1;
  const auto read = std::from_chars(host.data() + colon + 1, host.data() + host.size(), port);
  return read.ec == std::errc() && read.ptr == host.data() + host.size() ? port : -1;
}

void add_default_port(std::string& host, const std::string& port, const std::string& scheme) {
  const bool usual = port == (scheme == "https" || scheme == "wss" ? "443" : "80");
  if (!port.empty() && !usual) host += ":" + port;
}

}  // namespace

bool known_method(std::string_view method) noexcept {
  for (const std::string_view known :
       {"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT"}) {
    if (method == known) return true;
  }
  return false;
}

std::string environ_text(PyObject* environ, const char* key) {
  PyObject* value = item_of(environ, key);
  if (value == nullptr || !PyUnicode_Check(value)) return {};
  if (PyUnicode_IS_ASCII(value)) return std::string(Utf8(value).view());
  const Ref bytes = Ref::take(PyUnicode_AsLatin1String(value));
  const Ref decoded =
      bytes ? Ref::take(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(bytes.get()),
                                             PyBytes_GET_SIZE(bytes.get()), "replace"))
            : Ref();
  PyErr_Clear();
  return std::string(Utf8(decoded ? decoded.get() : value).view());
}

RequestFacts RequestFacts::of_environ(Hooks& hooks, PyObject* environ, PyObject* request) {
  RequestFacts facts;
  facts.method = environ_text(environ, "REQUEST_METHOD");
  facts.path = environ_text(environ, "SCRIPT_NAME") + environ_text(environ, "PATH_INFO");
  facts.query = environ_text(environ, "QUERY_STRING");
  facts.scheme = environ_text(environ, "wsgi.url_scheme");
  if (facts.scheme.empty() && request != nullptr) {
    const Ref scheme = attribute_of(request, hooks.n_scheme.get());
    if (scheme && PyUnicode_Check(scheme.get())) facts.scheme = Utf8(scheme.get()).view();
  }
  if (facts.scheme.empty()) facts.scheme = "http";
  facts.host = environ_text(environ, "HTTP_HOST");
  if (facts.host.empty()) {
    facts.host = environ_text(environ, "SERVER_NAME");
    add_default_port(facts.host, environ_text(environ, "SERVER_PORT"), facts.scheme);
  }
  facts.version = environ_text(environ, "SERVER_PROTOCOL");
  if (facts.version.starts_with("HTTP/")) facts.version.erase(0, 5);
  facts.complete();
  return facts;
}

RequestFacts RequestFacts::of_scope(PyObject* scope) {
  RequestFacts facts;
  facts.websocket = scope_text(scope, "type") == "websocket";
  facts.method = facts.websocket ? "GET" : scope_text(scope, "method");
  facts.path = scope_text(scope, "path");
  facts.query = valid(scope_text(scope, "query_string"));
  facts.scheme = scope_text(scope, "scheme");
  if (facts.scheme.empty()) facts.scheme = facts.websocket ? "ws" : "http";
  each_header(scope, [&](std::string_view name, std::string_view value) {
    if (!is_word(name, "host")) return true;
    facts.host = valid(value);
    return false;
  });
  PyObject* server = item_of(scope, "server");
  if (facts.host.empty() && server != nullptr) {
    const Ref pair = Ref::take(call_python(PySequence_Fast, server, "server"));
    if (pair && PySequence_Fast_GET_SIZE(pair.get()) == 2) {
      std::string kept;
      facts.host = raw(PySequence_Fast_GET_ITEM(pair.get(), 0), kept);
      PyObject* port = PySequence_Fast_GET_ITEM(pair.get(), 1);
      if (port != Py_None)
        add_default_port(facts.host, std::string(Utf8(port).view()), facts.scheme);
    }
    PyErr_Clear();
  }
  facts.version = scope_text(scope, "http_version");
  facts.complete();
  return facts;
}

void RequestFacts::complete() {
  if (path.empty()) path = "/";
  target = query.empty() ? path : path + "?" + query;
  url = scheme + "://" + host + target;
  server_ = port_of(host) < 0 ? host : host.substr(0, host.rfind(':'));
}

std::vector<AttributeView> RequestFacts::attributes(SemconvNames names) {
  std::vector<AttributeView> list;
  list.reserve(14);
  const bool known = known_method(method);
  const std::string_view shown = known ? std::string_view(method) : "_OTHER";
  if (names != SemconvNames::kStable) {
    list.push_back({"http.method", text_value(shown)});
    list.push_back({"http.scheme", text_value(scheme)});
    list.push_back({"http.host", text_value(host)});
    list.push_back({"http.target", text_value(target)});
    list.push_back({"http.url", text_value(url)});
    if (!version.empty()) list.push_back({"http.flavor", text_value(version)});
  }
  if (names == SemconvNames::kOld) return list;
  list.push_back({"http.request.method", text_value(shown)});
  if (!known) list.push_back({"http.request.method_original", text_value(method)});
  list.push_back({"url.scheme", text_value(scheme)});
  list.push_back({"url.path", text_value(path)});
  if (!query.empty()) list.push_back({"url.query", text_value(query)});
  list.push_back({"server.address", text_value(server_)});
  if (const long long port = port_of(host); port >= 0) {
    list.push_back({"server.port", int_value(port)});
  }
  if (!version.empty()) list.push_back({"network.protocol.version", text_value(version)});
  return list;
}

Ref environ_of_scope(PyObject* scope, bool all) {
  Ref environ = Ref::take(PyDict_New());
  if (!environ) return {};
  bool failed = false;
  each_header(scope, [&](std::string_view name, std::string_view value) {
    const bool ours =
        is_word(name, "traceparent") || is_word(name, "tracestate") || is_word(name, "baggage");
    if (!all && !ours) return true;
    std::string key = "HTTP_";
    for (const char c : name) {
      key += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    }
    const Ref key_object =
        Ref::take(PyUnicode_DecodeLatin1(key.data(), static_cast<Py_ssize_t>(key.size()), nullptr));
    Ref text = Ref::take(
        PyUnicode_DecodeLatin1(value.data(), static_cast<Py_ssize_t>(value.size()), nullptr));
    if (PyObject* earlier = item_of(environ.get(), key_object.get()); earlier != nullptr && text) {
      text = Ref::take(PyUnicode_FromFormat("%U,%U", earlier, text.get()));  // a repeated header
    }
    failed =
        !key_object || !text || PyDict_SetItem(environ.get(), key_object.get(), text.get()) < 0;
    return !failed;
  });
  return failed ? Ref() : std::move(environ);
}

}  // namespace nuages::python
