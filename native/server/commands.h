// The commands of nuages-server besides serving: erase, check, backup, restore, keys, users,
// validate.
//
// erase, check and backup work on a data folder whether a server runs on it or not: a running one
// is asked through its API (its address stands in `<data>/address`, its administrator's key in
// NUAGES_ADMIN_KEY), else the folder is opened here. restore fills a folder that does not exist.
// Each prints its result; the exit code is 0, 1 when a check found something, 2 for an error.
#pragma once

#include <optional>
#include <string>

namespace nuages::server {

// Runs the command that argv[1] names; nothing when it names none (then it is the server's turn).
std::optional<int> run_command(int argc, const char* const* argv, const std::string& library);

}  // namespace nuages::server
