// An OTLP client's settings as nuages.sdk.otlp_options describes them in Python: a dict.
#pragma once

#include "net/otlp_client.h"
#include "python/ref.h"

namespace nuages::python {

// False with a Python error: a key that does not exist, or a value of the wrong type. May throw
// std::bad_alloc.
bool read_client_config(PyObject* dict, net::OtlpClientConfig& out);

// parse_endpoint(client) -> (url, tls, host, port, unix_socket, warning); ValueError with one
// sentence.
PyObject* py_parse_endpoint(PyObject* module, PyObject* client) noexcept;

}  // namespace nuages::python
