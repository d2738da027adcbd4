#include "store/wal.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <filesystem>
#include <system_error>
#include <tuple>

#include "base/clock.h"
#include "base/log.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kComponent = "wal";

std::string system_message(int code) { return std::generic_category().message(code); }

Error file_error(const std::string& action, const std::string& path, int code) {
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  return {full ? ErrorCode::kExhausted : ErrorCode::kUnavailable,
          "cannot " + action + " " + path + ": " + system_message(code) +
              (full ? "; free space on that disk or choose another with --data" : "")};
}

Status sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return file_error("open", folder, errno);
  const int code = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (code != 0) return file_error("sync", folder, code);
  return {};
}

}  // namespace

// The one file that is being written.
class Wal::Segment {
 public:
  static Result<std::unique_ptr<Segment>> create(const std::string& folder, const SegmentId& id) {
    const std::string path = folder + "/" + id.file_name();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return file_error("create", path, errno);
    std::unique_ptr<Segment> segment(new Segment(path, id, fd));
    const std::string header = encode_segment_header(id);
    iovec part{const_cast<char*>(header.data()), header.size()};
    Status status = segment->write_all({part});
    if (status.ok()) status = sync_folder(folder);
    if (!status.ok()) {
      ::unlink(path.c_str());
      return status.error();
    }
    segment->good_bytes_ = header.size();
    return segment;
  }
  ~Segment() { ::close(fd_); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // All of `parts` on the disk, or none of it and an error. `intact()` then tells whether the file
  // may be written again.
  Status append(std::vector<iovec> parts) {
    Status status = write_all(std::move(parts));
    if (status.ok() && ::fdatasync(fd_) != 0) status = file_error("sync", path_, errno);
    if (status.ok()) {
      good_bytes_ = written_;
      return status;
    }
    // After a failed sync the kernel may have dropped the pages, so nothing behind the last good
    // record can be trusted.
    intact_ = ::ftruncate(fd_, static_cast<off_t>(good_bytes_)) == 0 &&
              ::lseek(fd_, static_cast<off_t>(good_bytes_), SEEK_SET) >= 0 && ::fdatasync(fd_) == 0;
    written_ = good_bytes_;
    return status;
  }

  const SegmentId& id() const { return id_; }
  uint64_t good_bytes() const { return good_bytes_; }
  bool intact() const { return intact_; }

  uint64_t rows = 0;
  uint64_t raw_bytes = 0;
  uint64_t opened_ns = steady_now();

 private:
  Segment(std::string path, const SegmentId& id, int fd)
      : path_(std::move(path)), id_(id), fd_(fd) {}

  Status write_all(std::vector<iovec> parts) {
    size_t first = 0;
    while (first < parts.size()) {
      const auto count = static_cast<int>(std::min<size_t>(parts.size() - first, IOV_MAX));
      const ssize_t size = ::writev(fd_, parts.data() + first, count);
      if (size < 0) {
        if (errno == EINTR) continue;
        return file_error("write", path_, errno);
      }
      written_ += static_cast<uint64_t>(size);
      auto left = static_cast<size_t>(size);
      while (first < parts.size() && left >= parts[first].iov_len) left -= parts[first++].iov_len;
      if (left > 0) {
        parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + left;
        parts[first].iov_len -= left;
      }
    }
    return {};
  }

  std::string path_;
  SegmentId id_;
  int fd_;
  uint64_t written_ = 0;
  uint64_t good_bytes_ = 0;
  bool intact_ = true;
};

Wal::Wal(const WalOptions& options, WalObserver& observer)
    : options_(options), observer_(observer) {}

Result<std::unique_ptr<Wal>> Wal::open(const WalOptions& options, WalObserver& observer,
                                       std::vector<SegmentScan>& found,
                                       const std::function<void(const WalRecord&)>& visit) {
  std::unique_ptr<Wal> wal(new Wal(options, observer));
  if (Status status = wal->scan_folder(found, visit); !status.ok()) return status.error();
  wal->thread_ = std::thread([raw = wal.get()] { raw->run(); });
  return wal;
}

void Wal::take_number(const fs::path& file) {
  next_number_ =
      std::max<uint64_t>(next_number_, std::strtoull(file.stem().c_str(), nullptr, 10) + 1);
}

void Wal::keep(const fs::path& file) {
  std::error_code error;
  const fs::path folder = fs::path(options_.folder) / "quarantine";
  fs::create_directories(folder, error);
  fs::rename(file, folder / file.filename(), error);
  if (error) {
    log(LogLevel::kError, kComponent,
        "cannot move " + file.string() + " to quarantine: " + error.message());
  }
}

Status Wal::scan_folder(std::vector<SegmentScan>& found,
                        const std::function<void(const WalRecord&)>& visit) {
  std::error_code error;
  const bool created = fs::create_directories(options_.folder, error);
  if (error) return file_error("create", options_.folder, error.value());
  if (created) {
    // A record in a folder that a power cut takes away is lost. What cannot be opened is not ours.
    const fs::path folder = fs::absolute(options_.folder);
    std::ignore = sync_folder(folder.parent_path());
    std::ignore = sync_folder(folder.parent_path().parent_path());
  }
  if (Status status = finish_splits(); !status.ok()) return status;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(options_.folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".wal") files.push_back(it->path());
  }
  if (error) return file_error("read", options_.folder, error.value());
  std::sort(files.begin(), files.end());
  // A number is used once, or a later segment would replace a quarantined one.
  for (fs::directory_iterator it(options_.folder + "/quarantine", error), end; !error && it != end;
       it.increment(error)) {
    take_number(it->path());
  }
  for (const fs::path& file : files) {
    take_number(file);
    Result<SegmentScan> scan = scan_segment(file, visit ? visit : [](const WalRecord&) {});
    const bool damaged = scan.ok() && scan->unreadable_bytes > 0;
    if ((damaged && scan->records == 0) ||
        (!scan.ok() && (scan.error().code != ErrorCode::kInvalid ||
                        fs::file_size(file, error) >= kSegmentHeaderSize))) {
      // Not something a crash leaves: keep it for a person to look at.
      const std::string why = scan.ok() ? "cannot read " + file.string() : scan.error().message;
      log(LogLevel::kError, kComponent, why + "; moved to quarantine");
      damaged_.insert(std::strtoull(file.stem().c_str(), nullptr, 10));
      keep(file);
      continue;
    }
    if (damaged) {
      // What can be read is stored; the file itself is kept when that is done.
      log(LogLevel::kError, kComponent,
          file.string() + ": the disk cannot read " + std::to_string(scan->unreadable_bytes) +
              " bytes; " + std::to_string(scan->rows) +
              " spans around them are stored and the file goes to quarantine");
      damaged_.insert(scan->id.number);
    } else if (scan.ok() && scan->cut_bytes > 0) {
      log(LogLevel::kWarning, kComponent,
          file.string() + ": cut " + std::to_string(scan->cut_bytes) +
              " bytes of an unfinished record at the end; they were never acknowledged");
    }
    if (!scan.ok() || scan->records == 0) {  // cut while its header or first record was written
      fs::remove(file, error);
      continue;
    }
    if (scan->cut_bytes > 0 && !damaged) {
      fs::resize_file(file, scan->good_bytes, error);
      if (error) return file_error("cut", file.string(), error.value());
    }
    if (scan->damaged_bytes > 0 && !damaged) {
      log(LogLevel::kError, kComponent,
          file.string() + ": skipped " + std::to_string(scan->damaged_bytes) +
              " damaged bytes between good records; check the disk");
    }
    total_bytes_ += scan->good_bytes;
    ++segments_;
    found.push_back(*scan);
  }
  return {};
}

