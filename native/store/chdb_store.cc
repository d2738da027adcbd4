#include "store/chdb_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/log.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

constexpr size_t kMaxToken = 200;
constexpr size_t kAppendChunk = 4 << 20;

// Engine codes that a later try may not meet: memory and time limits, too many parts.
constexpr int kPassing[] = {159, 241, 252};

// Frees a result of the engine.
class ResultOwner {
 public:
  ResultOwner(const ChdbLibrary& library, ChdbResult* result)
      : library_(library), result_(result) {}
  ~ResultOwner() {
    if (result_ != nullptr) library_.destroy_result(result_);
  }
  ResultOwner(const ResultOwner&) = delete;
  ResultOwner& operator=(const ResultOwner&) = delete;

  ChdbResult* get() const { return result_; }
  const char* error() const {
    return result_ == nullptr ? "the engine gave no result" : library_.result_error(result_);
  }
  std::string_view text() const {
    const size_t size = library_.result_length(result_);
    return size == 0 ? std::string_view() : std::string_view(library_.result_buffer(result_), size);
  }

 private:
  const ChdbLibrary& library_;
  ChdbResult* result_;
};

// "Code: 241. DB::Exception: ..." -> our code; the text is for the log and for developers.
Error engine_error(std::string_view text) {
  int code = 0;
  if (const size_t at = text.find("Code: "); at != std::string_view::npos) {
    std::from_chars(text.data() + at + 6, text.data() + text.size(), code);
  }
  const bool passing =
      std::find(std::begin(kPassing), std::end(kPassing), code) != std::end(kPassing);
  return Error{passing ? ErrorCode::kExhausted : ErrorCode::kInternal,
               "the store refused a statement: " + std::string(text)};
}

