// SqlCall: one statement on its way, recorded as a CLIENT leaf and counted for N+1.
//
// Three kinds of hooks use it: Django's cursors (hook_sql.cc), the drivers' (hook_driver.cc) and
// Python's coroutine and generator shims over the drivers (begin_sql/end_sql). A statement passes
// several of them; it is recorded by the outermost, and the others know by the identity of the
// driver's cursor, which the outermost keeps in Hooks::open_calls, with its thread, as long as it
// runs. Where the driver's cursor cannot be told, and while a connection is being opened, a
// ContextVar says so instead: greenlets of one thread must not silence each other.
//
// Life: begin() (is there anything to do), describe(), start(), the original, stop(), finish().
// With rows to come finish() may be put off: fetches add their rows and time to the object first.
// Under the GIL only. Cost: about 1 us a statement, see docs/performance.md.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "python/database_info.h"
#include "python/hook_function.h"
#include "sql/statement.h"
#include "trace/local_root.h"

namespace nuages::python {

class LeafAttributes;

enum class SqlKind : uint8_t {
  kExecute,
  kMany,       // executemany: the parameters are a list of rows
  kProcedure,  // callproc: the text is a name
  kWord,       // COMMIT, ROLLBACK, CONNECT: the text is the label and no query
};

class SqlCall {
 public:
  explicit SqlCall(Hooks& hooks) noexcept : hooks_(&hooks) {}
  SqlCall(SqlCall&&) = default;
  SqlCall& operator=(SqlCall&&) = delete;

  // False: nobody records, counts or wants a comment here.
  bool begin();
  // `cursor` has the rowcount; may be null. False: not a statement we can read.
  bool describe(SqlKind kind, PyObject* sql, PyObject* parameters, PyObject* cursor,
                Database database) noexcept;
  // The statement with its sqlcommenter comment, or empty: run it as it is. `source` is Django's
  // connection or the driver's module name; `percent`: a % in the text must be doubled.
  Ref comment(PyObject* source, bool percent) noexcept;
  void start() noexcept;
  void stop() noexcept;
  // Counts it and says what became of it; before finish().
  void count(PyObject* result);
  // Records it. `exception` may be null.
  void finish(PyObject* exception) noexcept;

  bool returns_rows() const noexcept;
  bool recording() const noexcept;
  void fetched(int64_t rows, uint64_t duration_ns) noexcept;
  void set_cursor(PyObject* cursor) noexcept { cursor_ = Ref::share(cursor); }
  void set_rows(int64_t rows) noexcept { rows_ = rows; }
  void set_database(Database database) noexcept {
    if (database) database_ = std::move(database);
  }
  uint64_t now() const noexcept;

 private:
  void add_attributes(LeafAttributes& attributes, std::string& shortened) const;
  std::string_view label() const noexcept;
  void analyse();

  Hooks* hooks_;
  Parent parent_;
  std::vector<trace::Ref<trace::LocalRoot>> tables_;
  Database database_;
  Ref text_;    // str
  Ref sql_;     // as the application gave it
  Ref cursor_;  // until count()
  Ref parameters_;
  Ref bound_;  // the parameters themselves, until the statement is counted
  Ref span_;   // with a comment: the span whose id the comment carries
  std::shared_ptr<const sql::Statement> statement_;
  std::string label_;  // of a procedure or a word
  SqlKind kind_ = SqlKind::kExecute;
  int64_t rows_ = -1;
  int64_t fetched_rows_ = -1;
  int64_t batch_ = -1;
  uint64_t start_ns_ = 0;
  uint64_t end_ns_ = 0;
  uint64_t fetch_ns_ = 0;
};

// The driver's cursor behind a cursor of Django or of another instrumentation: what the drivers'
// hooks will see. Null when it cannot be told.
Ref innermost_cursor(Hooks& hooks, PyObject* wrapper) noexcept;

// Keeps a cursor or connection of a driver in Hooks::open_calls. Null object: whatever runs in this
// context meanwhile belongs to the call.
class OpenCall {
 public:
  OpenCall(Hooks& hooks, PyObject* object);
  ~OpenCall() { close(); }
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;
  void close() noexcept;

 private:
  Hooks* hooks_;
  PyObject* object_;  // only compared
  unsigned long thread_ = 0;
  Ref token_;  // of the ContextVar
};
// Whether somebody further out records what this cursor or connection does now.
bool is_open(const Hooks& hooks, PyObject* object) noexcept;

// The call with another object in place of argument `index` or the keyword `name`.
class ChangedCall {
 public:
  ChangedCall(const HookCall& call, Py_ssize_t index, PyObject* name, PyObject* object);
  const HookCall& get() const noexcept { return call_; }

 private:
  std::vector<PyObject*> args_;
  HookCall call_;
};

}  // namespace nuages::python
