// ProviderCore and TracerBase: the native halves of TracerProvider and Tracer.
//
// ProviderCore holds what a span needs at its start and end: sampler, id generator, limits, the
// Python processors' callables and the native pipelines. nuages.sdk.trace sets them when they
// change, never per span. Samplers and id generators written in Python are called as Python; the
// rest stays native. All fields change under the GIL only.
#pragma once

#include <memory>
#include <vector>

#include "export/pipeline.h"
#include "python/module_state.h"
#include "trace/limits.h"
#include "trace/sampler.h"

namespace nuages::python {

// Owned by ProviderObject; ordinary C++ members need a constructed home.
struct ProviderData {
  trace::Sampler sampler;
  Ref python_sampler;  // set: wins over `sampler`
  Ref id_generator;    // set: a generator that is not the SDK's random one
  bool random_trace_ids = true;
  trace::SpanLimits limits;
  // The SDK limits text of span attributes and of event and link attributes apart; the core knows
  // one limit (the larger), so converting cuts to these two.
  uint32_t max_span_length = trace::SpanLimits::kUnlimited;
  uint32_t max_nested_length = trace::SpanLimits::kUnlimited;
  Ref resource;         // the SDK's Resource
  bool enabled = true;  // false after shutdown: spans are no-ops

  // Tuples of bound methods, null when no processor overrides the method.
  Ref on_start, on_ending, on_end;
  Ref pipeline_objects;  // keeps the pipelines below alive as Python objects
  std::vector<std::shared_ptr<exporter::Pipeline>> pipelines;
  std::vector<trace::RecordSink*> sinks;

  bool has_python_processors() const noexcept { return on_start || on_ending || on_end; }
};

struct ProviderObject {
  PyObject_HEAD ModuleState* state;
  ProviderData* data;
};

struct TracerObject {
  PyObject_HEAD ModuleState* state;
  ProviderObject* provider;  // owned; null before _bind()
  uint32_t scope;
  bool enabled;
  PyObject* scope_object;  // the SDK's InstrumentationScope
};

// Calls each callable; an Exception is reported once and swallowed. False when something else
// (KeyboardInterrupt, SystemExit) is pending.
bool run_callbacks(ModuleState& state, const Ref& callbacks, PyObject* span,
                   PyObject* parent_context, bool with_context) noexcept;

int add_tracer_types(PyObject* module, ModuleState& state) noexcept;
int add_provider_types(PyObject* module, ModuleState& state) noexcept;

}  // namespace nuages::python
