#include "store/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/clock.h"
#include "store/chdb_store.h"
#include "store/ingest.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHead = "nuages backup 1";

Error file_error(const std::string& action, const fs::path& path, const std::error_code& error) {
  return {ErrorCode::kUnavailable,
          "cannot " + action + " " + path.string() + ": " + error.message()};
}

Status sync_disk(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool good = fd >= 0 && ::syncfs(fd) == 0;
  if (fd >= 0) ::close(fd);
  if (good) return {};
  return Error{ErrorCode::kUnavailable, "the disk of " + folder + " cannot be synced"};
}

std::string manifest_text(const Manifest& manifest) {
  std::string text(kHead);
  text.append("\nschema ").append(std::to_string(manifest.schema));
  text.append("\ncreated_ns ").append(std::to_string(manifest.created_ns)).append("\n");
  for (const auto& [table, rows] : manifest.rows) {
    text.append("table ").append(table).append(" ").append(std::to_string(rows)).append("\n");
  }
  return text;
}

Status copy_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  if (!error) fs::copy(from, to, fs::copy_options::recursive, error);
  if (error) return file_error("copy to", to, error);
  return {};
}

}  // namespace

Result<Manifest> make_backup(ChdbStore& store, Ingest& ingest, const std::string& data_folder,
                             const std::string& to, uint64_t timeout_ns) {
  std::error_code error;
  if (to.empty() || fs::exists(to, error)) {
    return Error{ErrorCode::kInvalid,
                 "the backup's folder '" + to + "' must not exist yet: name a new one"};
  }
  if (!ingest.insert_all(timeout_ns)) {
    return Error{ErrorCode::kUnavailable,
                 "spans accepted before are still waiting for the store; try again when "
                 "nuages_waiting_blocks is 0"};
  }
  const fs::path making = to + ".tmp";
  fs::remove_all(making, error);
  fs::create_directories(making, error);
  if (error) return file_error("create", making, error);
  Manifest manifest;
  manifest.created_ns = wall_now();
  Status status;
  {
    auto frozen = store.freeze();
    if (!frozen.ok()) return frozen.error();
    manifest.schema = kSchemaVersion;
    for (const FrozenTable& table : frozen->tables) {
      manifest.rows[table.name] = table.rows;
      if (status.ok() && fs::exists(table.folder, error)) {
        status = copy_folder(table.folder, making / "tables" / table.name);
      }
    }
    fs::remove_all(frozen->folder, error);
  }
  if (status.ok()) {
    std::ofstream file(making / "manifest", std::ios::binary);
    if (!(file << manifest_text(manifest) << std::flush)) {
      status = Error{ErrorCode::kUnavailable, "cannot write " + (making / "manifest").string()};
    }
  }
  if (status.ok()) status = sync_disk(making.string());
  if (status.ok()) {
    fs::rename(making, to, error);
    if (error) status = file_error("rename", making, error);
  }
  if (!status.ok()) {
    fs::remove_all(making, error);
    return status.error();
  }
  std::ofstream list(data_folder + "/backups", std::ios::app);
  list << fs::absolute(to, error).string() << "\n" << std::flush;
  if (!list) {
    return Error{ErrorCode::kUnavailable, "the backup is made, but " + data_folder +
                                              "/backups cannot be written: erasures will not "
                                              "name it"};
  }
  return manifest;
}

Result<Manifest> read_manifest(const std::string& backup) {
  std::ifstream file(backup + "/manifest", std::ios::binary);
  std::string line;
  if (!std::getline(file, line) || line != kHead) {
    return Error{ErrorCode::kInvalid, "'" + backup +
                                          "' is not a backup of nuages-server: it has no "
                                          "manifest that this program reads"};
  }
  Manifest manifest;
  for (std::string word; file >> word;) {
    if (word == "schema") {
      file >> manifest.schema;
    } else if (word == "created_ns") {
      file >> manifest.created_ns;
    } else if (word == "table") {
      std::string table;
      uint64_t rows = 0;
      file >> table >> rows;
      manifest.rows[table] = rows;
    }
  }
  if (manifest.schema == 0 || manifest.schema > kSchemaVersion) {
    return Error{ErrorCode::kInvalid, "the backup '" + backup + "' has schema version " +
                                          std::to_string(manifest.schema) +
                                          " and this program knows " +
                                          std::to_string(kSchemaVersion) +
                                          ": restore with the nuages-server that made it"};
  }
  return manifest;
}

Result<Manifest> restore_backup(ChdbStore& store, const std::string& from) {
  Result<Manifest> manifest = read_manifest(from);
  if (!manifest.ok()) return manifest;
  for (const auto& [table, rows] : manifest->rows) {
    const fs::path folder = fs::path(from) / "tables" / table;
    std::error_code error;
    if (table == "schema" || !fs::exists(folder, error)) continue;
    if (Status status = store.attach_parts(table, folder.string()); !status.ok()) {
      return status.error();
    }
  }
  if (Status status = store.migrate_from(manifest->schema); !status.ok()) return status.error();
  for (const auto& [table, rows] : manifest->rows) {
    if (table == "schema") continue;
    auto count = store.count_rows(table);
    if (!count.ok()) return count.error();
    if (*count != rows) {
      return Error{ErrorCode::kInternal, "the backup is not whole: " + table + " has " +
                                             std::to_string(*count) + " rows instead of " +
                                             std::to_string(rows)};
    }
  }
  return manifest;
}

std::vector<std::string> list_backups(const std::string& data_folder) {
  std::vector<std::string> out;
  std::ifstream list(data_folder + "/backups");
  std::error_code error;
  for (std::string path; std::getline(list, path);) {
    if (fs::exists(path, error)) out.push_back(path);
  }
  return out;
}

}  // namespace nuages::store
