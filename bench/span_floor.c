// The extension of bench/span_floor.py: the shape of tracer, manager and span, and nothing behind
// it.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <structmember.h>
#include <time.h>

static PyObject *variable, *value, *token, *manager, *span;
static int level;
static unsigned long long sum;

static void read_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  sum += (unsigned long long)now.tv_nsec;
}

typedef struct {
  PyObject_HEAD vectorcallfunc call;
} Manager;

static PyObject* manager_call(PyObject* self, PyObject* const* args, size_t nargsf,
                              PyObject* names) {
  (void)self;
  (void)args;
  (void)names;
  if (PyVectorcall_NARGS(nargsf) == 0) {
    if (level >= 1) {
      token = PyContextVar_Set(variable, value);
      if (!token) return NULL;
    }
    if (level >= 2) read_clock();
    Py_INCREF(span);
    return span;
  }
  if (level >= 1) {
    if (PyContextVar_Reset(variable, token) < 0) return NULL;
    Py_CLEAR(token);
  }
  if (level >= 2) read_clock();
  Py_RETURN_FALSE;
}
static PyObject* self_get(PyObject* self, PyObject* object, PyObject* type) {
  (void)type;
  PyObject* given = object ? object : self;
  Py_INCREF(given);
  return given;
}
static PyObject* set_attribute(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                               PyObject* names) {
  (void)self;
  (void)args;
  (void)nargs;
  (void)names;
  Py_RETURN_NONE;
}
static PyObject* start(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* names) {
  (void)self;
  (void)args;
  (void)nargs;
  (void)names;
  Py_INCREF(manager);
  return manager;
}
static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Manager, call), READONLY, NULL}, {NULL}};
static PyMethodDef span_methods[] = {{"set_attribute", (PyCFunction)(void (*)(void))set_attribute,
                                      METH_FASTCALL | METH_KEYWORDS, NULL},
                                     {NULL}};
static PyMethodDef tracer_methods[] = {{"start_as_current_span", (PyCFunction)(void (*)(void))start,
                                        METH_FASTCALL | METH_KEYWORDS, NULL},
                                       {NULL}};
static PyTypeObject SelfType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "span_floor.Self",
                                .tp_basicsize = sizeof(PyObject), .tp_descr_get = self_get};
static PyTypeObject ManagerType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "span_floor.Manager",
                                   .tp_basicsize = sizeof(Manager),
                                   .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
                                   .tp_vectorcall_offset = offsetof(Manager, call),
                                   .tp_call = PyVectorcall_Call,
                                   .tp_members = members};
static PyTypeObject SpanType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "span_floor.Span",
                                .tp_basicsize = sizeof(PyObject), .tp_methods = span_methods};
static PyTypeObject TracerType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "span_floor.Tracer",
                                  .tp_basicsize = sizeof(PyObject), .tp_methods = tracer_methods};

static PyObject* set_level(PyObject* self, PyObject* arg) {
  (void)self;
  level = (int)PyLong_AsLong(arg);
  Py_RETURN_NONE;
}
static PyMethodDef functions[] = {{"set_level", set_level, METH_O, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "span_floor", .m_size = -1,
                                    .m_methods = functions};

PyMODINIT_FUNC PyInit_span_floor(void) {
  SelfType.tp_flags = Py_TPFLAGS_DEFAULT;
  if (PyType_Ready(&SelfType) < 0 || PyType_Ready(&SpanType) < 0 || PyType_Ready(&TracerType) < 0)
    return NULL;
  ManagerType.tp_dict = PyDict_New();
  PyObject* self = PyObject_New(PyObject, &SelfType);
  PyDict_SetItemString(ManagerType.tp_dict, "__enter__", self);
  PyDict_SetItemString(ManagerType.tp_dict, "__exit__", self);
  if (PyType_Ready(&ManagerType) < 0) return NULL;
  Manager* made = PyObject_New(Manager, &ManagerType);
  made->call = manager_call;
  manager = (PyObject*)made;
  span = PyObject_New(PyObject, &SpanType);
  value = PyDict_New();
  variable = PyContextVar_New("current", value);
  PyObject* m = PyModule_Create(&module);
  PyModule_AddObject(m, "tracer", PyObject_New(PyObject, &TracerType));
  return m;
}
