// Redis clients: one CLIENT leaf for each command or pipeline, below whatever is being recorded.
//
// Arguments never leave the process: the statement is the command with a ? for each. Commands
// without a span above them (health checks, a worker polling its broker, result backends between
// tasks) and those that publish a task belong to nobody's request and are not recorded.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "python/convert.h"
#include "python/hook_function.h"
#include "python/hook_leaf.h"

namespace nuages::python {
namespace {

constexpr Py_ssize_t kMaxShownArguments = 20;
constexpr Py_ssize_t kMaxShownCommands = 20;
constexpr size_t kMaxWord = 40;

bool wanted(const Parent& parent) {
  if (parent.kind != ParentKind::kOurs) return false;
  bool publishing = false;
  parent.span()->span->read([&](const trace::RecordView& record) {
    publishing = record.kind() == wire::SpanKind::kProducer;
  });
  return !publishing;
}

// "get" -> "GET"; commands of two words ("CONFIG GET") come as one string.
std::string command_word(PyObject* command) {
  std::string word;
  if (command != nullptr && PyBytes_Check(command)) {
    word.assign(PyBytes_AS_STRING(command), static_cast<size_t>(PyBytes_GET_SIZE(command)));
  } else if (command != nullptr && PyUnicode_Check(command)) {
    word = Utf8(command).view();
  }
  word.resize(std::min(word.size(), kMaxWord));
  for (char& c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 'a' && byte <= 'z') c = static_cast<char>(byte - 'a' + 'A');
    if (byte < 0x20 || byte >= 0x7F) c = '?';
  }
  return word.empty() ? "COMMAND" : word;
}

void add_arguments(std::string& statement, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < std::min(count, kMaxShownArguments); ++i) statement += " ?";
  if (count > kMaxShownArguments) statement += " ...";
}

struct Server {
  std::string host;
  int64_t port = -1;
  int64_t database = -1;
  std::string database_text;
  bool unix_socket = false;
};

int64_t number_item(PyObject* dict, const char* name) {
  PyObject* value = item_of(dict, name);
  if (value == nullptr) return -1;
  const Ref number = Ref::take(call_python(PyNumber_Long, value));
  const long long found = number ? PyLong_AsLongLong(number.get()) : -1;
  PyErr_Clear();
  return found;
}

// Where the client's connection pool connects to.
Server server_of(Hooks& hooks, PyObject* client) {
  Server server;
  const Ref pool = attribute_of(client, hooks.n_connection_pool.get());
  const Ref kwargs = pool ? attribute_of(pool.get(), hooks.n_connection_kwargs.get()) : Ref();
  if (!kwargs || !PyDict_Check(kwargs.get())) return server;
  PyObject* path = item_of(kwargs.get(), "path");
  server.unix_socket = path != nullptr && PyUnicode_Check(path);
  PyObject* host = server.unix_socket ? path : item_of(kwargs.get(), "host");
  if (host != nullptr && PyUnicode_Check(host)) server.host = Utf8(host).view();
  if (!server.unix_socket) server.port = number_item(kwargs.get(), "port");
  server.database = number_item(kwargs.get(), "db");
  if (server.database >= 0) server.database_text = std::to_string(server.database);
  return server;
}

void add_server(LeafAttributes& attributes, SemconvNames names, const Server& server) {
  attributes.system(names, "redis");
  attributes.text(names, kPeerName, server.host);
  if (server.port > 0) attributes.number(names, kPeerPort, server.port);
  if (names != SemconvNames::kStable) {
    attributes.text("net.transport", server.unix_socket ? "unix" : "ip_tcp");
    if (server.database >= 0) attributes.number("db.redis.database_index", server.database);
  }
  if (names != SemconvNames::kOld) {
    attributes.text("network.transport", server.unix_socket ? "unix" : "tcp");
    attributes.text(kDbName.stable, server.database_text);
  }
}

// One call from its start to its record.
struct RedisCall {
  Hooks* hooks = nullptr;
  Parent parent;
  std::string word;
  std::string statement;
  const char* size_key = nullptr;
  int64_t size = 0;
  Server server;
  uint64_t start_ns = 0;

  void begin() { start_ns = leaf_now(parent); }
  void finish(PyObject* exception) const noexcept {
    const uint64_t end_ns = leaf_now(parent);
    LeafAttributes attributes;
    const SemconvNames names = database_names(*hooks);
    add_server(attributes, names, server);
    attributes.text(names, kDbStatement, statement);
    attributes.text(names, kDbOperation, word);
    attributes.number(size_key, size);
    record_call(*hooks, parent,
                {hooks->n_redis.get(), word, attributes.views(), start_ns, end_ns, exception});
  }
};