Wal::~Wal() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::string Wal::path(const SegmentId& segment) const {
  return options_.folder + "/" + segment.file_name();
}

Status Wal::append(WalEntry entry) {
  const uint64_t size = entry.record.disk_size() + entry.body.size();
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return Error{ErrorCode::kUnavailable, "the server is stopping"};
    if (queued_bytes_ > options_.max_queued_bytes) {
      return Error{ErrorCode::kExhausted,
                   "the disk of the write-ahead log is slower than the requests; retry later"};
    }
    if (bytes() + entry.record.disk_size() > options_.max_total_bytes) {
      return Error{ErrorCode::kExhausted,
                   "the write-ahead log holds its limit of " +
                       std::to_string(options_.max_total_bytes >> 20) +
                       " MiB because the store does not take its blocks; retry later"};
    }
    queued_bytes_ += size;
    queue_.push_back(std::move(entry));
  }
  wake_.notify_one();
  return {};
}

void Wal::seal() {
  std::unique_lock lock(mutex_);
  if (stop_) return;  // the destructor seals
  const uint64_t ticket = ++seals_wanted_;
  wake_.notify_one();
  sealed_.wait(lock, [&] { return seals_done_ >= ticket; });
}

uint64_t Wal::seal_deadline() const {
  const bool busy = open_->rows >= options_.busy_rows;
  return open_->opened_ns + (busy ? options_.seal_busy_age_ns : options_.seal_age_ns);
}

