// _native.Pipeline: Python's handle of one export pipeline (queue, native thread, OTLP client).
//
// Blocking calls release the GIL. Keyword arguments of the constructor are the fields of
// PipelineConfig; nuages.sdk.export makes them from the exporter's and processor's arguments.
#pragma once

#include <memory>

#include "export/pipeline.h"
#include "python/module_state.h"

namespace nuages::python {

struct PipelineObject {
  PyObject_HEAD ModuleState* state;
  std::shared_ptr<exporter::Pipeline>* pipeline;  // owned
};

int add_pipeline_type(PyObject* module, ModuleState& state) noexcept;

}  // namespace nuages::python
