// What backup and restore (store/backup.h) need of ChdbStore.
#include <fmt/core.h>

#include <filesystem>
#include <sstream>

#include "base/clock.h"
#include "store/chdb_store.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

}  // namespace

Result<uint64_t> ChdbStore::count_rows(const std::string& table) {
  const std::lock_guard lock(writer_mutex_);
  auto count =
      ask("SELECT sum(rows) FROM system.parts WHERE database = 'nuages' AND active AND table ="
          " {table:String}",
          {{"table", table}});
  if (!count) return count.error();
  return std::strtoull(count->c_str(), nullptr, 10);
}

Result<FrozenTables> ChdbStore::freeze() {
  const std::lock_guard lock(writer_mutex_);
  FrozenTables out;
  const std::string name = fmt::format("backup{}", wall_now());
  out.folder = fs::absolute(folder_).string() + "/data/shadow/" + name;
  auto tables =
      ask("SELECT name, toString(uuid), ifNull((SELECT sum(rows) FROM system.parts WHERE database ="
          " 'nuages' AND active AND table = tables.name), 0) FROM system.tables AS tables WHERE"
          " database = 'nuages' AND engine LIKE '%MergeTree' ORDER BY name",
          {});
  if (!tables) return tables.error();
  std::istringstream lines(*tables);
  std::string uuid;
  for (FrozenTable table; lines >> table.name >> uuid >> table.rows;) {
    Status status =
        run_on_writer(fmt::format("ALTER TABLE nuages.{} FREEZE WITH NAME '{}'", table.name, name));
    if (!status) return status.error();
    table.folder = fmt::format("{}/store/{}/{}", out.folder, uuid.substr(0, 3), uuid);
    out.tables.push_back(table);
  }
  return out;
}

Status ChdbStore::attach_parts(const std::string& table, const std::string& folder) {
  const std::lock_guard lock(writer_mutex_);
  auto path = ask(
      "SELECT arrayElement(data_paths, 1) FROM system.tables WHERE database = 'nuages' AND name ="
      " {table:String}",
      {{"table", table}});
  if (!path) return path.error();
  while (path->ends_with('\n')) path->pop_back();
  if (path->empty()) {
    return Error{ErrorCode::kInvalid,
                 "the backup holds a table that this program does not know: " + table};
  }
  std::error_code error;
  std::vector<std::string> parts;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string part = it->path().filename().string();
    fs::create_directories(*path + "detached/" + part, error);
    if (!error) fs::copy(it->path(), *path + "detached/" + part, error);
    if (!error) parts.push_back(part);
    if (error) break;
  }
  if (error) {
    return Error{ErrorCode::kUnavailable,
                 "cannot copy " + folder + " to " + *path + "detached: " + error.message()};
  }
  for (const std::string& part : parts) {
    Status status =
        run_on_writer(fmt::format("ALTER TABLE nuages.{} ATTACH PART '{}'", table, part));
    if (!status) return status;
  }
  return {};
}

Status ChdbStore::migrate_from(uint32_t version) {
  const std::lock_guard lock(writer_mutex_);
  return migrate(version);
}

}  // namespace nuages::store
