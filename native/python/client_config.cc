#include "python/client_config.h"

#include <string>

#include "python/convert.h"

namespace nuages::python {
namespace {

struct TextField {
  const char* name;
  std::string net::OtlpClientConfig::* slot;
};
constexpr TextField kTexts[] = {
    {"endpoint", &net::OtlpClientConfig::endpoint},
    {"ca_file", &net::OtlpClientConfig::ca_file},
    {"client_certificate", &net::OtlpClientConfig::client_cert_file},
    {"client_key", &net::OtlpClientConfig::client_key_file},
    {"proxy", &net::OtlpClientConfig::proxy},
    {"no_proxy", &net::OtlpClientConfig::no_proxy},
    {"version", &net::OtlpClientConfig::version},
};

bool wrong_type(const std::string& name, const char* expected) {
  PyErr_Format(PyExc_TypeError, "client setting %s must be %s", name.c_str(), expected);
  return false;
}

bool read_headers(PyObject* value, net::OtlpClientConfig& out) {
  const Ref items = Ref::take(PySequence_Fast(value, "headers must be a sequence of pairs"));
  if (!items) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    PyObject* pair = PySequence_Fast_GET_ITEM(items.get(), i);
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
        !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0)) ||
        !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1))) {
      return wrong_type("headers", "a sequence of pairs of str");
    }
    out.headers.emplace_back(Utf8(PyTuple_GET_ITEM(pair, 0)).view(),
                             Utf8(PyTuple_GET_ITEM(pair, 1)).view());
  }
  return true;
}

bool read_field(const std::string& name, PyObject* value, net::OtlpClientConfig& out) {
  for (const TextField& field : kTexts) {
    if (name != field.name) continue;
    if (!PyUnicode_Check(value)) return wrong_type(name, "a str");
    out.*field.slot = Utf8(value).view();
    return true;
  }
  if (name == "headers") return read_headers(value, out);
  if (name == "insecure" || name == "endpoint_is_final") {
    const int truth = PyObject_IsTrue(value);
    if (truth < 0) return false;
    (name == "insecure" ? out.insecure : out.endpoint_is_final) = truth != 0;
    return true;
  }
  if (name == "timeout_ms") {
    const unsigned long number = PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred()) return false;
    out.timeout_ms = static_cast<uint32_t>(std::min(number, 0xffffffffUL));
    return true;
  }
  const std::string word(PyUnicode_Check(value) ? Utf8(value).view() : std::string_view());
  if (name == "protocol") {
    out.protocol = word == "grpc" ? net::Protocol::kGrpc : net::Protocol::kHttpProtobuf;
    return word == "grpc" || word == "http/protobuf" ||
           wrong_type(name, "\"grpc\" or \"http/protobuf\"");
  }
  if (name == "compression") {
    out.compression = word == "gzip"      ? net::Compression::kGzip
                      : word == "deflate" ? net::Compression::kDeflate
                                          : net::Compression::kNone;
    return word == "gzip" || word == "deflate" || word == "none" ||
           wrong_type(name, "\"none\", \"gzip\" or \"deflate\"");
  }
  PyErr_Format(PyExc_TypeError, "%s is no client setting", name.c_str());
  return false;
}

}  // namespace

bool read_client_config(PyObject* dict, net::OtlpClientConfig& out) {
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict, &position, &key, &value)) {
    if (!PyUnicode_Check(key)) return wrong_type("?", "named by a str");
    if (!read_field(std::string(Utf8(key).view()), value, out)) return false;
  }
  return true;
}

PyObject* py_parse_endpoint(PyObject*, PyObject* client) noexcept {
  if (!PyDict_Check(client)) return PyErr_Format(PyExc_TypeError, "parse_endpoint() takes a dict");
  try {
    net::OtlpClientConfig config;
    if (!read_client_config(client, config)) return nullptr;
    const auto endpoint = net::parse_endpoint(config);
    if (!endpoint.ok()) {
      PyErr_SetString(PyExc_ValueError, endpoint.error().message.c_str());
      return nullptr;
    }
    return Py_BuildValue("(sNsiss)", endpoint->url.c_str(), PyBool_FromLong(endpoint->tls ? 1 : 0),
                         endpoint->host.c_str(), static_cast<int>(endpoint->port),
                         endpoint->unix_socket.c_str(), endpoint->warning.c_str());
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

}  // namespace nuages::python
