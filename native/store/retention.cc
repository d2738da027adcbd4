#include "store/retention.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

constexpr std::string_view kComponent = "retention";
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kSecondsPerDay = 86400;
constexpr auto kEvery = std::chrono::minutes(1);

// "20261125", as partitions are named.
std::string day_name(uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm day{};
  gmtime_r(&time, &day);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y%m%d", &day)};
}

// Days and their sizes. "all" is the partition of tables without days.
Result<std::map<std::string, uint64_t>> day_sizes(Store& store) {
  std::map<std::string, uint64_t> days;
  const Status status = store.stream(
      "SELECT concat(partition_id, ' ', toString(sum(bytes_on_disk))) AS line FROM system.parts"
      " WHERE database = 'nuages' AND active GROUP BY partition_id",
      {}, [&](std::string_view rows) {
        std::istringstream lines{std::string(rows)};
        for (std::string line; std::getline(lines, line);) {  // {"line":"20261125 4711"}
          const size_t begin = line.find(":\"");
          if (begin == std::string::npos) continue;
          std::istringstream words(line.substr(begin + 2));
          std::string day;
          uint64_t bytes = 0;
          if (words >> day >> bytes) days[day] = bytes;
        }
        return true;
      });
  if (!status.ok()) return status.error();
  return days;
}

Status drop_day(Store& store, const std::string& day) {
  std::vector<std::string> tables = derived_tables();
  tables.emplace_back(kSpansTable);  // last: what lists show must not outlive its spans for long
  for (const std::string& table : tables) {
    // The name is one the engine gave us, of digits only.
    std::string statement = "ALTER TABLE nuages.";
    statement.append(table).append(" DROP PARTITION ID '").append(day).append("'");
    auto dropped = store.query(statement, {});
    if (!dropped.ok()) return dropped.error();
  }
  return {};
}

}  // namespace

Result<RetentionCounters> Retention::enforce(Store& store, const RetentionOptions& options,
                                             uint64_t now_ns) {
  auto days = day_sizes(store);
  if (!days.ok()) return days.error();
  RetentionCounters out;
  for (const auto& [day, bytes] : *days) out.store_bytes += bytes;
  const uint64_t now = now_ns / kSecond;
  const std::string today = day_name(now);
  const uint64_t kept = options.days * kSecondsPerDay;
  const std::string oldest = options.days == 0 || kept > now ? "" : day_name(now - kept);
  for (const auto& [day, bytes] : *days) {  // oldest first
    if (day.find_first_not_of("0123456789") != std::string::npos || day >= today) continue;
    const bool old = day < oldest;
    const bool large = options.max_bytes != 0 && out.store_bytes > options.max_bytes;
    if (!old && !large) continue;
    if (Status status = drop_day(store, day); !status.ok()) return status.error();
    log(LogLevel::kInfo, kComponent,
        "deleted the spans received on " + day + " (" + std::to_string(bytes >> 20) + " MiB): " +
            (old ? "older than --retention-days=" + std::to_string(options.days)
                 : "the store was larger than --max-store-gib"));
    out.store_bytes -= bytes;
    ++out.dropped_partitions;
  }
  return out;
}

Retention::Retention(Store& store, const RetentionOptions& options)
    : store_(store), options_(options), thread_([this] { run(); }) {}

Retention::~Retention() { stop(); }

void Retention::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

RetentionCounters Retention::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void Retention::run() {
  bool too_large = false;  // said once, not every minute
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    const Result<RetentionCounters> done = enforce(store_, options_, wall_now());
    lock.lock();
    if (done.ok()) {
      counters_.dropped_partitions += done->dropped_partitions;
      counters_.store_bytes = done->store_bytes;
      constexpr uint64_t kHour = 3600 * kSecond;
      sizes_.emplace_back(steady_now(), done->store_bytes);
      while (sizes_.size() > 2 && sizes_.front().first + kHour < steady_now()) sizes_.pop_front();
      const auto& [since, before] = sizes_.front();
      const uint64_t passed = std::max<uint64_t>(sizes_.back().first - since, 1);
      const uint64_t grown = done->store_bytes > before ? done->store_bytes - before : 0;
      counters_.growth_per_hour = sizes_.size() < 2
                                      ? 0
                                      : static_cast<uint64_t>(static_cast<double>(grown) * kHour /
                                                              static_cast<double>(passed));
      const bool still = options_.max_bytes != 0 && done->store_bytes > options_.max_bytes;
      if (still && !too_large) {
        log(LogLevel::kWarning, kComponent,
            "the spans of today alone are larger than --max-store-gib; the current day is never "
            "deleted");
      }
      too_large = still;
    } else {
      log(LogLevel::kWarning, kComponent, "retention failed: " + done.error().message);
    }
    wake_.wait_for(lock, kEvery, [this] { return stop_; });
  }
}

}  // namespace nuages::store