void Wal::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto pending = [this] { return stop_ || seals_wanted_ > seals_done_ || !queue_.empty(); };
    if (open_ == nullptr) {
      wake_.wait(lock, pending);
    } else if (const uint64_t now = steady_now(), deadline = seal_deadline(); now < deadline) {
      wake_.wait_for(lock, std::chrono::nanoseconds(deadline - now), pending);
    }
    std::vector<WalEntry> group;
    group.swap(queue_);
    queued_bytes_ = 0;
    const uint64_t ticket = seals_wanted_;
    const bool seal = ticket > seals_done_;
    const bool stop = stop_;
    lock.unlock();
    if (!group.empty()) commit(group);
    const bool due =
        open_ != nullptr &&
        (seal || stop || steady_now() >= seal_deadline() || open_->rows >= options_.seal_rows ||
         open_->raw_bytes >= options_.seal_raw_bytes || !open_->intact());
    if (due) seal_open_segment();
    lock.lock();
    seals_done_ = ticket;
    if (seal) sealed_.notify_all();
    if (stop && queue_.empty()) return;
  }
}

void Wal::commit(std::vector<WalEntry>& group) {
  const Status status = write_group(group);
  if (!status.ok()) {
    const uint64_t now = steady_now();
    if (last_error_log_ns_ == 0 || now - last_error_log_ns_ > 10'000'000'000ULL) {
      log(LogLevel::kError, kComponent, status.error().message);
      last_error_log_ns_ = now;
    }
  }
  std::vector<std::function<void(const Status&)>> callers;
  callers.reserve(group.size());
  for (WalEntry& entry : group) callers.push_back(std::move(entry.done));
  if (status.ok()) observer_.on_commit(open_->id(), group);
  for (const auto& done : callers) {
    if (done) done(status);
  }
}

Status Wal::write_group(std::vector<WalEntry>& group) {
  if (open_ == nullptr) {
    const SegmentId id{next_number_++, wall_now()};
    Result<std::unique_ptr<Segment>> created = Segment::create(options_.folder, id);
    if (!created.ok()) return created.error();
    open_ = std::move(created).value();
    total_bytes_ += open_->good_bytes();
    ++segments_;
  }
  std::vector<std::string> headers;
  headers.reserve(group.size());
  std::vector<iovec> parts;
  parts.reserve(group.size() * 2);
  uint64_t rows = 0;
  uint64_t raw_bytes = 0;
  for (WalEntry& entry : group) {
    headers.push_back(encode_record_header(entry.record, open_->id()));
    parts.push_back({headers.back().data(), headers.back().size()});
    parts.push_back({entry.record.payload.data(), entry.record.payload.size()});
    rows += entry.record.rows;
    raw_bytes += entry.record.raw_size;
  }
  const uint64_t before = open_->good_bytes();
  const Status status = open_->append(std::move(parts));
  total_bytes_ += open_->good_bytes() - before;
  if (status.ok()) {
    open_->rows += rows;
    open_->raw_bytes += raw_bytes;
  }
  return status;
}

void Wal::seal_open_segment() {
  const SegmentId id = open_->id();
  const bool empty = open_->rows == 0;
  open_.reset();
  if (empty) {  // its only groups failed: nothing was acknowledged from it
    forget(id, false);
  } else {
    observer_.on_seal(id);
  }
}

