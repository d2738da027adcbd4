#include "python/provider.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/clock.h"
#include "python/args.h"
#include "python/convert.h"
#include "python/pipeline_object.h"
#include "python/span_object.h"

namespace nuages::python {
namespace {

ProviderObject* provider_of(PyObject* object) { return reinterpret_cast<ProviderObject*>(object); }

// ---- ProviderCore

PyObject* provider_new(PyTypeObject* type, PyObject*, PyObject*) {
  auto* state = static_cast<ModuleState*>(PyType_GetModuleState(type));
  if (!state) return nullptr;
  Ref object = Ref::take(type->tp_alloc(type, 0));
  if (!object) return nullptr;
  provider_of(object.get())->state = state;
  provider_of(object.get())->data = new (std::nothrow) ProviderData();
  if (!provider_of(object.get())->data) return PyErr_NoMemory();
  return object.release();
}

int provider_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (const ProviderData* data = provider_of(self)->data) {
    Py_VISIT(data->python_sampler.get());
    Py_VISIT(data->id_generator.get());
    Py_VISIT(data->resource.get());
    Py_VISIT(data->on_start.get());
    Py_VISIT(data->on_ending.get());
    Py_VISIT(data->on_end.get());
    Py_VISIT(data->pipeline_objects.get());
  }
  return 0;
}

int provider_clear(PyObject* self) {
  if (ProviderData* data = provider_of(self)->data) {
    data->python_sampler.reset();
    data->id_generator.reset();
    data->resource.reset();
    data->on_start.reset();
    data->on_ending.reset();
    data->on_end.reset();
  }
  return 0;
}

void provider_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete provider_of(self)->data;
  type->tp_free(self);
  Py_DECREF(type);
}

constexpr const char* kLimiterName = "nuages.rate_limiter";
using LimiterPointer = std::shared_ptr<trace::RateLimiter>;

void delete_limiter(PyObject* capsule) {
  delete static_cast<LimiterPointer*>(PyCapsule_GetPointer(capsule, kLimiterName));
}

