// The spans of a Celery task: its consumer's and, with the relation "publish", its producer's.
//
// Link mode: a new root trace that links to the producer and follows its sampling decision without
// asking the sampler, so that a sampled request never points to a missing task trace.
#include <string_view>

#include "python/convert.h"
#include "python/hook_function.h"
#include "python/hook_span.h"

namespace nuages::python {

PyObject* start_task_span(PyObject* module, PyObject* arguments) {
  ModuleState* state = module_state(module);
  if (state == nullptr || !state->hooks) return nullptr;
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  PyObject *name = nullptr, *producer = nullptr, *attributes = nullptr;
  const char* relation_text = nullptr;
  unsigned long long start_ns = 0;
  if (!PyArg_ParseTuple(arguments, "UsOO!|K", &name, &relation_text, &producer, &PyDict_Type,
                        &attributes, &start_ns)) {
    return nullptr;
  }
  TracerObject* tracer = hook_tracer(*state, hooks.n_celery.get());
  if (tracer == nullptr) Py_RETURN_NONE;
  const Ref kept = Ref::share(reinterpret_cast<PyObject*>(tracer));  // Python code runs below
  const std::string_view relation = relation_text;
  const Utf8 name_text(name);
  SpanSpec spec;
  spec.name = name_text.view();
  spec.name_object = name;
  spec.kind = wire::SpanKind::kConsumer;
  spec.attributes_object = attributes;
  spec.start_ns = start_ns;  // 0: now
  trace::SpanContext context;
  const bool known = read_span_context(*state, producer, context) && context.valid();
  const trace::AttributeView link_attributes[] = {{"nuages.link", trace::text_value("celery")}};
  trace::LinkView link;
  if (relation == "publish") {
    spec.kind = wire::SpanKind::kProducer;
  } else if (relation == "link") {
    spec.root = true;
    if (known) {
      link.trace_id = context.trace_id;
      link.span_id = context.span_id;
      link.trace_flags = context.flags;
      link.remote = true;
      link.trace_state = context.trace_state_text();
      link.attributes = link_attributes;
      spec.links = {&link, 1};
      spec.forced_decision = context.sampled() ? 1 : 0;
    }
  } else if (relation == "child" && known) {
    spec.remote_parent = &context;
  }
  Ref span = start_span(*tracer, spec);
  return span.release();
}

}  // namespace nuages::python
