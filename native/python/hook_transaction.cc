// transaction.atomic: a span from Atomic.__enter__ to Atomic.__exit__.
//
// Atomic objects are shared by threads and re-entered, so the open span waits on the connection,
// which belongs to one thread: a list in its __dict__, one entry per __enter__ (None when that one
// was not traced). BEGIN, SAVEPOINT and COMMIT are leaves below it.
#include "python/convert.h"
#include "python/hook_leaf.h"
#include "python/hook_span.h"
#include "python/hook_sql.h"

namespace nuages::python {
namespace {

using trace::text_value;

constexpr const char* kCapsuleName = "nuages.atomic";

void destroy_span(PyObject* capsule) {
  auto* span = static_cast<CallSpan*>(PyCapsule_GetPointer(capsule, kCapsuleName));
  if (span == nullptr) return;
  const ErrorGuard guard;
  span->finish(Py_None);  // a block that was never left
  delete span;
}

// The list on the connection of this Atomic; empty when it cannot be had. data: get_connection.
Ref open_blocks(HookFunction& hook, PyObject* atomic, Ref* connection) noexcept {
  Hooks& hooks = *hook.hooks;
  const Ref alias = attribute_of(atomic, hooks.n_using.get());
  if (!alias || hook.data == nullptr) return {};
  Ref found = Ref::take(call_python(PyObject_CallOneArg, hook.data, alias.get()));
  const Ref dict = found ? Ref::take(PyObject_GenericGetDict(found.get(), nullptr)) : Ref();
  if (!dict) {
    PyErr_Clear();  // the original will meet the same error and tell the application
    return {};
  }
  Ref blocks = Ref::share(item_of(dict.get(), hooks.n_dict_atomic.get()));
  if (!blocks) {
    blocks = Ref::take(PyList_New(0));
    if (!blocks || PyDict_SetItem(dict.get(), hooks.n_dict_atomic.get(), blocks.get()) < 0) {
      hook_failed(hooks, "entering a transaction");
      return {};
    }
  }
  if (connection != nullptr) *connection = std::move(found);
  return PyList_Check(blocks.get()) ? blocks : Ref();
}

Ref pop(PyObject* blocks) noexcept {
  const Py_ssize_t size = PyList_GET_SIZE(blocks);
  if (size == 0) return {};
  Ref last = Ref::share(PyList_GET_ITEM(blocks, size - 1));
  if (PyList_SetSlice(blocks, size - 1, size, nullptr) < 0) PyErr_Clear();
  return last;
}

CallSpan* span_of(PyObject* capsule) noexcept {
  return capsule != nullptr && PyCapsule_IsValid(capsule, kCapsuleName)
             ? static_cast<CallSpan*>(PyCapsule_GetPointer(capsule, kCapsuleName))
             : nullptr;
}

Ref start_block(Hooks& hooks, PyObject* connection) {
  const Database database = database_of(hooks, connection);
  const DatabaseInfo* info = database.info;
  if (info == nullptr || current_parent(hooks).kind == ParentKind::kSilent)
    return Ref::share(Py_None);
  LeafAttributes attributes;
  const SemconvNames names = database_names(hooks);
  attributes.text("nuages.kind", "transaction");
  attributes.system(names, info->system);
  attributes.text(names, kDbName, info->name);
  attributes.text("nuages.db.alias", info->alias);
  auto span = std::make_unique<CallSpan>(hooks);
  SpanSpec spec;
  spec.name = "transaction.atomic";
  spec.attributes = attributes.views();
  if (!span->start(hooks.n_db.get(), spec)) return Ref::share(Py_None);
  Ref capsule = Ref::take(hand_over(std::move(span), kCapsuleName, destroy_span));
  if (capsule) return capsule;
  PyErr_Clear();
  return Ref::share(Py_None);
}

}  // namespace

PyObject* handle_atomic_enter(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* self = call.positional(0);
  Ref connection;
  const Ref blocks = self == nullptr ? Ref() : open_blocks(hook, self, &connection);
  if (!blocks) return call_original(hook, call);
  const Ref entry = start_block(hooks, connection.get());
  PyObject* result = call_original(hook, call);
  CallSpan* span = span_of(entry.get());
  if (result == nullptr) {
    if (span != nullptr) span->finish(result);
    return result;
  }
  if (PyList_Append(blocks.get(), entry.get()) < 0) hook_failed(hooks, "entering a transaction");
  return result;
}

PyObject* handle_atomic_exit(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* self = call.positional(0);
  const Ref blocks = self == nullptr ? Ref() : open_blocks(hook, self, nullptr);
  const Ref entry = blocks ? pop(blocks.get()) : Ref();
  CallSpan* span = span_of(entry.get());
  PyObject* result = call_original(hook, call);
  if (span == nullptr) return result;
  PyObject* exception = call.argument(2, "exc_value");
  const bool failed = exception != nullptr && exception != Py_None;
  if (span->span()->span != nullptr) {
    span->span()->span->set_attribute(
        "db.transaction.outcome", text_value(failed || result == nullptr ? "rollback" : "commit"));
  }
  if (failed && result != nullptr) record_escaped(hooks, span->span(), exception);
  span->finish(result);
  return result;
}

}  // namespace nuages::python
