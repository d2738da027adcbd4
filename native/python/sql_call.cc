// One statement: its text, its comment, its record, its count.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "python/call_site.h"
#include "python/convert.h"
#include "python/hook_leaf.h"
#include "python/hook_request.h"
#include "python/hook_span.h"
#include "python/hook_sql.h"
#include "python/provider.h"
#include "python/query_counter.h"
#include "wire/traceparent.h"

namespace nuages::python {
namespace {

constexpr size_t kMaxStatementBytes = size_t{32} * 1024;

// BEGIN, SAVEPOINT and their like are not queries that could be saved.
bool transaction_control(std::string_view operation) noexcept {
  for (const std::string_view word :
       {"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET"}) {
    if (operation == word) return true;
  }
  return false;
}

// Statements that carry many rows at once come in a series by design (bulk_create, bulk_update,
// prefetches of iterator() chunks): they count as queries, not as repetitions of each other.
bool carries_many_rows(std::string_view text, std::string_view operation) noexcept {
  constexpr size_t kManyItems = 20;
  if (operation == "INSERT") {
    return text.find("), (") != std::string_view::npos ||
           text.find(" UNION ALL SELECT ") != std::string_view::npos;
  }
  const size_t list = text.find(" IN (");
  if (list == std::string_view::npos) return false;
  if (operation == "UPDATE") return text.find("CASE WHEN") != std::string_view::npos;
  size_t items = 0;
  for (size_t at = list; at < text.size() && text[at] != ')' && items < kManyItems; ++at) {
    if (text[at] == ',') ++items;
  }
  return operation == "SELECT" && items >= kManyItems;
}

// The text of what was handed to execute(): str, bytes, or psycopg's composed SQL.
Ref statement_text(PyObject* sql, PyObject* cursor) noexcept {
  if (PyUnicode_Check(sql)) return Ref::share(sql);
  if (PyBytes_Check(sql)) {
    Ref text =
        Ref::take(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(sql), PyBytes_GET_SIZE(sql), "replace"));
    if (!text) PyErr_Clear();
    return text;
  }
  Ref text = Ref::take(call_python(PyObject_CallMethod, sql, "as_string", "O",
                                   cursor == nullptr ? Py_None : cursor));
  if (!text) {
    drop_error();
    text = Ref::take(call_python(PyObject_Str, sql));
  }
  if (!text) drop_error();
  return text;
}

int64_t row_count(Hooks& hooks, PyObject* cursor) noexcept {
  const Ref count = attribute_of(cursor, hooks.n_rowcount.get());
  if (!count || !PyLong_Check(count.get())) return -1;
  const long long rows = PyLong_AsLongLong(count.get());
  if (rows == -1) PyErr_Clear();
  return rows;
}

// What of the bound parameters is to be shown; empty unless NUAGES_CAPTURE_PARAMETERS is on.
Ref shown_parameters(Hooks& hooks, PyObject* parameters) noexcept {
  PyObject* show = item_of(hooks.options.get(), hooks.n_parameters.get());
  if (show == nullptr || show == Py_None || parameters == nullptr || parameters == Py_None) {
    return {};
  }
  Ref text = Ref::take(call_python(PyObject_CallOneArg, show, parameters));
  if (!text) hook_failed(hooks, "showing the parameters of a query");
  return text && PyUnicode_Check(text.get()) ? std::move(text) : Ref();
}

}  // namespace

bool SqlCall::begin() {
  parent_ = current_parent(*hooks_);
  tables_ = open_query_counters(*hooks_);
  if (parent_.kind != ParentKind::kSilent || !tables_.empty()) return true;
  PyObject* commenter = item_of(hooks_->options.get(), hooks_->n_commenter.get());
  return commenter != nullptr && commenter != Py_None && hooks_->module.configured();
}

bool SqlCall::describe(SqlKind kind, PyObject* sql, PyObject* parameters, PyObject* cursor,
                       Database database) noexcept {
  if (sql == nullptr || !database) return false;
  kind_ = kind;
  database_ = std::move(database);
  sql_ = Ref::share(sql);
  cursor_ = Ref::share(cursor);
  if (kind == SqlKind::kMany && parameters != nullptr &&
      (PyList_Check(parameters) || PyTuple_Check(parameters))) {
    batch_ = PySequence_Size(parameters);  // other iterables are not ours to ask
  }
  parameters_ = shown_parameters(*hooks_, parameters);
  bound_ = Ref::share(parameters);
  return true;
}

