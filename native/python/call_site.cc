#include "python/call_site.h"

#include <deque>
#include <functional>
#include <string_view>
#include <vector>

#include "python/convert.h"
#include "python/hook_span.h"
#include "python/query_counter.h"

namespace nuages::python {
namespace {

// A tuple of texts and numbers.
class Answer {
 public:
  explicit Answer(PyObject* tuple) : tuple_(tuple) {}
  std::string_view text(Py_ssize_t at) { return texts_.emplace_back(item(at)).view(); }
  uint64_t number(Py_ssize_t at) const {
    const unsigned long long value = PyLong_AsUnsignedLongLongMask(item(at));
    if (PyErr_Occurred() != nullptr) PyErr_Clear();
    return value;
  }
  uint32_t line(Py_ssize_t at) const { return static_cast<uint32_t>(number(at)); }
  bool flag(Py_ssize_t at) const { return item(at) == Py_True; }

 private:
  PyObject* item(Py_ssize_t at) const { return PyTuple_GET_ITEM(tuple_, at); }
  PyObject* tuple_;
  std::deque<Utf8> texts_;  // a deque keeps its elements where they are
};

bool is_tuple(const Ref& object, Py_ssize_t size) {
  return PyTuple_Check(object.get()) && PyTuple_GET_SIZE(object.get()) == size;
}

}  // namespace

void add_call_site(Hooks& hooks, trace::LocalRoot& table, uint64_t alias, uint64_t fingerprint,
                   std::string_view sql, PyObject* parameters) noexcept {
  if (!hooks.call_site) return;
  const Ref place = Ref::take(call_python(PyObject_CallOneArg, hooks.call_site.get(),
                                          parameters != nullptr ? parameters : Py_None));
  if (!place) {
    hook_failed(hooks, "finding the place of a query");
    return;
  }
  if (!is_tuple(place, 9)) return;
  Answer answer(place.get());
  trace::CallSiteView site;
  site.file = answer.text(0);
  site.line = answer.line(1);
  site.function = answer.text(2);
  site.relation = answer.text(3);
  site.suggestion = answer.text(4);
  site.model = answer.text(5);
  site.via = answer.text(6);
  // Statements without parameters have their values in the text.
  const uint64_t bound = answer.number(7);
  site.parameters = bound == 0 ? 0 : bound ^ std::hash<std::string_view>()(sql);
  // Pages of a hand-written statement; the ORM's are told by their queryset.
  const bool pages = site.relation.empty() && sql.find(" OFFSET ") != std::string_view::npos;
  site.series = answer.flag(8) || pages;
  table.add_call_site(alias, fingerprint, site);
}

// QuerySet._fetch_all: notes where a list of more than one instance was fetched.
PyObject* handle_fetch_all(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  PyObject* queryset = call.positional(0);
  const Ref before =
      queryset != nullptr ? attribute_of(queryset, hooks.n_result_cache.get()) : Ref();
  PyObject* result = call_original(hook, call);
  if (result == nullptr || !before || before.get() != Py_None || !hooks.note_batch) return result;
  const Ref rows = attribute_of(queryset, hooks.n_result_cache.get());
  if (!rows || !PyList_Check(rows.get()) || PyList_GET_SIZE(rows.get()) < 2) return result;
  const Parent parent = current_parent(hooks);
  const std::vector<trace::Ref<trace::LocalRoot>> tables = open_query_counters(hooks);
  if (parent.kind != ParentKind::kOurs && tables.empty()) return result;
  const SavedException saved;
  const Ref noted = Ref::take(call_python(PyObject_CallOneArg, hooks.note_batch.get(), queryset));
  if (!noted) {
    hook_failed(hooks, "finding the place where rows were fetched");
    return result;
  }
  if (!is_tuple(noted, 7)) return result;
  Answer answer(noted.get());
  trace::BatchView batch;
  batch.model = answer.text(0);
  batch.file = answer.text(1);
  batch.line = answer.line(2);
  batch.function = answer.text(3);
  batch.rows = answer.line(4);
  batch.owner = answer.text(5);
  batch.accessor = answer.text(6);
  if (parent.kind == ParentKind::kOurs) parent.span()->span->local_root()->note_batch(batch);
  for (const auto& table : tables) table->note_batch(batch);
  return result;
}

}  // namespace nuages::python
