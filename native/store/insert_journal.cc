#include "store/insert_journal.h"

#include <fcntl.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace nuages::store {
namespace {

constexpr std::string_view kHead = "nuages insert journal 1";
// A block in quarantine leaves its note here; a person may still put the block back.
constexpr size_t kMostUnfinished = 200;

// Words hold no spaces: tokens are checked by the store, table names and numbers are ours.
void put_note(std::string& out, std::string_view kind, const InsertNote& note) {
  out.append(kind).append(" ").append(note.token).append("\n");
  for (const std::string& part : note.committed) out.append("committed ").append(part).append("\n");
  for (const auto& [table, number] : note.marks) {
    out.append("mark ").append(table).append(" ").append(std::to_string(number)).append("\n");
  }
}

std::string checksum_line(std::string_view text) {
  return "checksum " + std::to_string(XXH3_64bits(text.data(), text.size())) + "\n";
}

Error file_error(const std::string& path, int code) {
  return {ErrorCode::kUnavailable,
          "cannot write " + path + ": " + std::generic_category().message(code)};
}

Status write_synced(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return file_error(path, errno);
  int code = 0;
  while (code == 0 && !text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno != EINTR) code = errno;
    if (size > 0) text.remove_prefix(static_cast<size_t>(size));
  }
  if (code == 0 && ::fsync(fd) != 0) code = errno;
  ::close(fd);
  if (code != 0) return file_error(path, code);
  return {};
}

Status sync_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int code = fd < 0 || ::fsync(fd) != 0 ? errno : 0;
  if (fd >= 0) ::close(fd);
  if (code != 0) return file_error(folder, code);
  return {};
}

}  // namespace

Result<InsertJournal> InsertJournal::open(const std::string& path) {
  InsertJournal journal(path);
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return journal;
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const Error damaged{ErrorCode::kInvalid,
                      path +
                          " is damaged: what the last insert left cannot be told; if the disk "
                          "is fine now, remove the file (spans of the last second before the "
                          "crash may then be stored twice)"};
  const size_t end = text.rfind("checksum ");
  if (end == std::string::npos || text.substr(end) != checksum_line(text.substr(0, end)) ||
      !text.starts_with(kHead)) {
    return damaged;
  }
  std::istringstream lines(text.substr(kHead.size(), end - kHead.size()));
  InsertNote* note = nullptr;
  for (std::string word; lines >> word;) {
    if (word == "current") {
      note = &journal.current_;
      lines >> note->token;
    } else if (word == "unfinished") {
      note = &journal.unfinished_.emplace_back();
      lines >> note->token;
    } else if (word == "committed" && note != nullptr) {
      std::string part;
      lines >> part;
      note->committed.insert(part);
    } else if (word == "mark" && note != nullptr) {
      std::string table;
      int64_t number = 0;
      lines >> table >> number;
      note->marks[table] = number;
    } else {
      return damaged;
    }
  }
  return journal;
}

const InsertNote* InsertJournal::unfinished(std::string_view token) const {
  const auto found = std::find_if(unfinished_.begin(), unfinished_.end(),
                                  [&](const InsertNote& note) { return note.token == token; });
  return found == unfinished_.end() ? nullptr : &*found;
}

Status InsertJournal::begin(InsertNote note, const CommittedParts* former) {
  const InsertNote old = std::move(current_);
  const std::vector<InsertNote> old_unfinished = unfinished_;
  std::erase_if(unfinished_, [&](const InsertNote& one) { return one.token == note.token; });
  if (former != nullptr && !former->empty() && old.token != note.token) {
    unfinished_.push_back({old.token, *former, {}});
    if (unfinished_.size() > kMostUnfinished) unfinished_.erase(unfinished_.begin());
  }
  current_ = std::move(note);
  Status status = write();
  if (!status.ok()) {
    current_ = old;
    unfinished_ = old_unfinished;
  }
  return status;
}

Status InsertJournal::write() const {
  std::string text(kHead);
  text += '\n';
  if (!current_.token.empty()) put_note(text, "current", current_);
  for (const InsertNote& note : unfinished_) put_note(text, "unfinished", note);
  text += checksum_line(text);
  const std::string fresh = path_ + ".new";
  if (Status status = write_synced(fresh, text); !status.ok()) return status;
  if (std::rename(fresh.c_str(), path_.c_str()) != 0) return file_error(path_, errno);
  return sync_folder_of(path_);
}

}  // namespace nuages::store