void SqlCall::analyse() {
  if (text_ || !sql_) return;
  text_ = statement_text(sql_.get(), cursor_.get());
  if (!text_) return;
  const Utf8 text(text_.get());
  if (kind_ == SqlKind::kProcedure) {
    label_ = "CALL " + std::string(text.view());
  } else if (kind_ == SqlKind::kWord) {
    label_ = text.view();
  } else {
    statement_ = hooks_->statements.get(text.view(), database_.info->dialect);
  }
}

std::string_view SqlCall::label() const noexcept {
  if (statement_ == nullptr) return label_;
  return statement_->label.empty() ? std::string_view("SQL") : std::string_view(statement_->label);
}

Ref SqlCall::comment(PyObject* source, bool percent) noexcept {
  PyObject* commenter = item_of(hooks_->options.get(), hooks_->n_commenter.get());
  if (commenter == nullptr || commenter == Py_None || source == nullptr) return {};
  try {
    analyse();
    // PyMySQL and mysqlclient send the rows of executemany() at once only when nothing follows the
    // VALUES; COPY is a protocol of its own.
    if (statement_ == nullptr || statement_->operation == "COPY" ||
        (kind_ == SqlKind::kMany && database_.info->dialect == sql::Dialect::kMySql)) {
      return {};
    }
    trace::SpanContext context;
    if (recording()) {
      if (TracerObject* tracer = hook_tracer(hooks_->module, hooks_->n_db.get())) {
        LeafAttributes attributes;
        std::string shortened;
        add_attributes(attributes, shortened);
        SpanSpec spec;
        spec.name = label();
        spec.kind = wire::SpanKind::kClient;
        spec.attributes = attributes.views();
        span_ = start_span(*tracer, spec);
        if (!span_) hook_failed(*hooks_, "starting the span of a query");
      }
    }
    const SpanObject* span = as_span(hooks_->module, span_ ? span_.get() : parent_.object.get());
    if (span != nullptr) context = span->span_context();
    std::string header;
    if (context.valid()) {
      header = wire::format_traceparent({context.trace_id, context.span_id, context.flags});
    }
    const Ref parent = text_object(header), state = text_object(context.trace_state_text());
    RequestObject* request = current_request(*hooks_);
    PyObject* match = request == nullptr ? nullptr : request->match->get();
    Ref changed =
        parent && state
            ? Ref::take(call_python(PyObject_CallFunctionObjArgs, commenter, sql_.get(),
                                    text_.get(), source, percent ? Py_True : Py_False, parent.get(),
                                    state.get(), match == nullptr ? Py_None : match, nullptr))
            : Ref();
    if (!changed) hook_failed(*hooks_, "writing the comment of a query");
    return changed && changed.get() != Py_None ? std::move(changed) : Ref();
  } catch (const std::bad_alloc&) {
    return {};
  }
}

uint64_t SqlCall::now() const noexcept { return leaf_now(parent_); }
void SqlCall::start() noexcept { start_ns_ = now(); }
void SqlCall::stop() noexcept { end_ns_ = now(); }

bool SqlCall::recording() const noexcept { return parent_.kind != ParentKind::kSilent; }

bool SqlCall::returns_rows() const noexcept {
  return statement_ != nullptr && statement_->operation == "SELECT";
}

void SqlCall::fetched(int64_t rows, uint64_t duration_ns) noexcept {
  fetched_rows_ = std::max<int64_t>(fetched_rows_, 0) + rows;
  fetch_ns_ += duration_ns;
}

