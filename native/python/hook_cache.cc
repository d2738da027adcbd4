// Django's cache: one span for each operation the application asks for.
//
// The hook sits on the backend classes' own methods. Backends are built from their own operations
// (get_many from get, get_or_set from get and add), so a call inside an operation of the same cache
// object is part of it. Values are never read; keys are masked with everything else on the way out,
// and the part of a session's cache key that is the session key is never taken.
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python/convert.h"
#include "python/hook_span.h"

namespace nuages::python {
namespace {

using trace::text_value;

thread_local Innermost caching;

// What the first argument is, and what an answer means.
enum class Keys : uint8_t { kNone, kOne, kMany };
enum class Answer : uint8_t { kNothing, kValue, kFound, kBoolean, kNumber };
struct Operation {
  std::string_view name;
  Keys keys;
  Answer answer;
};
constexpr std::array kOperations = std::to_array<Operation>({
    {"cache.get", Keys::kOne, Answer::kValue},
    {"cache.get_many", Keys::kMany, Answer::kFound},
    {"cache.has_key", Keys::kOne, Answer::kBoolean},
    {"cache.touch", Keys::kOne, Answer::kBoolean},
    {"cache.incr", Keys::kOne, Answer::kNumber},
    {"cache.decr", Keys::kOne, Answer::kNumber},
    {"cache.set_many", Keys::kMany, Answer::kNothing},
    {"cache.delete_many", Keys::kMany, Answer::kNothing},
    {"cache.clear", Keys::kNone, Answer::kNothing},
});
constexpr Operation kOther = {"", Keys::kOne, Answer::kNothing};  // set, add, delete, get_or_set

const Operation& operation(std::string_view name) {
  for (const Operation& each : kOperations) {
    if (each.name == name) return each;
  }
  return kOther;
}

// "django.contrib.sessions.cache" and "...cached_db" prefix a secret.
std::string_view shown_key(std::string_view key) {
  constexpr std::string_view kSessions = "django.contrib.sessions.";
  if (!key.starts_with(kSessions)) return key;
  for (const std::string_view prefix : {"cached_db", "cache"}) {
    if (key.substr(kSessions.size()).starts_with(prefix))
      return key.substr(0, kSessions.size() + prefix.size());
  }
  return kSessions;
}

// The number of keys, where it can be known without consuming an iterator; else -1.
Py_ssize_t key_count(PyObject* keys) {
  if (keys == nullptr || !(PyList_Check(keys) || PyTuple_Check(keys) || PyDict_Check(keys) ||
                           PyAnySet_Check(keys) || PyDictViewSet_Check(keys))) {
    return -1;
  }
  const Py_ssize_t count = call_python(PyObject_Size, keys);
  if (count < 0) PyErr_Clear();
  return count;
}

PyObject* default_argument(const Operation& what, const HookCall& call) {
  PyObject* given = what.answer == Answer::kValue ? call.argument(2, "default") : nullptr;
  return given == nullptr ? Py_None : given;
}

void describe_answer(trace::Span& span, const Operation& what, PyObject* default_value,
                     PyObject* result) {
  switch (what.answer) {
    case Answer::kValue:
      span.set_attribute("cache.hit", trace::bool_value(result != default_value));
      return;
    case Answer::kFound:
      if (PyDict_Check(result)) {
        span.set_attribute("cache.hit_count", trace::int_value(PyDict_Size(result)));
      }
      return;
    case Answer::kBoolean:
      if (PyBool_Check(result)) {
        span.set_attribute("cache.hit", trace::bool_value(result == Py_True));
      }
      return;
    case Answer::kNumber:
      span.set_attribute("cache.hit", trace::bool_value(true));
      return;
    case Answer::kNothing:
      return;
  }
}

// What a span of the operation starts with; views into this object.
struct Described {
  const SpanTemplate& shape;
  const Operation& what;
  std::vector<trace::AttributeView> attributes;
  std::string alias, key;

  Described(Hooks& hooks, const SpanTemplate& of, PyObject* self, const HookCall& call)
      : shape(of), what(operation(of.name)), attributes(of.attributes) {
    const char* backend = Py_TYPE(self)->tp_name;
    if (const char* dot = std::strrchr(backend, '.')) backend = dot + 1;
    attributes.push_back({"cache.backend", text_value(backend)});
    const Ref alias_object = attribute_of(self, hooks.n_cache_alias.get());
    if (alias_object && PyUnicode_Check(alias_object.get())) {
      alias = Utf8(alias_object.get()).view();
      attributes.push_back({"cache.alias", text_value(alias)});
    }
    PyObject* first = call.positional(1);
    if (first == nullptr && what.keys == Keys::kOne) first = call.argument(1, "key");
    if (first == nullptr && what.keys == Keys::kMany) {
      first = call.argument(1, shape.name == "cache.set_many" ? "data" : "keys");
    }
    if (what.keys == Keys::kOne && first != nullptr && PyUnicode_Check(first)) {
      key = shown_key(Utf8(first).view());
      attributes.push_back({"cache.key", text_value(key)});
    }
    const Py_ssize_t count = what.keys == Keys::kMany ? key_count(first) : -1;
    if (count >= 0) attributes.push_back({"cache.key_count", trace::int_value(count)});
  }
};

// An operation inside one of the same cache object is part of it.
bool is_part(Hooks& hooks, const Parent& parent, PyObject* self) noexcept {
  const void* span = parent.object.get();
  if (caching.span == span && caching.object == self) return true;
  if (hooks.caching_later.empty()) return false;
  const auto found = hooks.caching_later.find(span);
  return found != hooks.caching_later.end() && found->second == self;
}

// How incr() says that there is no such key.
bool says_missing(const Operation& what, PyObject* exception) noexcept {
  return what.answer == Answer::kNumber && exception != nullptr &&
         PyErr_GivenExceptionMatches(exception, PyExc_ValueError) != 0;
}

// Between enter_cache() and leave_cache().
struct LaterCall {
  explicit LaterCall(Hooks& state) : hooks(state), span(state) {}
  ~LaterCall() { hooks.caching_later.erase(key); }
  LaterCall(const LaterCall&) = delete;
  LaterCall& operator=(const LaterCall&) = delete;

