#include "server/commands.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "gateway/config.h"
#include "query/json_writer.h"
#include "server/commands_users.h"
#include "server/config_options.h"
#include "server/keys.h"
#include "server/options.h"
#include "store/backup.h"
#include "store/chdb_store.h"
#include "store/check.h"
#include "store/erasure.h"
#include "store/ingest.h"

namespace nuages::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace fs = std::filesystem;

constexpr int kGood = 0, kFound = 1, kFailed = 2;
constexpr uint64_t kWaitNs = 600'000'000'000;

struct Arguments {
  std::string data = "nuages-data";
  std::string library;
  std::string trace, attribute;      // erase
  bool repair = false;               // check
  std::string folder;                // backup, restore
  std::string name, scopes, key_id;  // keys
  uint64_t spans_per_second = 0;
};

int fail(const std::string& message) {
  std::fprintf(stderr, "nuages-server: %s\n", message.c_str());
  return kFailed;
}

// A server that runs on the data folder, or the folder opened here.
class Target {
 public:
  static Result<Target> open(const Arguments& arguments) {
    std::error_code error;
    if (!fs::is_directory(arguments.data, error)) {
      return Error{ErrorCode::kNotFound, "--data=" + arguments.data + " is not a folder"};
    }
    Target target;
    const std::string lock = arguments.data + "/lock";
    target.lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (target.lock_ < 0 || ::flock(target.lock_, LOCK_EX | LOCK_NB) != 0) {
      std::getline(std::ifstream(arguments.data + "/address"), target.address_);
      if (!target.address_.empty()) return target;
      return Error{ErrorCode::kUnavailable,
                   "a server uses --data=" + arguments.data + " but has not said where it listens"};
    }
    auto store =
        store::ChdbStore::open({.library = arguments.library, .folder = arguments.data + "/store"});
    if (!store.ok()) return store.error();
    target.store_ = std::move(store).value();
    store::IngestOptions options;
    options.wal.folder = arguments.data + "/wal";
    auto ingest = store::Ingest::open(options);
    if (!ingest.ok()) return ingest.error();
    target.ingest_ = std::move(ingest).value();
    return target;
  }
  Target() = default;
  Target(Target&& other) noexcept
      : address_(std::move(other.address_)),
        lock_(std::exchange(other.lock_, -1)),
        store_(std::move(other.store_)),
        ingest_(std::move(other.ingest_)) {}
  Target& operator=(Target&&) = delete;
  ~Target() {
    ingest_.reset();
    store_.reset();
    if (lock_ >= 0) ::close(lock_);
  }

  bool remote() const { return store_ == nullptr; }
  store::ChdbStore& store() { return *store_; }
  // What waits in the log is inserted from now on.
  store::Ingest& ingest() {
    ingest_->set_store(*store_);
    return *ingest_;
  }

  // POST to the running server; its answer's body.
  Result<std::string> ask(const std::string& path, const std::string& body) const {
    try {
      const auto address = parse_host_port("address", address_);
      if (!address.ok()) return address.error();
      asio::io_context io;
      asio::ip::tcp::socket socket(io);
      socket.connect({asio::ip::make_address(address->host), address->port});
      http::request<http::string_body> request{http::verb::post, path, 11};
      request.set(http::field::host, address_);
      request.set(http::field::content_type, "application/json");
      // NOLINTNEXTLINE(concurrency-mt-unsafe): a command has one thread here
      if (const char* key = std::getenv("NUAGES_ADMIN_KEY"); key != nullptr) {
        request.set(http::field::authorization, std::string("Bearer ") + key);
      }
      request.body() = body;
      request.prepare_payload();
      http::write(socket, request);
      boost::beast::flat_buffer buffer;
      http::response<http::string_body> response;
      http::read(socket, buffer, response);
      if (response.result() == http::status::ok) return response.body();
      return Error{ErrorCode::kUnavailable,
                   fmt::format("the server at {} answered {}: {}", address_, response.result_int(),
                               response.body())};
    } catch (const std::exception& error) {
      return Error{ErrorCode::kUnavailable,
                   "the server at " + address_ + " cannot be asked: " + error.what()};
    }
  }

 private:
  std::string address_;
  int lock_ = -1;
  std::unique_ptr<store::ChdbStore> store_;
  std::unique_ptr<store::Ingest> ingest_;
};

std::string object(std::string_view name, std::string_view value) {
  query::JsonWriter json;
  json.begin_object();
  if (!value.empty()) json.field(name, value);
  json.end_object();
  return json.take();
}

int print_answer(const Result<std::string>& answer) {
  if (!answer.ok()) return fail(answer.error().message);
  std::puts(answer->c_str());
  return kGood;
}