// rate_limiter(per_second): a bucket for rate_limit_allows() and set_sampler().
PyObject* py_rate_limiter(PyObject*, PyObject* argument) {
  const double per_second = PyFloat_AsDouble(argument);
  if (PyErr_Occurred()) return nullptr;
  try {
    auto* pointer = new LimiterPointer(std::make_shared<trace::RateLimiter>(per_second));
    PyObject* capsule = PyCapsule_New(pointer, kLimiterName, delete_limiter);
    if (!capsule) delete pointer;
    return capsule;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyObject* py_rate_limit_allows(PyObject*, PyObject* capsule) {
  auto* pointer = static_cast<LimiterPointer*>(PyCapsule_GetPointer(capsule, kLimiterName));
  return pointer ? PyBool_FromLong((*pointer)->allow(steady_now())) : nullptr;
}

// set_sampler(None, parent_based, root, remote, remote_not, local, local_not, limiter or None) or
// set_sampler(object)
PyObject* provider_set_sampler(PyObject* self, PyObject* args) {
  PyObject* sampler = nullptr;
  PyObject* limiter = Py_None;
  int parent_based = 1;
  double rates[5] = {1, 1, 0, 1, 0};
  if (!PyArg_ParseTuple(args, "O|pdddddO:set_sampler", &sampler, &parent_based, &rates[0],
                        &rates[1], &rates[2], &rates[3], &rates[4], &limiter)) {
    return nullptr;
  }
  LimiterPointer bucket;
  if (limiter != Py_None) {
    auto* pointer = static_cast<LimiterPointer*>(PyCapsule_GetPointer(limiter, kLimiterName));
    if (!pointer) return nullptr;
    bucket = *pointer;
  }
  ProviderData& data = *provider_of(self)->data;
  data.python_sampler = Ref::share(or_null(sampler));
  data.sampler.limiter = std::move(bucket);
  data.sampler.parent_based = parent_based != 0;
  data.sampler.root = trace::RootSampler::ratio(rates[0]);
  data.sampler.remote_sampled = trace::RootSampler::ratio(rates[1]);
  data.sampler.remote_not_sampled = trace::RootSampler::ratio(rates[2]);
  data.sampler.local_sampled = trace::RootSampler::ratio(rates[3]);
  data.sampler.local_not_sampled = trace::RootSampler::ratio(rates[4]);
  Py_RETURN_NONE;
}

PyObject* provider_set_id_generator(PyObject* self, PyObject* args) {
  PyObject* generator = nullptr;
  int random = 1;
  if (!PyArg_ParseTuple(args, "Op:set_id_generator", &generator, &random)) return nullptr;
  provider_of(self)->data->id_generator = Ref::share(or_null(generator));
  provider_of(self)->data->random_trace_ids = random != 0;
  Py_RETURN_NONE;
}

bool read_limit(PyObject* value, uint32_t& out) {
  out = trace::SpanLimits::kUnlimited;
  if (value == Py_None) return true;
  const unsigned long long number = PyLong_AsUnsignedLongLong(value);
  if (PyErr_Occurred()) return false;
  if (number < trace::SpanLimits::kUnlimited) out = static_cast<uint32_t>(number);
  return true;
}

// set_limits(attributes, events, links, event_attributes, link_attributes, length, nested_length)
PyObject* provider_set_limits(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 7) return PyErr_Format(PyExc_TypeError, "set_limits() takes 7 arguments");
  ProviderData& data = *provider_of(self)->data;
  uint32_t* const fields[] = {&data.limits.max_attributes,      &data.limits.max_events,
                              &data.limits.max_links,           &data.limits.max_event_attributes,
                              &data.limits.max_link_attributes, &data.max_span_length,
                              &data.max_nested_length};
  for (int i = 0; i < 7; ++i) {
    if (!read_limit(args[i], *fields[i])) return nullptr;
  }
  data.limits.max_value_length = std::max(data.max_span_length, data.max_nested_length);
  Py_RETURN_NONE;
}

PyObject* provider_set_resource(PyObject* self, PyObject* resource) {
  provider_of(self)->data->resource = Ref::share(resource);
  Py_RETURN_NONE;
}

Ref tuple_or_nothing(PyObject* sequence) {
  Ref tuple = Ref::take(PySequence_Tuple(sequence));
  if (tuple && PyTuple_GET_SIZE(tuple.get()) == 0) tuple.reset();
  return tuple;
}

// set_processors(on_start, on_ending, on_end, pipelines): sequences of callables and of Pipeline.
PyObject* provider_set_processors(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) return PyErr_Format(PyExc_TypeError, "set_processors() takes 4 arguments");
  ProviderData& data = *provider_of(self)->data;
  try {
    Ref callbacks[3];
    for (int i = 0; i < 3; ++i) {
      callbacks[i] = tuple_or_nothing(args[i]);
      if (PyErr_Occurred()) return nullptr;
    }
    Ref objects = Ref::take(PySequence_Tuple(args[3]));
    if (!objects) return nullptr;
    std::vector<std::shared_ptr<exporter::Pipeline>> pipelines;
    std::vector<trace::RecordSink*> sinks;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(objects.get()); ++i) {
      PyObject* object = PyTuple_GET_ITEM(objects.get(), i);
      if (!PyObject_TypeCheck(object, provider_of(self)->state->pipeline_type)) {
        return PyErr_Format(PyExc_TypeError, "not a Pipeline: %R", object);
      }
      pipelines.push_back(*reinterpret_cast<PipelineObject*>(object)->pipeline);
      sinks.push_back(pipelines.back().get());
    }
    data.on_start = std::move(callbacks[0]);
    data.on_ending = std::move(callbacks[1]);
    data.on_end = std::move(callbacks[2]);
    data.pipelines = std::move(pipelines);
    data.sinks = std::move(sinks);
    data.pipeline_objects = std::move(objects);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyObject* provider_set_enabled(PyObject* self, PyObject* value) {
  const int enabled = PyObject_IsTrue(value);
  if (enabled < 0) return nullptr;
  provider_of(self)->data->enabled = enabled != 0;
  Py_RETURN_NONE;
}

PyMethodDef kProviderMethods[] = {
    {"set_sampler", provider_set_sampler, METH_VARARGS,
     "(None, parent_based, five rates, rate limiter or None) for a native sampler, (sampler) for a "
     "Python one."},
    {"set_id_generator", provider_set_id_generator, METH_VARARGS, "(generator or None, random)"},
    {"set_limits", method(provider_set_limits), METH_FASTCALL, "Seven limits; None: unlimited."},
    {"set_resource", provider_set_resource, METH_O, "The SDK's Resource."},
    {"set_processors", method(provider_set_processors), METH_FASTCALL,
     "(on_start, on_ending, on_end, pipelines)"},
    {"set_enabled", provider_set_enabled, METH_O, "False: spans are no-ops."},
    {}};
PyMethodDef kLimiterFunctions[] = {
    {"rate_limiter", py_rate_limiter, METH_O, "A bucket of so many tokens a second."},
    {"rate_limit_allows", py_rate_limit_allows, METH_O, "Takes a token; False: there is none."},
    {}};
PyType_Slot kProviderSlots[] = {{Py_tp_new, reinterpret_cast<void*>(provider_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(provider_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(provider_traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(provider_clear)},
                                {Py_tp_methods, kProviderMethods},
                                {}};
PyType_Spec kProviderSpec = {"nuages._native.ProviderCore", sizeof(ProviderObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, kProviderSlots};

}  // namespace

bool run_callbacks(ModuleState& state, const Ref& callbacks, PyObject* span,
                   PyObject* parent_context, bool with_context) noexcept {
  // A processor may add another one, which replaces the tuple: hold this one.
  const Ref kept = callbacks;  // NOLINT(performance-unnecessary-copy-initialization)
  if (!kept) return true;
  Ref keywords;
  if (with_context) keywords = Ref::take(PyTuple_Pack(1, state.s_parent_context.get()));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kept.get()); ++i) {
    PyObject* callback = PyTuple_GET_ITEM(kept.get(), i);
    PyObject* arguments[] = {nullptr, span, parent_context ? parent_context : Py_None};
    const Ref result = Ref::take(call_python(PyObject_Vectorcall, callback, arguments + 1,
                                             1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                             with_context ? keywords.get() : nullptr));
    if (result) continue;
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return false;
    const Ref error = Ref::take(take_exception());
    const Ref reported =
        Ref::take(call_python(PyObject_CallFunctionObjArgs, state.processor_failed.get(), callback,
                              error.get(), nullptr));
    if (!reported) drop_error();
  }
  return true;
}

int add_provider_types(PyObject* module, ModuleState& state) noexcept {
  state.provider_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &kProviderSpec, nullptr));
  if (!state.provider_type || PyModule_AddType(module, state.provider_type) < 0) return -1;
  return PyModule_AddFunctions(module, kLimiterFunctions);
}

}  // namespace nuages::python
