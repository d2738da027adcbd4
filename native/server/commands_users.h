// The command `nuages-server users`: add, password, remove, list. Passwords are read from standard
// input, a line; asked for without an echo when that is a terminal. Exit codes as in commands.h.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace nuages::server {

// Adds the command and its options; the result runs what was parsed, when it was this command.
std::function<int()> add_users_command(CLI::App& app);

}  // namespace nuages::server
