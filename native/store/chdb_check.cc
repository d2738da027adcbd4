// The checking half of ChdbStore: store/check.h.
#include <fmt/core.h>

#include <sstream>

#include "store/chdb_store.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

constexpr const char* kSpill = " SETTINGS max_bytes_before_external_group_by = 300000000";

std::string without_newline(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace

Result<CheckReport> ChdbStore::check(bool repair) {
  CheckReport report;
  std::vector<std::string> tables = derived_tables();
  tables.insert(tables.begin(), kSpansTable);
  std::vector<std::string> all = tables;
  for (const char* table : {"resources", "sqltext", "schema"}) all.emplace_back(table);
  for (const std::string& table : all) {
    const std::lock_guard lock(writer_mutex_);
    auto good =
        ask("CHECK TABLE nuages." + table + " SETTINGS check_query_single_value_result = 1", {});
    const bool whole = good && good->starts_with("1");
    report.add(whole, table + (whole ? ": checksums of all parts hold"
                                     : ": parts are damaged" +
                                           (good ? std::string() : ": " + good.error().message)));
  }
  std::istringstream days;
  {
    const std::lock_guard lock(writer_mutex_);
    auto found = ask(
        "SELECT DISTINCT partition_id FROM system.parts WHERE database = 'nuages' AND active AND"
        " match(partition_id, '^[0-9]{8}$') ORDER BY partition_id",
        {});
    if (!found) return found.error();
    days.str(*found);
  }
  for (std::string day; days >> day;) {
    const std::lock_guard lock(writer_mutex_);
    if (Status status = check_day(day, repair, report); !status) return status.error();
  }
  struct Missing {
    const char* what;
    const char* sql;
  };
  constexpr Missing kMissing[] = {
      {"resources",
       "SELECT uniqExact(resource) FROM nuages.spans WHERE resource NOT IN (SELECT hash"
       " FROM nuages.resources)"},
      {"statements",
       "SELECT uniqExact(fingerprint) FROM nuages.spans WHERE fingerprint != 0 AND"
       " has(splitByChar(',', promoted), 'db.statement') AND fingerprint NOT IN"
       " (SELECT fingerprint FROM nuages.sqltext)"}};
  for (const Missing& missing : kMissing) {
    const std::lock_guard lock(writer_mutex_);
    auto count = ask(missing.sql, {});
    if (!count) return count.error();
    const std::string number = without_newline(*count);
    report.add(number == "0",
               number == "0"
                   ? fmt::format("{}: every one that a span names is there", missing.what)
                   : fmt::format("{}: {} that spans name are missing", missing.what, number));
  }
  return report;
}

Status ChdbStore::check_day(const std::string& day, bool repair, CheckReport& report) {
  for (const std::string& table : derived_tables()) {
    auto is = ask(recount(table, false, day) + kSpill, {});
    auto should = ask(recount(table, true, day) + kSpill, {});
    if (!is) return is.error();
    if (!should) return should.error();
    const auto rows = [](const std::string& pair) { return pair.substr(0, pair.find('\t')); };
    if (*is == *should) {
      report.add(true, fmt::format("{} {}: {} rows, as counted from spans", table, day, rows(*is)));
      continue;
    }
    std::string text = fmt::format("{} {}: {} rows, but {} counted from spans", table, day,
                                   rows(*is), rows(*should));
    if (*is != *should && rows(*is) == rows(*should)) {
      text = fmt::format("{} {}: {} rows with other contents than counted from spans", table, day,
                         rows(*is));
    }
    if (repair) {
      if (Status status = rebuild_day(table, day); !status) return status;
      text += "; made again";
    }
    report.add(repair, std::move(text));
  }
  return {};
}

}  // namespace nuages::store