int erase(const Arguments& arguments) {
  store::EraseRequest request;
  if (arguments.trace.empty() == arguments.attribute.empty()) {
    return fail("give either --trace=ID or --attribute=KEY=VALUE");
  }
  if (!arguments.trace.empty()) {
    request.trace = trace_id_from_hex(arguments.trace);
    if (!request.trace) return fail("--trace=" + arguments.trace + " is not 32 hexadecimal digits");
  } else {
    const size_t equals = arguments.attribute.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return fail("--attribute=" + arguments.attribute + " is not KEY=VALUE");
    }
    request.attribute_key = arguments.attribute.substr(0, equals);
    request.attribute_value = arguments.attribute.substr(equals + 1);
  }
  auto target = Target::open(arguments);
  if (!target.ok()) return fail(target.error().message);
  if (target->remote()) {
    return print_answer(target->ask(
        "/api/v1/erasures", arguments.trace.empty() ? object("attribute", arguments.attribute)
                                                    : object("trace_id", arguments.trace)));
  }
  const auto report = store::erase_everywhere(target->store(), target->ingest(), request, kWaitNs);
  if (!report.ok()) return fail(report.error().message);
  std::puts(fmt::format("erased {} spans, {} requests and {} files in quarantine", report->spans,
                        report->quarantined_requests, report->quarantined_files)
                .c_str());
  for (const std::string& backup : store::list_backups(arguments.data)) {
    std::puts(("still in the backup " + backup + ": delete it or make it again").c_str());
  }
  return kGood;
}

int check(const Arguments& arguments) {
  auto target = Target::open(arguments);
  if (!target.ok()) return fail(target.error().message);
  if (target->remote()) {
    const auto answer =
        target->ask("/api/v1/checks", arguments.repair ? R"({"repair":true})" : "{}");
    if (!answer.ok()) return fail(answer.error().message);
    std::puts(answer->c_str());
    return answer->starts_with(R"({"good":true)") ? kGood : kFound;
  }
  auto report = target->store().check(arguments.repair);
  if (!report.ok()) return fail(report.error().message);
  store::check_log(arguments.data + "/wal", *report);
  std::fputs(report->text().c_str(), stdout);
  return report->good() ? kGood : kFound;
}

int backup(const Arguments& arguments) {
  if (arguments.folder.empty()) return fail("give --to=FOLDER, one that does not exist");
  std::error_code error;
  const std::string to = fs::absolute(arguments.folder, error).string();
  auto target = Target::open(arguments);
  if (!target.ok()) return fail(target.error().message);
  if (target->remote()) return print_answer(target->ask("/api/v1/backups", object("folder", to)));
  const auto manifest =
      store::make_backup(target->store(), target->ingest(), arguments.data, to, kWaitNs);
  if (!manifest.ok()) return fail(manifest.error().message);
  std::puts(fmt::format("{}: {} spans", to, manifest->rows.at("spans")).c_str());
  return kGood;
}

int restore(const Arguments& arguments) {
  if (arguments.folder.empty()) return fail("give --from=FOLDER, a backup");
  std::error_code error;
  if (fs::exists(arguments.data, error) && !fs::is_empty(arguments.data, error)) {
    return fail("--data=" + arguments.data + " is not empty: restore into a new folder");
  }
  if (const auto manifest = store::read_manifest(arguments.folder); !manifest.ok()) {
    return fail(manifest.error().message);
  }
  auto store =
      store::ChdbStore::open({.library = arguments.library, .folder = arguments.data + "/store"});
  if (!store.ok()) return fail(store.error().message);
  const auto manifest = store::restore_backup(**store, arguments.folder);
  if (!manifest.ok()) return fail(manifest.error().message);
  std::puts(
      fmt::format("{}: {} spans restored", arguments.data, manifest->rows.at("spans")).c_str());
  return kGood;
}

Result<std::vector<KeyEntry>> entries_of(const std::string& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return std::vector<KeyEntry>();
  return Keys::read_file(file);
}

int add_key(const Arguments& arguments, const std::string& file) {
  auto entries = entries_of(file);
  if (!entries.ok()) return fail(entries.error().message);
  const auto scopes = Keys::parse_scopes(arguments.scopes);
  if (!scopes.ok()) return fail("--scopes=" + arguments.scopes + ": " + scopes.error().message);
  if (arguments.name.find_first_of("\r\n") != std::string::npos) {
    return fail("--name must be one line");
  }
  const std::string key = Keys::make_key();
  const std::string hash = Keys::hash(key);
  constexpr size_t kIdDigits = 8;
  const std::string id = hash.substr(0, kIdDigits);
  entries->push_back({id, *scopes, hash, arguments.spans_per_second, arguments.name});
  std::error_code error;
  fs::create_directories(arguments.data, error);
  if (Status status = Keys::write_file(file, *entries); !status.ok()) {
    return fail(status.error().message);
  }
  std::fprintf(stderr, "key %s (%s); it is shown this once:\n", id.c_str(),
               arguments.scopes.c_str());
  std::puts(key.c_str());
  return kGood;
}