void Wal::forget(const SegmentId& segment, bool keep_file) {
  std::error_code error;
  const uint64_t size = fs::file_size(path(segment), error);
  if (!error) total_bytes_ -= std::min<uint64_t>(size, total_bytes_);
  --segments_;
  if (keep_file || damaged_.contains(segment.number)) return keep(path(segment));
  fs::remove(path(segment), error);
  if (error) {
    log(LogLevel::kError, kComponent,
        "cannot remove " + path(segment) + ": " + error.message() +
            "; its spans are stored, and would be stored again after a restart");
  }
  if (Status status = sync_folder(options_.folder); !status.ok()) {
    log(LogLevel::kError, kComponent, status.error().message);
  }
}

// The two halves are written into a folder of their own. Its rename is the moment that counts: from
// then on the halves are the segment, whatever a crash leaves of the steps behind it.
Result<std::vector<SegmentScan>> Wal::split(const SegmentId& segment) {
  const Result<SegmentScan> whole = scan_segment(path(segment), [](const WalRecord&) {});
  if (!whole.ok()) return whole.error();
  if (whole->records < 2) {
    return Error{ErrorCode::kInvalid, segment.file_name() + " holds one request"};
  }
  std::error_code error;
  const fs::path final = fs::path(options_.folder) / ("split-" + std::to_string(segment.number));
  const fs::path making = final.string() + ".tmp";
  fs::remove_all(making, error);
  fs::create_directories(making, error);
  if (error) return file_error("create", making.string(), error.value());
  std::vector<SegmentScan> halves;
  std::unique_ptr<Segment> half;
  Status status;
  const auto next_half = [&] {
    const SegmentId id{next_number_++, wall_now()};
    Result<std::unique_ptr<Segment>> created = Segment::create(making.string(), id);
    if (!created.ok()) {
      status = created.error();
      return;
    }
    half = std::move(created).value();
    halves.push_back({});
    halves.back().id = id;
  };
  next_half();
  const Result<SegmentScan> copied = scan_segment(path(segment), [&](const WalRecord& record) {
    const bool full =
        halves.size() == 1 && halves[0].records > 0 &&
        (halves[0].rows * 2 >= whole->rows || halves[0].records + 1 == whole->records);
    if (status.ok() && full) next_half();
    if (!status.ok()) return;
    std::string header = encode_record_header(record, half->id());
    status = half->append({{header.data(), header.size()},
                           {const_cast<char*>(record.payload.data()), record.payload.size()}});
    ++halves.back().records;
    halves.back().rows += record.rows;
    halves.back().good_bytes = half->good_bytes();
  });
  half.reset();
  if (status.ok() && !copied.ok()) status = copied.error();
  if (status.ok()) {
    fs::rename(making, final, error);
    if (error) status = file_error("rename", making.string(), error.value());
  }
  if (!status.ok()) {
    fs::remove_all(making, error);
    return status.error();
  }
  if (status = sync_folder(options_.folder); !status.ok()) return status.error();
  if (status = finish_split(final); !status.ok()) return status.error();
  for (const SegmentScan& scan : halves) total_bytes_ += scan.good_bytes;
  total_bytes_ -= std::min<uint64_t>(whole->good_bytes, total_bytes_);
  ++segments_;
  return halves;
}

Status Wal::finish_split(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    files.push_back(it->path());
  }
  for (const fs::path& file : files) {
    if (!error) fs::rename(file, fs::path(options_.folder) / file.filename(), error);
  }
  const uint64_t number = std::strtoull(folder.filename().c_str() + 6, nullptr, 10);  // "split-"
  if (!error) fs::remove(path(SegmentId{number, 0}), error);
  if (error) return file_error("finish", folder.string(), error.value());
  if (Status status = sync_folder(options_.folder); !status.ok()) return status;
  fs::remove(folder, error);
  if (error) return file_error("remove", folder.string(), error.value());
  return sync_folder(options_.folder);
}

Status Wal::finish_splits() {
  std::error_code error;
  std::vector<fs::path> folders;
  for (fs::directory_iterator it(options_.folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().starts_with("split-")) folders.push_back(it->path());
  }
  if (error) return file_error("read", options_.folder, error.value());
  for (const fs::path& folder : folders) {
    if (folder.extension() == ".tmp") {
      fs::remove_all(folder, error);
    } else if (Status status = finish_split(folder); !status.ok()) {
      return status;
    }
  }
  return {};
}

void Wal::remove(const SegmentId& segment) { forget(segment, false); }
void Wal::quarantine(const SegmentId& segment) { forget(segment, true); }

}  // namespace nuages::store