// False: nothing is to be recorded. `words` has the command and its arguments.
bool describe_command(RedisCall& made, Hooks& hooks, PyObject* client, PyObject* const* words,
                      Py_ssize_t count) {
  made.hooks = &hooks;
  made.parent = current_parent(hooks);
  if (client == nullptr || !wanted(made.parent)) return false;
  made.word = command_word(count > 0 ? words[0] : nullptr);
  made.statement = made.word;
  add_arguments(made.statement, std::max<Py_ssize_t>(count - 1, 0));
  made.size_key = "db.redis.args_length";
  made.size = count;
  made.server = server_of(hooks, client);
  return true;
}

// A pipeline keeps what was queued in `command_stack` until it has run.
bool describe_pipeline(RedisCall& made, Hooks& hooks, PyObject* pipeline) {
  made.hooks = &hooks;
  made.parent = current_parent(hooks);
  if (pipeline == nullptr || !wanted(made.parent)) return false;
  const Ref stack = attribute_of(pipeline, hooks.n_command_stack.get());
  if (!stack || !PyList_Check(stack.get()) || PyList_GET_SIZE(stack.get()) == 0) return false;
  const Py_ssize_t commands = PyList_GET_SIZE(stack.get());
  for (Py_ssize_t i = 0; i < std::min(commands, kMaxShownCommands); ++i) {
    PyObject* entry = PyList_GET_ITEM(stack.get(), i);  // (arguments, options)
    Ref words = Ref::share(
        PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) > 0 ? PyTuple_GET_ITEM(entry, 0) : nullptr);
    if (!words) words = attribute_of(entry, hooks.n_args.get());  // of a cluster's pipeline
    if (!words || !PyTuple_Check(words.get()) || PyTuple_GET_SIZE(words.get()) == 0) continue;
    if (!made.statement.empty()) made.statement += '\n';
    made.statement += command_word(PyTuple_GET_ITEM(words.get(), 0));
    add_arguments(made.statement, PyTuple_GET_SIZE(words.get()) - 1);
  }
  if (commands > kMaxShownCommands) made.statement += "\n...";
  made.word = "PIPELINE";
  made.size_key = "db.redis.pipeline_length";
  made.size = commands;
  made.server = server_of(hooks, pipeline);
  return true;
}

PyObject* run(HookFunction& hook, const HookCall& call, RedisCall& made) {
  made.begin();
  PyObject* result = call_original(hook, call);
  SavedException saved;
  made.finish(saved.value());
  return result;
}

constexpr const char* kCallName = "nuages.redis_call";

void destroy_call(PyObject* capsule) {
  delete static_cast<RedisCall*>(PyCapsule_GetPointer(capsule, kCallName));
}

}  // namespace

// Redis.execute_command(command, *arguments, **options)
PyObject* handle_redis_command(HookFunction& hook, const HookCall& call) {
  RedisCall made;
  const Py_ssize_t count = std::max<Py_ssize_t>(call.count() - 1, 0);
  if (!describe_command(made, *hook.hooks, call.positional(0), call.args + 1, count)) {
    return call_original(hook, call);
  }
  return run(hook, call, made);
}

// Pipeline.execute()
PyObject* handle_redis_pipeline(HookFunction& hook, const HookCall& call) {
  RedisCall made;
  if (!describe_pipeline(made, *hook.hooks, call.positional(0))) return call_original(hook, call);
  return run(hook, call, made);
}

// begin_redis(client, (command, arguments...) or None for a pipeline) -> opaque or None, and
// end_redis(opaque, exception or None): for the coroutine shims, whose Python code awaits between.
PyObject* begin_redis(PyObject* module, PyObject* arguments) {
  ModuleState* state = module_state(module);
  PyObject *client = nullptr, *words = nullptr;
  if (state == nullptr || !state->hooks || !PyArg_ParseTuple(arguments, "OO", &client, &words)) {
    return nullptr;
  }
  auto& hooks = static_cast<Hooks&>(*state->hooks);
  auto made = std::make_unique<RedisCall>();
  const bool described = PyTuple_Check(words)
                             ? describe_command(*made, hooks, client, PySequence_Fast_ITEMS(words),
                                                PyTuple_GET_SIZE(words))
                             : describe_pipeline(*made, hooks, client);
  if (!described) Py_RETURN_NONE;
  made->begin();
  return hand_over(std::move(made), kCallName, destroy_call);
}

PyObject* end_redis(PyObject* /*module*/, PyObject* arguments) {
  PyObject *opened = nullptr, *exception = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO", &opened, &exception)) return nullptr;
  if (PyCapsule_IsValid(opened, kCallName)) {
    static_cast<RedisCall*>(PyCapsule_GetPointer(opened, kCallName))
        ->finish(exception == Py_None ? nullptr : exception);
  }
  Py_RETURN_NONE;
}

}  // namespace nuages::python