void SqlCall::count(PyObject* result) {
  analyse();
  if (statement_ == nullptr) return;
  if (result != nullptr && cursor_ && rows_ < 0) rows_ = row_count(*hooks_, cursor_.get());
  cursor_.reset();
  if (transaction_control(statement_->operation)) return;
  // A fingerprint of its own for each of a series: counted, never repeated.
  const Utf8 text(text_.get());
  const bool series = carries_many_rows(text.view(), statement_->operation);
  const uint64_t key = series ? statement_->fingerprint ^ start_ns_ : statement_->fingerprint;
  const uint64_t alias = database_.info->alias_hash;
  const auto count_in = [&](trace::LocalRoot& table) {
    const trace::QueryCount counted =
        table.count_query(alias, key, end_ns_ - start_ns_, statement_->normalized);
    if (counted.wants_call_site) {
      add_call_site(*hooks_, table, alias, key, text.view(), bound_.get());
    }
  };
  if (parent_.kind == ParentKind::kOurs) count_in(*parent_.span()->span->local_root());
  for (const auto& table : tables_) count_in(*table);
  tables_.clear();
  bound_.reset();
}

void SqlCall::add_attributes(LeafAttributes& attributes, std::string& shortened) const {
  const DatabaseInfo& info = *database_.info;
  const SemconvNames names = database_names(*hooks_);
  attributes.system(names, info.system);
  attributes.text(names, kDbName, info.name);
  if (names != SemconvNames::kStable) attributes.text("db.user", info.user);
  attributes.text(names, kPeerName, info.host);
  if (info.port > 0) attributes.number(names, kPeerPort, info.port);
  attributes.text("nuages.db.alias", info.alias);
  if (statement_ == nullptr) {
    attributes.text(names, kDbStatement, label_);
    attributes.text(names, kDbOperation,
                    kind_ == SqlKind::kProcedure ? std::string_view("CALL") : label());
    attributes.text("nuages.db.label", label_);
    if (label_ == "CONNECT") attributes.text("nuages.kind", "connection");
    return;
  }
  std::string_view normalized = statement_->normalized;
  if (normalized.size() > kMaxStatementBytes) {
    size_t size = kMaxStatementBytes;
    while (size > 0 && (static_cast<unsigned char>(normalized[size]) & 0xC0U) == 0x80U) --size;
    normalized = shortened = std::string(normalized.substr(0, size)) + "...";
  }
  attributes.text(names, kDbStatement, normalized);
  attributes.text(names, kDbOperation, statement_->operation);
  attributes.text(names, kDbTable, statement_->table);
  attributes.text("nuages.db.label", label());
  attributes.number("nuages.db.fingerprint", static_cast<int64_t>(statement_->fingerprint));
}

void SqlCall::finish(PyObject* exception) noexcept {
  const Ref sql = std::exchange(sql_, Ref());
  const Ref text = std::exchange(text_, Ref());  // set: not recorded yet
  if (!recording() || !text) return;
  try {
    LeafAttributes attributes;
    std::string shortened;
    if (!span_) add_attributes(attributes, shortened);
    if (statement_ != nullptr) {
      const std::string_view operation = statement_->operation;
      const int64_t rows = returns_rows() && rows_ < 0 ? fetched_rows_ : rows_;
      // An INSERT with RETURNING counts 0 until its rows are fetched.
      const bool changes =
          operation == "UPDATE" || operation == "DELETE" || (operation == "INSERT" && rows > 0);
      if (rows >= 0 && (returns_rows() || operation == "COPY")) {
        attributes.number("db.response.returned_rows", rows);
      } else if (rows >= 0 && changes) {
        attributes.number("nuages.db.affected_rows", rows);
      }
      if (fetched_rows_ >= 0) {
        attributes.number("nuages.db.fetch_ns", static_cast<int64_t>(fetch_ns_));
      }
    }
    if (batch_ > 1) attributes.number("db.operation.batch.size", batch_);
    const Utf8 parameters(parameters_ ? parameters_.get() : Py_None);
    if (parameters_) attributes.text("db.statement.parameters", parameters.view());
    if (!span_) {
      record_call(*hooks_, parent_,
                  {hooks_->n_db.get(), label(), attributes.views(), start_ns_, end_ns_, exception});
      return;
    }
    const Ref span = std::exchange(span_, Ref());
    auto* object = reinterpret_cast<SpanObject*>(span.get());
    if (object->span == nullptr) return;
    for (const trace::AttributeView& item : attributes.views()) {
      object->span->set_attribute(item.key, item.value);
    }
    object->span->mark_sql_clean();
    if (exception != nullptr) record_exception(object, exception, true, true);
    end_span(object, end_ns_);
  } catch (const std::bad_alloc&) {
    ++hooks_->failures;
  }
}

}  // namespace nuages::python
