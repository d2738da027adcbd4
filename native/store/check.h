// The consistency check of a data folder, as lines for people.
//
// ChdbStore::check() (chdb_check.cc): every part's checksums, every derived table counted again
// from spans per day of receipt, every resource and statement that spans name; with `repair`,
// derived partitions that differ are made again from spans. check_log() reads the write-ahead log
// and the quarantine. Both only read unless told to repair. Inserts wait while a day is counted.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace nuages::store {

struct CheckLine {
  bool good = true;
  std::string text;  // "red 20261125: 1234 rows, as counted from spans"
};

struct CheckReport {
  std::vector<CheckLine> lines;

  bool good() const;
  std::string text() const;  // a line each, "ok" or "BAD" before it
  void add(bool good, std::string text) { lines.push_back({good, std::move(text)}); }
};

// `folder` is the log's, with "quarantine" in it.
void check_log(const std::string& folder, CheckReport& report);

}  // namespace nuages::store
