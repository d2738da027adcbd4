#include "store/check.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "store/wal_format.h"

namespace nuages::store {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) files.push_back(it->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

bool CheckReport::good() const {
  return std::all_of(lines.begin(), lines.end(), [](const CheckLine& line) { return line.good; });
}

std::string CheckReport::text() const {
  std::string out;
  for (const CheckLine& line : lines) {
    out.append(line.good ? "ok   " : "BAD  ").append(line.text).append("\n");
  }
  return out;
}

void check_log(const std::string& folder, CheckReport& report) {
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t rows = 0;
  for (const fs::path& file : files_of(folder)) {
    if (file.extension() != ".wal") continue;
    uint64_t undecodable = 0;
    const auto scan = scan_segment(file.string(), [&](const WalRecord& record) {
      if (!record_body(record).ok()) ++undecodable;
    });
    if (!scan.ok()) {
      report.add(false, "wal: " + scan.error().message);
      continue;
    }
    ++segments;
    records += scan->records;
    rows += scan->rows;
    if (undecodable > 0) {
      report.add(false, fmt::format("wal: {} of {} requests in {} do not decompress", undecodable,
                                    scan->records, file.filename().string()));
    }
    if (scan->damaged_bytes > 0) {
      report.add(false, fmt::format("wal: {} holds {} damaged bytes between good records",
                                    file.filename().string(), scan->damaged_bytes));
    }
    // What a crash cut off was never acknowledged.
    if (scan->cut_bytes > 0) {
      report.add(true,
                 fmt::format("wal: {} ends in {} bytes of a request that was not acknowledged",
                             file.filename().string(), scan->cut_bytes));
    }
  }
  report.add(true, fmt::format("wal: {} segments with {} requests and {} spans wait for the store",
                               segments, records, rows));
  const std::vector<fs::path> kept = files_of(folder + "/quarantine");
  for (const fs::path& file : kept) {
    const auto scan = scan_segment(file.string(), [](const WalRecord&) {});
    report.add(false, scan.ok() ? fmt::format("quarantine: {} with {} spans in {} requests",
                                              file.filename().string(), scan->rows, scan->records)
                                : "quarantine: " + scan.error().message);
  }
  if (kept.empty()) report.add(true, "quarantine: empty");
}

}  // namespace nuages::store
