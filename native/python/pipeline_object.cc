#include "python/pipeline_object.h"

#include <string>
#include <utility>

#include "export/tmpfs_file.h"
#include "mask/policy.h"
#include "python/client_config.h"
#include "python/convert.h"
#include "python/span_object.h"

namespace nuages::python {
namespace {

PipelineObject* self_of(PyObject* object) { return reinterpret_cast<PipelineObject*>(object); }

PyObject* pipeline_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* const kNames[] = {"client",
                                       "max_queue_size",
                                       "max_queue_bytes",
                                       "max_batch_size",
                                       "schedule_delay_ms",
                                       "export_timeout_ms",
                                       "max_outage_bytes",
                                       "max_request_bytes",
                                       "masking",
                                       "survive_kill",
                                       "self_metrics_ms",
                                       "keep_literals",
                                       nullptr};
  PyObject* client = nullptr;
  const char* masking = "off";
  unsigned max_queue_size = 2048, max_batch_size = 512, schedule_delay_ms = 5000,
           export_timeout_ms = 30'000, self_metrics_ms = 0;
  unsigned long long max_queue_bytes = 4ULL << 20, max_outage_bytes = 8ULL << 20,
                     max_request_bytes = 3ULL << 20;
  int survive_kill = 0, keep_literals = 0;
  if (!PyArg_ParseTupleAndKeywords(
          args, kwargs, "O!|IKIIIKKspIp:Pipeline", const_cast<char**>(kNames), &PyDict_Type,
          &client, &max_queue_size, &max_queue_bytes, &max_batch_size, &schedule_delay_ms,
          &export_timeout_ms, &max_outage_bytes, &max_request_bytes, &masking, &survive_kill,
          &self_metrics_ms, &keep_literals)) {
    return nullptr;
  }
  try {
    exporter::PipelineConfig config;
    if (!read_client_config(client, config.client)) return nullptr;
    config.max_queue_size = max_queue_size;
    config.max_queue_bytes = max_queue_bytes;
    config.max_export_batch_size = max_batch_size;
    config.schedule_delay_ms = schedule_delay_ms;
    config.export_timeout_ms = export_timeout_ms;
    config.max_outage_bytes = max_outage_bytes;
    config.self_metrics_ms = self_metrics_ms;
    config.max_request_bytes = max_request_bytes;
    if (!mask::set_process_profile(masking, keep_literals == 0)) {
      PyErr_Format(PyExc_ValueError, "masking: %s is no profile", masking);
      return nullptr;
    }
    config.process_policy = true;
    config.serialised = kSerialised;
    config.survival.enabled = survive_kill != 0;
    if (config.survival.enabled) config.survival.directories = exporter::tmpfs_directories();
    auto* state = static_cast<ModuleState*>(PyType_GetModuleState(type));
    if (!state) return nullptr;
    Ref object = Ref::take(type->tp_alloc(type, 0));
    if (!object) return nullptr;
    self_of(object.get())->state = state;
    self_of(object.get())->pipeline =
        new std::shared_ptr<exporter::Pipeline>(exporter::Pipeline::create(std::move(config)));
    return object.release();
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

void pipeline_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  // The destructor joins the thread's last step; let Python go on meanwhile.
  std::shared_ptr<exporter::Pipeline>* pipeline = self_of(self)->pipeline;
  self_of(self)->pipeline = nullptr;
  PyThreadState* const thread = PyEval_SaveThread();
  delete pipeline;
  call_python(PyEval_RestoreThread, thread);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* pipeline_publish(PyObject* self, PyObject* span) {
  const trace::Span* core = core_span(*self_of(self)->state, span);
  if (!core) Py_RETURN_FALSE;
  core->publish(**self_of(self)->pipeline);
  Py_RETURN_TRUE;
}

template <bool (exporter::Pipeline::*kCall)(uint32_t) noexcept>
PyObject* pipeline_wait(PyObject* self, PyObject* milliseconds) {
  const unsigned long timeout = PyLong_AsUnsignedLongMask(milliseconds);
  if (PyErr_Occurred()) return nullptr;
  const std::shared_ptr<exporter::Pipeline> pipeline = *self_of(self)->pipeline;
  PyThreadState* const thread = PyEval_SaveThread();
  const bool done = ((*pipeline).*kCall)(static_cast<uint32_t>(timeout));
  call_python(PyEval_RestoreThread, thread);
  return PyBool_FromLong(done ? 1 : 0);
}

PyObject* pipeline_resume(PyObject* self, PyObject*) {
  (*self_of(self)->pipeline)->resume();
  Py_RETURN_NONE;
}

PyObject* pipeline_counters(PyObject* self, PyObject*) {
  const exporter::Counters counters = (*self_of(self)->pipeline)->counters();
  const std::pair<const char*, uint64_t> numbers[] = {
      {"enqueued", counters.enqueued},
      {"dropped_full", counters.dropped_full},
      {"exported", counters.exported},
      {"failed", counters.failed},
      {"rejected", counters.rejected},
      {"retries", counters.retries},
      {"batches", counters.batches},
      {"bytes", counters.bytes},
      {"queued", counters.queued},
      {"outage_spans", counters.outage_spans},
      {"outage_bytes", counters.outage_bytes},
      {"adopted", counters.adopted},
      {"adopted_lost", counters.adopted_lost},
      {"kept", counters.kept},
  };
  Ref result = Ref::take(Py_BuildValue("{ss}", "last_error", counters.last_error.c_str()));
  for (const auto& [name, number] : numbers) {
    const Ref value = Ref::take(PyLong_FromUnsignedLongLong(number));
    if (!result || !value || PyDict_SetItemString(result.get(), name, value.get()) < 0) {
      return nullptr;
    }
  }
  return result.release();
}

PyObject* pipeline_set_resource(PyObject* self, PyObject* args) {
  PyObject* attributes = nullptr;
  const char* schema_url = "";
  if (!PyArg_ParseTuple(args, "Os:set_resource", &attributes, &schema_url)) return nullptr;
  AttributeList list(*self_of(self)->state);
  list.add_mapping(attributes);
  (*self_of(self)->pipeline)->set_resource(list.views(), schema_url);
  Py_RETURN_NONE;
}

PyMethodDef kMethods[] = {
    {"publish", pipeline_publish, METH_O, "Queues an ended span; False when it is not ours."},
    {"force_flush", pipeline_wait<&exporter::Pipeline::force_flush>, METH_O,
     "Waits at most so many milliseconds; whether all queued spans were delivered."},
    {"shutdown", pipeline_wait<&exporter::Pipeline::shutdown>, METH_O,
     "Flushes within so many milliseconds, then stops."},
    {"pause", pipeline_wait<&exporter::Pipeline::pause>, METH_O,
     "Ends the thread within so many milliseconds without losing spans."},
    {"resume", pipeline_resume, METH_NOARGS, "After pause(): goes on if spans are waiting."},
    {"counters", pipeline_counters, METH_NOARGS, "What happened to the spans so far."},
    {"set_resource", pipeline_set_resource, METH_VARARGS, "(attributes, schema_url)"},
    {}};

PyType_Slot kSlots[] = {{Py_tp_new, reinterpret_cast<void*>(pipeline_new)},
                        {Py_tp_dealloc, reinterpret_cast<void*>(pipeline_dealloc)},
                        {Py_tp_methods, kMethods},
                        {}};
PyType_Spec kSpec = {"nuages._native.Pipeline", sizeof(PipelineObject), 0, Py_TPFLAGS_DEFAULT,
                     kSlots};

}  // namespace

int add_pipeline_type(PyObject* module, ModuleState& state) noexcept {
  state.pipeline_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kSpec, nullptr));
  return state.pipeline_type ? PyModule_AddType(module, state.pipeline_type) : -1;
}

}  // namespace nuages::python
