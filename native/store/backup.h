// Backup of a running store, and restoring one into an empty folder.
//
// A backup is a folder: `manifest` (schema version, time, rows per table) and `tables/<table>/`
// with the engine's parts as they are. It holds everything acknowledged before it began: the log is
// inserted first, then all tables are frozen at one moment between two inserts (hard links, so
// spans go on arriving), and the files are copied from there. The folder has its name only when it
// is whole and on the disk.
//
// A data folder remembers its backups in `backups`, a path each, so that an erasure can name those
// that still hold what was erased: they must be made again or deleted by hand.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace nuages::store {

class ChdbStore;
class Ingest;

struct Manifest {
  uint32_t schema = 0;
  uint64_t created_ns = 0;
  std::map<std::string, uint64_t> rows;  // by table
};

// `to` must not exist. Fails without leaving anything there.
Result<Manifest> make_backup(ChdbStore& store, Ingest& ingest, const std::string& data_folder,
                             const std::string& to, uint64_t timeout_ns);

// Into a store that has just been created. Fails when its rows are not the manifest's.
Result<Manifest> restore_backup(ChdbStore& store, const std::string& from);

Result<Manifest> read_manifest(const std::string& backup);
// Paths of backups made of this data folder that still exist.
std::vector<std::string> list_backups(const std::string& data_folder);

}  // namespace nuages::store
