#include "store/chdb_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/log.h"
#include "store/chdb_result.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

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

// Merges must not make queries wait. The engine has no setting for it, so its threads are found by
// their name. New ones inherit from the thread that starts them, which is one of these.
void lower_merge_priority() {
  constexpr int kLowest = 19;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/task", error), end; !error && it != end;
       it.increment(error)) {
    std::string name;
    std::getline(std::ifstream(it->path() / "comm"), name);
    if (name != "MergeMutate") continue;
    const auto id = static_cast<id_t>(std::strtoul(it->path().filename().c_str(), nullptr, 10));
    setpriority(PRIO_PROCESS, id, kLowest);
  }
}

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
  lower_merge_priority();
  if (Status status = store->resume_erasure(); !status) return status.error();
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
      "--insert_deduplicate=0",  // the journal knows better: store/insert_journal.h
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

std::string ChdbStore::version() const { return std::string("chDB ") + library_->version(); }

}  // namespace nuages::store
