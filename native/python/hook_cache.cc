// Django's cache: one span for each operation the application asks for.
//
// The hook sits on the backend classes' own methods. Backends are built from their own operations
// (get_many from get, get_or_set from get and add), so a call inside an operation of the same cache
// object is part of it. Values are never read; keys are masked with everything else on the way out,
// and the part of a session's cache key that is the session key is never taken.
#include <array>
#include <cstring>
#include <string_view>
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

void describe_answer(trace::Span& span, const Operation& what, const HookCall& call,
                     PyObject* result) {
  switch (what.answer) {
    case Answer::kValue:
      span.set_attribute("cache.hit", trace::bool_value(result != default_argument(what, call)));
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

}  // namespace

// A method of a cache backend; data: the operation's template.
PyObject* handle_cache(HookFunction& hook, const HookCall& call) {
  Hooks& hooks = *hook.hooks;
  const SpanTemplate* shape = span_template(hook.data);
  PyObject* self = call.positional(0);
  const Parent parent = current_parent(hooks);
  if (shape == nullptr || self == nullptr || parent.kind != ParentKind::kOurs ||
      (caching.span == parent.object.get() && caching.object == self)) {
    return call_original(hook, call);
  }
  const Operation& what = operation(shape->name);
  std::vector<trace::AttributeView> attributes = shape->attributes;
  const char* backend = Py_TYPE(self)->tp_name;
  if (const char* dot = std::strrchr(backend, '.')) backend = dot + 1;
  attributes.push_back({"cache.backend", text_value(backend)});
  const Ref alias_object = attribute_of(self, hooks.n_cache_alias.get());
  const bool named = alias_object && PyUnicode_Check(alias_object.get());
  const Utf8 alias(named ? alias_object.get() : Py_None);
  if (named) attributes.push_back({"cache.alias", text_value(alias.view())});
  PyObject* first = call.positional(1);
  if (first == nullptr && what.keys == Keys::kOne) first = call.argument(1, "key");
  if (first == nullptr && what.keys == Keys::kMany) {
    first = call.argument(
        1, what.answer == Answer::kNothing && shape->name == "cache.set_many" ? "data" : "keys");
  }
  const bool keyed = what.keys == Keys::kOne && first != nullptr && PyUnicode_Check(first);
  const Utf8 key(keyed ? first : Py_None);
  if (keyed) attributes.push_back({"cache.key", text_value(shown_key(key.view()))});
  const Py_ssize_t count = what.keys == Keys::kMany ? key_count(first) : -1;
  if (count >= 0) attributes.push_back({"cache.key_count", trace::int_value(count)});

  CallSpan span(hooks);
  SpanSpec spec;
  spec.name = shape->name;
  spec.attributes = attributes;
  if (!span.start(hooks.n_django.get(), spec)) return call_original(hook, call);
  const InnermostScope scope(caching, span.span(), self);
  PyObject* result = call_original(hook, call);
  const bool missing = result == nullptr && what.answer == Answer::kNumber &&
                       PyErr_ExceptionMatches(PyExc_ValueError);
  if (missing) {  // how incr() says that there is no such key
    span.span()->span->set_attribute("cache.hit", trace::bool_value(false));
    span.finish(Py_None);
    return nullptr;
  }
  if (result != nullptr) describe_answer(*span.span()->span, what, call, result);
  span.finish(result);
  return result;
}

}  // namespace nuages::python
