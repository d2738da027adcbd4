#include "server/commands_users.h"

#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "server/logins.h"

namespace nuages::server {
namespace {

constexpr int kGood = 0, kFailed = 2;

struct Arguments {
  std::string data = "nuages-data";
  std::string name;
  std::string role = "viewer";
};

int fail(const std::string& message) {
  std::fprintf(stderr, "nuages-server: %s\n", message.c_str());
  return kFailed;
}

// While it lives the terminal shows nothing of what is typed.
class NoEcho {
 public:
  NoEcho() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
  }
  ~NoEcho() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

std::string ask(const char* prompt) {
  std::string line;
  if (::isatty(STDIN_FILENO) == 0) {
    std::getline(std::cin, line);
    return line;
  }
  const NoEcho hidden;
  std::fputs(prompt, stderr);
  std::getline(std::cin, line);
  std::fputs("\n", stderr);
  return line;
}

Result<std::string> ask_password() {
  std::string password = ask("Password: ");
  if (::isatty(STDIN_FILENO) != 0 && ask("Again: ") != password) {
    return Error{ErrorCode::kInvalid, "the two passwords differ"};
  }
  return password;
}

auto position(std::vector<User>& users, const std::string& name) {
  return std::find_if(users.begin(), users.end(),
                      [&](const User& user) { return user.name == name; });
}

int set_user(const Arguments& arguments, bool is_new) {
  const std::string file = arguments.data + "/users";
  auto users = Logins::read_file(file);
  if (!users.ok()) return fail(users.error().message);
  const auto found = position(*users, arguments.name);
  if (is_new && found != users->end()) {
    return fail("there is a user '" + arguments.name + "' already; nuages-server users password " +
                arguments.name + " changes the password");
  }
  if (!is_new && found == users->end()) {
    return fail("there is no user '" + arguments.name + "' in " + file);
  }
  const auto role = is_new ? parse_role(arguments.role) : Result<Role>(found->role);
  if (!role.ok()) return fail(role.error().message);
  const auto password = ask_password();
  if (!password.ok()) return fail(password.error().message);
  auto user = Logins::make_user(arguments.name, *role, *password);
  if (!user.ok()) return fail(user.error().message);
  if (is_new) {
    users->push_back(std::move(user).value());
  } else {
    *found = std::move(user).value();
  }
  std::error_code ignored;  // writing says what is wrong
  std::filesystem::create_directories(arguments.data, ignored);
  if (Status status = Logins::write_file(file, *users); !status.ok()) {
    return fail(status.error().message);
  }
  return kGood;
}

int remove_user(const Arguments& arguments) {
  const std::string file = arguments.data + "/users";
  auto users = Logins::read_file(file);
  if (!users.ok()) return fail(users.error().message);
  const auto found = position(*users, arguments.name);
  if (found == users->end()) return fail("there is no user '" + arguments.name + "' in " + file);
  users->erase(found);
  if (Status status = Logins::write_file(file, *users); !status.ok()) {
    return fail(status.error().message);
  }
  return kGood;
}

int list_users(const Arguments& arguments) {
  const auto users = Logins::read_file(arguments.data + "/users");
  if (!users.ok()) return fail(users.error().message);
  for (const User& user : *users) {
    std::printf("%s  %s\n", user.name.c_str(), std::string(name_of(user.role)).c_str());
  }
  return kGood;
}

}  // namespace

std::function<int()> add_users_command(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* users = app.add_subcommand("users", "who logs in to the UI");
  users->require_subcommand(1);
  const auto command = [&](const char* name, const char* help, bool named) {
    CLI::App* made = users->add_subcommand(name, help);
    made->add_option("--data", arguments->data, "the server's data folder")->capture_default_str();
    if (named) made->add_option("name", arguments->name, "of the user")->required();
    return made;
  };
  CLI::App* adding = command("add", "makes a user; the password comes on standard input", true);
  adding->add_option("--role", arguments->role, "viewer or admin")->capture_default_str();
  CLI::App* changing = command("password", "sets another password and ends the sessions", true);
  CLI::App* removing = command("remove", "ends the sessions within a second", true);
  command("list", "shows names and roles", false);
  return [=] {
    if (*adding || *changing) return set_user(*arguments, static_cast<bool>(*adding));
    return *removing ? remove_user(*arguments) : list_users(*arguments);
  };
}

}  // namespace nuages::server