// The engine reads parameter values as escaped text.
std::string escaped(std::string_view value) {
  std::string out;
  out.reserve(value.size());
  for (const char c : value) {
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\0':
        out += "\\0";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// Parameters as the C interface takes them. Points into `names` and owns the escaped values.
class ParameterArrays {
 public:
  explicit ParameterArrays(const Parameters& parameters) {
    values_.reserve(parameters.size());
    for (const auto& [name, value] : parameters) {
      values_.push_back(escaped(value));
      names.push_back(name.data());
      name_sizes.push_back(name.size());
      texts.push_back(values_.back().data());
      text_sizes.push_back(values_.back().size());
    }
  }
  std::vector<const char*> names;
  std::vector<size_t> name_sizes;
  std::vector<const char*> texts;
  std::vector<size_t> text_sizes;

 private:
  std::vector<std::string> values_;
};

std::string config_text(const ChdbOptions& options) {
  return fmt::format(R"(<clickhouse>
  <logger><level>none</level></logger>
  <max_server_memory_usage>{}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <primary_index_cache_size>67108864</primary_index_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <background_schedule_pool_size>4</background_schedule_pool_size>
</clickhouse>
)",
                     options.total_memory);
}

bool good_token(std::string_view token) {
  return !token.empty() && token.size() <= kMaxToken &&
         std::all_of(token.begin(), token.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

// Takes a free reader and gives it back.
class ChdbStore::Lease {
 public:
  explicit Lease(ChdbStore& store) : store_(store) {
    std::unique_lock lock(store.readers_mutex_);
    store.reader_free_.wait(lock, [&] { return !store.free_readers_.empty(); });
    connection_ = store.free_readers_.back();
    store.free_readers_.pop_back();
  }
  ~Lease() {
    {
      const std::lock_guard lock(store_.readers_mutex_);
      store_.free_readers_.push_back(connection_);
    }
    store_.reader_free_.notify_one();
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  ChdbConnection connection() const { return *connection_; }
  void replace() { store_.replace(connection_, store_.reader_arguments_); }

 private:
  ChdbStore& store_;
  ChdbConnection* connection_;
};

Result<std::unique_ptr<ChdbStore>> ChdbStore::open(const ChdbOptions& options) {
  auto library = load_chdb_library(options.library);
  if (!library) return library.error();
  std::unique_ptr<ChdbStore> store(new ChdbStore(**library, options.folder));
  if (Status status = store->lock_folder(); !status) return status.error();
  if (Status status = store->connect(options); !status) return status.error();
  if (Status status = store->prepare_schema(); !status) return status.error();
  auto journal = InsertJournal::open(options.folder + "/inserting");
  if (!journal) return journal.error();
  store->journal_ = std::make_unique<InsertJournal>(std::move(*journal));
  return store;
}

ChdbStore::~ChdbStore() {
  for (ChdbConnection* reader : free_readers_) library_->close(reader);
  if (writer_ != nullptr) library_->close(writer_);
  if (lock_file_ >= 0) ::close(lock_file_);
}

Status ChdbStore::lock_folder() {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  const std::string path = folder_ + "/lock";
  lock_file_ = failure ? -1 : ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_file_ < 0) {
    return Error{ErrorCode::kUnavailable, "the store's folder '" + folder_ +
                                              "' is not writable: choose another with --data or "
                                              "change its owner"};
  }
  if (flock(lock_file_, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::kUnavailable, "the store's folder '" + folder_ +
                                              "' is in use by another process: stop it or choose "
                                              "another folder with --data"};
  }
  return {};
}

Status ChdbStore::connect(const ChdbOptions& options) {
  const std::string config = std::filesystem::absolute(folder_).string() + "/config.xml";
  if (std::ofstream file(config); !(file << config_text(options) << std::flush)) {
    return Error{ErrorCode::kUnavailable,
                 "the store's file '" + config + "' cannot be written: check space and owner"};
  }
  writer_arguments_ = {
      "nuages",
      "--path=" + std::filesystem::absolute(folder_).string() + "/data",
      "--config-file=" + config,
      "--async_insert=0",
      "--input_format_skip_unknown_fields=0",
      "--deduplicate_blocks_in_dependent_materialized_views=1",
      "--output_format_json_quote_64bit_integers=0",
      "--output_format_json_escape_forward_slashes=0",
      "--max_threads=2",
      fmt::format("--max_memory_usage={}", options.query_memory),
  };
  // Reads are bounded in time; an insert is not, because giving up in the middle only makes it run
  // again.
  reader_arguments_ = writer_arguments_;
  reader_arguments_.push_back(fmt::format("--max_execution_time={}", options.query_seconds));
  writer_ = open_connection(writer_arguments_);
  bool good = writer_ != nullptr;
  for (size_t i = 0; good && i < options.readers; ++i) {
    free_readers_.push_back(open_connection(reader_arguments_));
    good = free_readers_.back() != nullptr;
    if (!good) free_readers_.pop_back();
  }
  if (good) return {};
  return Error{ErrorCode::kUnavailable,
               "the store in '" + folder_ +
                   "' does not open (the engine's reason is on stderr): if its files are damaged, "
                   "move the folder away"};
}

ChdbConnection* ChdbStore::open_connection(const std::vector<std::string>& arguments) {
  std::vector<std::string> owned = arguments;  // the engine takes them as char*, not const
  std::vector<char*> argv;
  argv.reserve(owned.size());
  for (auto& argument : owned) argv.push_back(argument.data());
  ChdbConnection* connection = library_->connect(static_cast<int>(argv.size()), argv.data());
  return connection == nullptr || *connection == nullptr ? nullptr : connection;
}

void ChdbStore::replace(ChdbConnection*& connection, const std::vector<std::string>& arguments) {
  ChdbConnection* fresh = open_connection(arguments);
  if (fresh == nullptr) {
    log(LogLevel::kError, "store", "a connection to the store could not be renewed");
    return;
  }
  library_->close(connection);
  connection = fresh;
}

Status ChdbStore::prepare_schema() {
  // A newer program's tables must not be touched, so the version is read before anything is
  // created.
  auto exists = run(*writer_,
                    "SELECT count() FROM system.tables WHERE database = 'nuages' AND"
                    " name = 'schema'",
                    {}, "TSV");
  if (!exists) return exists.error();
  uint32_t version = 0;
  if (exists->starts_with('1')) {
    auto found = run(*writer_, "SELECT max(version) FROM nuages.schema", {}, "TSV");
    if (!found) return found.error();
    std::from_chars(found->data(), found->data() + found->size(), version);
  }
  if (version > kSchemaVersion) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("the store in '{}' has schema version {} and this program knows {}: "
                             "run the newer nuages-server or choose another folder with --data",
                             folder_, version, kSchemaVersion)};
  }
  for (const auto& statement : create_statements()) {
    if (auto done = run(*writer_, statement, {}, "Null"); !done) return done.error();
  }
  return migrate(version == 0 ? kSchemaVersion - 1 : version);
}

Status ChdbStore::migrate(uint32_t version) {
  for (; version < kSchemaVersion; ++version) {
    for (const std::string& statement : migration(version)) {
      if (Status status = run_on_writer(statement); !status) return status;
    }
    auto stamped = run(*writer_, "INSERT INTO nuages.schema SELECT {version:UInt32}, now('UTC')",
                       {{"version", std::to_string(version + 1)}}, "Null");
    if (!stamped) return stamped.error();
  }
  return {};
}

Status ChdbStore::run_on_writer(const std::string& sql) {
  auto done = run(*writer_, sql, {}, "Null");
  if (done) return {};
  replace(writer_, writer_arguments_);
  return done.error();
}

Result<std::string> ChdbStore::run(ChdbConnection connection, std::string_view sql,
                                   const Parameters& parameters, std::string_view format) {
  const ParameterArrays arrays(parameters);
  const ResultOwner result(
      *library_, library_->query(connection, sql.data(), sql.size(), format.data(), format.size(),
                                 arrays.names.data(), arrays.name_sizes.data(), arrays.texts.data(),
                                 arrays.text_sizes.data(), arrays.names.size()));
  if (const char* error = result.error(); error != nullptr) return engine_error(error);
  return std::string(result.text());
}

Result<std::string> ChdbStore::query(std::string_view sql, const Parameters& parameters) {
  Lease lease(*this);
  auto result = run(lease.connection(), sql, parameters, "JSONCompact");
  if (!result) lease.replace();
  return result;
}

Status ChdbStore::stream(std::string_view sql, const Parameters& parameters,
                         const std::function<bool(std::string_view)>& sink) {
  Lease lease(*this);
  Status status = stream_from(lease.connection(), sql, parameters, sink);
  if (!status) lease.replace();
  return status;
}

Status ChdbStore::stream_from(ChdbConnection connection, std::string_view sql,
                              const Parameters& parameters,
                              const std::function<bool(std::string_view)>& sink) {
  constexpr std::string_view kFormat = "JSONEachRow";
  const ParameterArrays arrays(parameters);
  const ResultOwner stream(
      *library_,
      library_->stream_query(connection, sql.data(), sql.size(), kFormat.data(), kFormat.size(),
                             arrays.names.data(), arrays.name_sizes.data(), arrays.texts.data(),
                             arrays.text_sizes.data(), arrays.names.size()));
  if (const char* error = stream.error(); error != nullptr) return engine_error(error);
  while (true) {
    const ResultOwner chunk(*library_, library_->stream_fetch(connection, stream.get()));
    if (const char* error = chunk.error(); error != nullptr) return engine_error(error);
    if (chunk.text().empty()) return {};
    if (!sink(chunk.text())) {
      library_->stream_cancel(connection, stream.get());
      return {};
    }
  }
}

Status ChdbStore::insert_one(const std::string& sql, const std::string& data) {
  constexpr std::string_view kFormat = "Native";
  ChdbInsertStream stream =
      library_->insert_open(*writer_, sql.data(), sql.size(), kFormat.data(), kFormat.size());
  Status status;
  if (const char* error = library_->insert_error(stream); error != nullptr) {
    status = engine_error(error);
  }
  for (size_t at = 0; status && at < data.size(); at += kAppendChunk) {
    const size_t size = std::min(kAppendChunk, data.size() - at);
    if (library_->insert_append(stream, data.data() + at, size) != 0) {
      const char* error = library_->insert_error(stream);
      status = engine_error(error != nullptr ? error : "the insert was cut");
    }
  }
  if (status) {
    const ResultOwner result(*library_, library_->insert_done(stream));
    if (const char* error = result.error(); error != nullptr) status = engine_error(error);
  } else {
    library_->insert_cancel(stream);
  }
  library_->insert_destroy(stream);
  return status;
}

Status ChdbStore::insert(const SpanBlock& block, std::string_view token) {
  if (!good_token(token)) {
    return Error{ErrorCode::kInvalid, "the block's token '" + std::string(token) +
                                          "' may hold letters, digits, '-', '_' and '.' only"};
  }
  if (block.empty()) return {};
  const std::lock_guard lock(writer_mutex_);
  if (views_detached_) {
    if (Status status = switch_views("ATTACH"); !status) return status;
  }
  // What the attempt before this one left must be known before its marks are overwritten.
  CommittedParts former;
  const InsertNote& current = journal_->current();
  const bool again = current.token == token;
  if (again && current_done_) return {};
  if (!current.token.empty() && !current_done_) {
    auto parts = committed_parts();
    if (!parts) return parts.error();
    former = std::move(*parts);
  }
  auto marks = block_numbers();
  if (!marks) return marks.error();
  InsertNote note{std::string(token), {}, std::move(*marks)};
  if (again) {
    note.committed = former;
  } else if (const InsertNote* unfinished = journal_->unfinished(token)) {
    note.committed = unfinished->committed;
  }
  const CommittedParts committed = note.committed;
  if (Status status = journal_->begin(std::move(note), again ? nullptr : &former); !status) {
    return status;
  }
  current_done_ = false;
  Status status = committed.empty() ? insert_all(block, token) : complete(block, committed);
  if (!status && committed.empty()) {
    auto parts = committed_parts();
    // Half done: smaller blocks would store that half twice, so it is this one that is finished.
    if (parts && !parts->empty()) status = complete(block, *parts);
    if (!status && (!parts || !parts->empty()) && status.error().code == ErrorCode::kExhausted) {
      status = Error{ErrorCode::kUnavailable, status.error().message};
    }
  }
  current_done_ = status.ok();
  return status;
}

Status ChdbStore::insert_all(const SpanBlock& block, std::string_view token) {
  for (const Insert& insert : inserts_for(block)) {
    std::string sql = insert.sql;
    // The attempt's marks make the token new to the engine, whose memory of tokens may be ahead of
    // its data: a replay must not be swallowed.
    if (insert.deduplicated) {
      int64_t sum = 0;
      for (const auto& [table, number] : journal_->current().marks) sum += number;
      sql += fmt::format(" SETTINGS insert_deduplication_token = '{}-{}'", token, sum);
    }
    if (Status status = insert_one(sql, insert.data); !status) {
      replace(writer_, writer_arguments_);
      return status;
    }
  }
  return {};
}

Result<std::map<std::string, int64_t>> ChdbStore::block_numbers() {
  auto rows = run(*writer_,
                  "SELECT table, max(max_block_number) FROM system.parts"
                  " WHERE database = 'nuages' GROUP BY table",
                  {}, "TSV");
  if (!rows) return rows.error();
  std::map<std::string, int64_t> numbers;
  std::istringstream lines(*rows);
  std::string table;
  for (int64_t number = 0; lines >> table >> number;) numbers[table] = number;
  return numbers;
}

Result<CommittedParts> ChdbStore::committed_parts() {
  auto rows = run(*writer_,
                  "SELECT table, partition_id, max(max_block_number) FROM system.parts"
                  " WHERE database = 'nuages' AND active GROUP BY table, partition_id",
                  {}, "TSV");
  if (!rows) return rows.error();
  const InsertNote& note = journal_->current();
  CommittedParts parts = note.committed;
  std::vector<std::string> tables = derived_tables();
  tables.emplace_back(kSpansTable);
  std::istringstream lines(*rows);
  std::string table;
  std::string partition;
  for (int64_t number = 0; lines >> table >> partition >> number;) {
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) continue;
    const auto mark = note.marks.find(table);
    if (number > (mark == note.marks.end() ? 0 : mark->second)) {
      parts.insert(table + "/" + partition);
    }
  }
  return parts;
}

