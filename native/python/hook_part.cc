// Methods that are built from each other: sessions, storages, forms. One span for the operation
// that the application asked for; what runs inside it and is of the same kind is part of it.
#include <vector>

#include "python/convert.h"
#include "python/hook_span.h"

namespace nuages::python {
namespace {

using trace::text_value;

// The hook's data: (template, class_key, by_module, argument_key, required, fold).
struct Part {
  const SpanTemplate* shape = nullptr;
  PyObject* class_key = nullptr;     // attribute that names the class of `self`, or None
  bool by_module = false;            // by the last part of its module, where classes share a name
  PyObject* argument_key = nullptr;  // attribute for the first argument: a str, or a class of error
  PyObject* required = nullptr;      // no span where this attribute of `self` is false or missing
  bool fold = false;                 // no span inside one of the same kind
};

bool read_part(PyObject* data, Part& part) noexcept {
  if (data == nullptr || !PyTuple_Check(data) || PyTuple_GET_SIZE(data) != 6) return false;
  const auto text = [data](Py_ssize_t index) -> PyObject* {
    PyObject* item = PyTuple_GET_ITEM(data, index);
    return PyUnicode_Check(item) ? item : nullptr;
  };
  part.shape = span_template(PyTuple_GET_ITEM(data, 0));
  part.class_key = text(1);
  part.by_module = PyTuple_GET_ITEM(data, 2) == Py_True;
  part.argument_key = text(3);
  part.required = text(4);
  part.fold = PyTuple_GET_ITEM(data, 5) == Py_True;
  return part.shape != nullptr;
}

bool is_inside_own_kind(const Part& part, const Parent& parent) {
  const std::string_view kind = part.shape->kind();
  bool inside = false;
  parent.span()->span->read([&](const trace::RecordView& record) {
    for (const trace::AttributeView& attribute : record.attributes()) {
      if (attribute.key != "nuages.kind") continue;
      inside = attribute.value.text == kind;
      return;
    }
  });
  return inside;
}

bool is_wanted(const Part& part, const Parent& parent, PyObject* self) {
  if (self == nullptr || parent.kind != ParentKind::kOurs) return false;
  if (part.required != nullptr) {
    const Ref value = attribute_of(self, part.required);
    const int is_true = value ? call_python(PyObject_IsTrue, value.get()) : 0;
    if (is_true < 0) PyErr_Clear();
    if (is_true <= 0) return false;
  }
  return !part.fold || !is_inside_own_kind(part, parent);
}

// The attributes of a span; `texts` keeps what they point to.
struct Described {
  std::vector<trace::AttributeView> attributes;
  std::string class_key, class_name, argument_key, argument;
};

void describe(Hooks& hooks, const Part& part, PyObject* self, PyObject* argument, Described& out) {
  out.attributes = part.shape->attributes;
  if (part.class_key != nullptr) {
    out.class_key = Utf8(part.class_key).view();
    auto* type = reinterpret_cast<PyObject*>(Py_TYPE(self));
    const Ref name = attribute_of(type, (part.by_module ? hooks.n_module : hooks.n_qualname).get());
    if (name && PyUnicode_Check(name.get())) out.class_name = Utf8(name.get()).view();
    if (part.by_module) out.class_name.erase(0, out.class_name.rfind('.') + 1);
    out.attributes.push_back({out.class_key, text_value(out.class_name)});
  }
  if (part.argument_key == nullptr || argument == nullptr) return;
  out.argument_key = Utf8(part.argument_key).view();
  if (PyUnicode_Check(argument)) {
    out.argument = Utf8(argument).view();
  } else if (PyExceptionInstance_Check(argument)) {
    const Ref name =
        attribute_of(reinterpret_cast<PyObject*>(Py_TYPE(argument)), hooks.n_qualname.get());
    if (name && PyUnicode_Check(name.get())) out.argument = Utf8(name.get()).view();
  }
  if (!out.argument.empty()) {
    out.attributes.push_back({out.argument_key, text_value(out.argument)});
  }
}

}  // namespace

PyObject* handle_part(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  Part part;
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(hooks);
  if (!read_part(hook.data, part) || !is_wanted(part, parent, self)) {
    return call_original(hook, call);
  }
  Described described;
  describe(hooks, part, self, call.argument(1, "name"), described);
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = part.shape->name;
  spec.attributes = described.attributes;
  if (!span.start(hooks.n_django.get(), spec)) return call_original(hook, call);
  PyObject* result = call_original(hook, call);
  span.finish(result);
  return result;
}

// enter_part(data, self, first argument or None) -> opaque for leave_span(), or None.
PyObject* enter_part(PyObject* module, PyObject* arguments) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  PyObject *data = nullptr, *self = nullptr, *argument = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOO", &data, &self, &argument)) return nullptr;
  Part part;
  const Parent parent = current_parent(hooks);
  if (!read_part(data, part) || !is_wanted(part, parent, self)) Py_RETURN_NONE;
  Described described;
  describe(hooks, part, self, argument, described);
  return open_span(hooks, *part.shape, described.attributes, parent);
}

}  // namespace nuages::python