int list_keys(const std::string& file) {
  const auto entries = entries_of(file);
  if (!entries.ok()) return fail(entries.error().message);
  for (const KeyEntry& entry : *entries) {
    std::puts(fmt::format("{}  {}  {}  {}", entry.id, Keys::scope_words(entry.scopes),
                          entry.spans_per_second == 0
                              ? std::string("any rate")
                              : fmt::format("{} spans/s", entry.spans_per_second),
                          entry.name)
                  .c_str());
  }
  return kGood;
}

int revoke_key(const Arguments& arguments, const std::string& file) {
  auto entries = entries_of(file);
  if (!entries.ok()) return fail(entries.error().message);
  if (std::erase_if(*entries, [&](const KeyEntry& e) { return e.id == arguments.key_id; }) == 0) {
    return fail("there is no key '" + arguments.key_id + "' in " + file);
  }
  if (Status status = Keys::write_file(file, *entries); !status.ok()) {
    return fail(status.error().message);
  }
  return kGood;
}

}  // namespace

namespace {

int validate(const std::string& file) {
  const auto config = gateway::load_config(file);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", config.error().message.c_str());
    return kFailed;
  }
  const auto options = with_config(Options{}, *config);
  if (!options.ok()) return fail(file + ": " + options.error().message);
  std::fputs(describe(*config).c_str(), stdout);
  return kGood;
}

}  // namespace

std::optional<int> run_command(int argc, const char* const* argv, const std::string& library) {
  constexpr std::string_view kCommands[] = {"erase", "check", "backup",  "restore",
                                            "keys",  "users", "validate"};
  if (argc < 2 ||
      std::find(std::begin(kCommands), std::end(kCommands), argv[1]) == std::end(kCommands)) {
    return std::nullopt;
  }
  Arguments arguments;
  arguments.library = library;
  CLI::App app("Works on the data of nuages-server.", "nuages-server");
  app.require_subcommand(1);
  const auto command = [&](const char* name, const char* help) {
    CLI::App* made = app.add_subcommand(name, help);
    made->add_option("--data", arguments.data, "the server's data folder")->capture_default_str();
    made->add_option("--store-library", arguments.library, "path of libchdb.so");
    return made;
  };
  CLI::App* erasing = command("erase", "takes spans out of every file, running server or not");
  erasing->add_option("--trace", arguments.trace, "id of the trace");
  erasing->add_option("--attribute", arguments.attribute, "KEY=VALUE of spans or resources");
  CLI::App* checking = command("check", "checks parts, log and roll-ups against the spans");
  checking->add_flag("--repair", arguments.repair, "make roll-ups that differ again from spans");
  command("backup", "copies the store, running or not")
      ->add_option("--to", arguments.folder, "a folder that does not exist");
  command("restore", "makes a new data folder from a backup")
      ->add_option("--from", arguments.folder, "the backup");
  std::string config;
  CLI::App* validating = app.add_subcommand("validate", "says what is wrong with a configuration");
  validating->add_option("--config", config, "the YAML file")->required();
  CLI::App* keys = app.add_subcommand("keys", "who may send, read and administer");
  keys->require_subcommand(1);
  const auto key_command = [&](const char* name, const char* help) {
    CLI::App* made = keys->add_subcommand(name, help);
    made->add_option("--data", arguments.data, "the server's data folder")->capture_default_str();
    return made;
  };
  CLI::App* adding = key_command("add", "makes a key and prints it");
  adding->add_option("--scopes", arguments.scopes, "ingest, read, admin; several with commas")
      ->required();
  adding->add_option("--spans-per-second", arguments.spans_per_second, "0: any");
  adding->add_option("--name", arguments.name, "for people");
  CLI::App* listing = key_command("list", "shows the keys, not what they are");
  CLI::App* revoking = key_command("revoke", "takes a key back within a second");
  revoking->add_option("id", arguments.key_id, "as list shows it")->required();
  CLI::App* making = keys->add_subcommand("make", "prints a new key and stores nothing");
  const auto run_users = add_users_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto parsed = app.get_subcommands();
    std::fputs((parsed.empty() ? app : *parsed.front()).help().c_str(), stdout);
    return kGood;
  } catch (const CLI::ParseError& error) {
    return fail(std::string(error.what()) + "; see nuages-server " + argv[1] + " --help");
  }
  if (*validating) return validate(config);
  if (app.got_subcommand("users")) return run_users();
  const std::string file = arguments.data + "/keys";
  if (*adding) return add_key(arguments, file);
  if (*listing) return list_keys(file);
  if (*revoking) return revoke_key(arguments, file);
  if (*making) {
    std::puts(Keys::make_key().c_str());
    return kGood;
  }
  if (*erasing) return erase(arguments);
  if (*checking) return check(arguments);
  return app.got_subcommand("backup") ? backup(arguments) : restore(arguments);
}

}  // namespace nuages::server