Status ChdbStore::switch_views(const char* verb) {
  const bool detach = std::string_view(verb) == "DETACH";
  if (detach) views_detached_ = true;  // at a restart the engine attaches them itself
  for (const std::string& table : derived_tables()) {
    const std::string sql = fmt::format("{} TABLE {} nuages.{}_view", verb,
                                        detach ? "IF EXISTS" : "IF NOT EXISTS", table);
    if (Status status = run_on_writer(sql); !status) return status;
  }
  if (!detach) views_detached_ = false;
  return {};
}

// Inserts what the tables lack, each from a copy of the block in a table without views.
Status ChdbStore::complete(const SpanBlock& block, const CommittedParts& committed) {
  std::set<std::string> days;
  for (const uint32_t second : block.received) days.insert(std::to_string(second / 86400));
  std::set<std::string> partitions;
  for (const std::string& day : days) {
    auto name = run(*writer_, "SELECT toYYYYMMDD(toDate({day:UInt16}))", {{"day", day}}, "TSV");
    if (!name) return name.error();
    partitions.insert(name->substr(0, name->find('\n')));
  }
  const auto lacking = [&](const std::string& table) {
    std::string list;
    for (const std::string& partition : partitions) {
      if (committed.contains(table + "/" + partition)) continue;
      if (!list.empty()) list += ", ";
      list += partition;
    }
    return list;
  };
  std::vector<std::string> fills;
  for (const std::string& table : derived_tables()) {
    if (const std::string list = lacking(table); !list.empty()) {
      fills.push_back(fill_from_replay(table, list));
    }
  }
  const std::string spans = lacking(kSpansTable);
  const std::string drop = fmt::format("DROP TABLE IF EXISTS nuages.{} SYNC", kReplayTable);
  Status status = run_on_writer(drop);
  if (status) status = run_on_writer(create_replay_table());
  if (status) {
    const Insert rows = replay_insert(block);
    status = insert_one(rows.sql, rows.data);
    if (!status) replace(writer_, writer_arguments_);
  }
  if (status && !spans.empty()) {
    status = switch_views("DETACH");
    if (status) status = run_on_writer(fill_from_replay(kSpansTable, spans));
    Status attached = switch_views("ATTACH");
    if (status) status = std::move(attached);
  }
  for (const std::string& fill : fills) {
    if (status) status = run_on_writer(fill);
  }
  for (const Insert& insert : inserts_for(block)) {
    if (status && !insert.deduplicated) status = insert_one(insert.sql, insert.data);
  }
  Status dropped = run_on_writer(drop);
  return status ? dropped : status;
}

std::string ChdbStore::version() const { return std::string("chDB ") + library_->version(); }

}  // namespace nuages::store
