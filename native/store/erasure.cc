#include "store/erasure.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "store/attribute_text.h"
#include "store/chdb_store.h"
#include "store/ingest.h"
#include "store/wal_format.h"
#include "wire/otlp_reader.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

class Matcher {
 public:
  explicit Matcher(const EraseRequest& request) : request_(&request) {
    append_json_string(quoted_, request.attribute_value);
  }
  void on_resource(const wire::Resource& resource) { resource_ = has(resource.attributes); }
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span& span) {
    if (request_->trace) {
      found_ |= span.trace_id == *request_->trace;
    } else {
      found_ |= resource_ || has(span.attributes);
    }
  }
  bool found() const { return found_; }

 private:
  bool has(const std::vector<wire::KeyValue>& attributes) const {
    for (const auto& [key, value] : attributes) {
      if (key != request_->attribute_key) continue;
      std::string text;
      append_json_value(text, value);
      if (text == quoted_ || text == request_->attribute_value) return true;
    }
    return false;
  }

  const EraseRequest* request_;
  std::string quoted_;
  bool resource_ = false;
  bool found_ = false;
};

Error file_error(const std::string& action, const std::string& path, int code) {
  return {ErrorCode::kUnavailable,
          "cannot " + action + " " + path + ": " + std::generic_category().message(code)};
}

Status replace_file(const std::string& path, std::string_view content) {
  const std::string fresh = path + ".new";
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return file_error("write", fresh, errno);
  int code = 0;
  while (code == 0 && !content.empty()) {
    const ssize_t size = ::write(fd, content.data(), content.size());
    if (size < 0 && errno != EINTR) code = errno;
    if (size > 0) content.remove_prefix(static_cast<size_t>(size));
  }
  if (code == 0 && ::fsync(fd) != 0) code = errno;
  ::close(fd);
  if (code == 0 && ::rename(fresh.c_str(), path.c_str()) != 0) code = errno;
  if (code != 0) return file_error("write", path, code);
  return {};
}

}  // namespace

bool matches(const EraseRequest& request, std::string_view body) {
  Matcher matcher(request);
  const auto read = wire::read_export_trace_request(body, {}, matcher);
  return matcher.found() || !read.ok();
}

Status erase_from_quarantine(const std::string& folder, const EraseRequest& request,
                             EraseReport& report) {
  std::error_code error;
  if (!fs::exists(folder, error)) return {};
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    files.push_back(it->path());
  }
  if (error) return file_error("read", folder, error.value());
  for (const fs::path& file : files) {
    SegmentId id;
    uint64_t removed = 0;
    uint64_t kept = 0;
    std::string content;
    // Which segment it is stands in its header, and each record's checksum needs it.
    const auto head = scan_segment(file.string(), [](const WalRecord&) {});
    if (head.ok()) id = head->id;
    const auto scan = scan_segment(file.string(), [&](const WalRecord& record) {
      const Result<std::string> body = record_body(record);
      if (!body.ok() || matches(request, *body)) {
        ++removed;
        return;
      }
      ++kept;
      content += encode_record_header(record, id);
      content += record.payload;
    });
    const bool whole = scan.ok() && scan->cut_bytes + scan->damaged_bytes == 0 && removed == 0;
    if (whole && kept > 0) continue;
    report.quarantined_requests += removed;
    if (kept == 0) {
      if (!scan.ok() || removed == 0) ++report.quarantined_files;
      fs::remove_all(file, error);
      if (error) return file_error("remove", file.string(), error.value());
    } else if (Status status = replace_file(file.string(), encode_segment_header(id) + content);
               !status.ok()) {
      return status;
    }
  }
  return {};
}

Result<EraseReport> erase_everywhere(ChdbStore& store, Ingest& ingest, const EraseRequest& request,
                                     uint64_t timeout_ns) {
  if (!request.trace && request.attribute_key.empty()) {
    return Error{ErrorCode::kInvalid, "name a trace or an attribute to erase"};
  }
  if (!ingest.insert_all(timeout_ns)) {
    return Error{ErrorCode::kUnavailable,
                 "spans accepted before are still waiting for the store; erase again when "
                 "nuages_waiting_blocks is 0"};
  }
  Result<EraseReport> report = store.erase(request);
  if (!report.ok()) return report;
  Status status = erase_from_quarantine(ingest.quarantine_folder(), request, *report);
  if (!status.ok()) return status.error();
  log(LogLevel::kWarning, "erasure",
      "erased " + std::to_string(report->spans) + " spans and " +
          std::to_string(report->quarantined_requests) + " requests in quarantine");
  return report;
}

}  // namespace nuages::store