  Hooks& hooks;
  CallSpan span;
  const Operation* what = nullptr;
  const void* key = nullptr;  // of hooks.caching_later
  Ref default_value;
};
constexpr const char* kLaterName = "nuages.cache_call";

void destroy_later(PyObject* capsule) {
  const ErrorGuard guard;  // a coroutine that was dropped, or the end of an ordinary one
  delete static_cast<LaterCall*>(PyCapsule_GetPointer(capsule, kLaterName));
}

// Positional and keyword arguments as vectorcall has them.
struct PackedCall {
  std::vector<PyObject*> values;
  Ref names;

  PackedCall(PyObject* self, PyObject* args, PyObject* kwargs) {
    values.push_back(self);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
      values.push_back(PyTuple_GET_ITEM(args, i));
    }
    names = Ref::take(PySequence_Tuple(kwargs));
    if (!names) {
      PyErr_Clear();
      return;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names.get()); ++i) {
      values.push_back(item_of(kwargs, PyTuple_GET_ITEM(names.get(), i)));
    }
  }
  HookCall call() const {
    const size_t named = names ? static_cast<size_t>(PyTuple_GET_SIZE(names.get())) : 0;
    return {values.data(), values.size() - named, names.get()};
  }
};

}  // namespace

// A method of a cache backend; data: the operation's template.
PyObject* handle_cache(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  const SpanTemplate* shape = span_template(hook.data);
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(hooks);
  if (shape == nullptr || self == nullptr || parent.kind != ParentKind::kOurs ||
      is_part(hooks, parent, self)) {
    return call_original(hook, call);
  }
  const Described described(hooks, *shape, self, call);
  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = shape->name;
  spec.attributes = described.attributes;
  if (!span.start(hooks.n_django.get(), spec)) return call_original(hook, call);
  const InnermostScope scope(caching, span.span(), self);
  PyObject* result = call_original(hook, call);
  bool missing = false;
  if (result == nullptr) {
    SavedException saved;
    missing = says_missing(described.what, saved.value());
  }
  trace::Span* core = span.span()->span;  // null: the trace is full
  if (missing) {
    if (core != nullptr) core->set_attribute("cache.hit", trace::bool_value(false));
    span.finish(Py_None);
    return nullptr;
  }
  if (result != nullptr && core != nullptr) {
    describe_answer(*core, described.what, default_argument(described.what, call), result);
  }
  span.finish(result);
  return result;
}

// enter_cache(template, cache, args, kwargs) -> opaque or None: for the coroutine shims.
PyObject* enter_cache(PyObject* module, PyObject* arguments) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  PyObject *capsule = nullptr, *self = nullptr, *args = nullptr, *kwargs = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOO!O!", &capsule, &self, &PyTuple_Type, &args, &PyDict_Type,
                        &kwargs)) {
    return nullptr;
  }
  const SpanTemplate* shape = span_template(capsule);
  const Parent parent = current_parent(hooks);
  if (shape == nullptr || parent.kind != ParentKind::kOurs || is_part(hooks, parent, self)) {
    Py_RETURN_NONE;
  }
  const PackedCall packed(self, args, kwargs);
  const HookCall call = packed.call();
  const Described described(hooks, *shape, self, call);
  auto later = std::make_unique<LaterCall>(hooks);
  SpanSpec spec;
  spec.name = shape->name;
  spec.attributes = described.attributes;
  if (!later->span.start(hooks.n_django.get(), spec)) Py_RETURN_NONE;
  later->what = &described.what;
  later->default_value = Ref::share(default_argument(described.what, call));
  later->key = later->span.span();
  hooks.caching_later[later->key] = self;
  return hand_over(std::move(later), kLaterName, destroy_later);
}

// leave_cache(opaque, result, exception or None)
PyObject* leave_cache(PyObject* /*module*/, PyObject* arguments) {
  PyObject *opened = nullptr, *result = nullptr, *exception = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOO", &opened, &result, &exception)) return nullptr;
  if (!PyCapsule_IsValid(opened, kLaterName)) Py_RETURN_NONE;
  auto& later = *static_cast<LaterCall*>(PyCapsule_GetPointer(opened, kLaterName));
  SpanObject* span = later.span.span();
  if (span != nullptr && span->span != nullptr) {
    if (says_missing(*later.what, exception == Py_None ? nullptr : exception)) {
      span->span->set_attribute("cache.hit", trace::bool_value(false));
    } else if (exception != Py_None) {
      later.span.note(exception);
    } else {
      describe_answer(*span->span, *later.what, later.default_value.get(), result);
    }
  }
  later.span.finish(Py_None);
  later.hooks.caching_later.erase(std::exchange(later.key, nullptr));
  Py_RETURN_NONE;
}

}  // namespace nuages::python
