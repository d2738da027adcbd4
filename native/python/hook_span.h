// CallSpan: a span around one call of an original; SpanTemplate: what such spans have in common.
//
// Spans of hooks are started only below a recording span of ours, unless a hook may start a trace
// (requests, tasks, queries): an unsampled or excluded request costs one look at the current span.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python/context.h"
#include "python/hook_function.h"
#include "python/hook_state.h"

namespace nuages::python {

// Name and attributes, converted once. Made by `_native.span_template(name, attributes, methods)`;
// `methods` maps an HTTP method to the template of the view's span for it.
//
// Middleware and views are layers of an onion: what a middleware takes for itself is its time
// without that of the next layer, and becomes `django.middleware.self_time` (seconds).
enum class Layer : uint8_t { kNone, kMiddleware, kView };
struct SpanTemplate {
  std::string name;
  Layer layer = Layer::kNone;  // by the attribute nuages.kind
  std::vector<std::pair<std::string, Ref>> methods;
  std::deque<std::string> texts;  // what the views below point into
  std::vector<trace::AttributeView> attributes;

  const SpanTemplate& for_method(std::string_view method) const noexcept;
  std::string_view kind() const noexcept;  // the attribute nuages.kind
};

// The template in a capsule; null (and no Python error) for anything else.
const SpanTemplate* span_template(PyObject* capsule) noexcept;

class CallSpan {
 public:
  explicit CallSpan(Hooks& hooks) noexcept : hooks_(hooks) {}
  ~CallSpan() { finish(Py_None); }
  CallSpan(const CallSpan&) = delete;
  CallSpan& operator=(const CallSpan&) = delete;

  // Starts the span in the scope and makes it current. False: go on without.
  bool start(PyObject* scope, const SpanSpec& spec) noexcept;
  // Ends it after the original came back; with a null result the pending exception is recorded and
  // stays pending. Attributes that the application set go to the request's span as well if asked.
  void finish(PyObject* result, bool share_attributes = false) noexcept;
  // A started span is this layer inside that of the parent.
  void set_layer(Layer layer, const Parent& parent) noexcept {
    layer_ = layer;
    if (layer != Layer::kNone) outer_ = parent.object;
  }
  // Records an exception that is not pending.
  void note(PyObject* exception) noexcept;

  SpanObject* span() const noexcept { return reinterpret_cast<SpanObject*>(span_.get()); }

 private:
  Hooks& hooks_;
  Ref span_;
  Activation activation_;
  Ref outer_;  // the parent of a layer
  Layer layer_ = Layer::kNone;

  uint64_t end_layer() noexcept;
};

// The innermost span of one kind on this thread and the object at work in it, to tell an inner call
// of the same object from a new one. Compared with the current span, so another greenlet's value
// can at worst not match.
struct Innermost {
  const void* span = nullptr;
  const void* object = nullptr;
};

class InnermostScope {
 public:
  InnermostScope(Innermost& place, const void* span, const void* object) noexcept
      : place_(place), saved_(place) {
    place = {span, object};
  }
  ~InnermostScope() { place_ = saved_; }
  InnermostScope(const InnermostScope&) = delete;
  InnermostScope& operator=(const InnermostScope&) = delete;

 private:
  Innermost& place_;
  Innermost saved_;
};

// A span that a coroutine shim opens and leave_span() ends, as a capsule; None where it cannot be
// started. Null with a Python error.
PyObject* open_span(Hooks& hooks, const SpanTemplate& shape,
                    std::span<const trace::AttributeView> attributes, const Parent& parent);
CallSpan* opened_span(PyObject* capsule) noexcept;  // of such a capsule; null for anything else

// Records an exception that left the span's call: ERROR, except for the classes that Django answers
// with a 4xx.
void record_escaped(Hooks& hooks, SpanObject* span, PyObject* exception) noexcept;

// Copies the attributes that the application set on a hook's span to the span of the request.
void share_user_attributes(Hooks& hooks, SpanObject* span) noexcept;

// The span of the request being served; null when there is none. Borrowed, valid under the GIL.
SpanObject* request_span(Hooks& hooks) noexcept;

}  // namespace nuages::python
