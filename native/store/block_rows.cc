#include "store/block_rows.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <map>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "store/native_format.h"
#include "store/schema.h"

namespace nuages::store {
namespace {

using Rows = std::vector<uint32_t>;

constexpr int64_t kNanosecondsPerMinute = 60'000'000'000;
constexpr uint32_t kSecondsPerMinute = 60;
constexpr uint32_t kSecondsPerDay = 86400;
constexpr uint8_t kError = 2;  // OTLP's status
constexpr uint8_t kClient = 3, kProducer = 4, kConsumer = 5;

constexpr const char* kMoment = "DateTime64(9, 'UTC')";
constexpr const char* kSecond = "DateTime('UTC')";

constexpr size_t kSpanColumns = 40;

void write_spans(const SpanBlock& block, const Rows& order, const RowSink& sink) {
  NativeWriter out(kSpanColumns, order, sink);
  out.ids("trace_id", block.trace_id);
  out.integers("span_id", "UInt64", block.span_id);
  out.integers("parent_id", "UInt64", block.parent_id);
  out.integers("ts", "DateTime64(9, 'UTC')", block.ts);
  out.integers("duration", "UInt64", block.duration);
  out.integers("kind", "UInt8", block.kind);
  out.integers("status", "UInt8", block.status);
  out.integers("entry", "UInt8", block.entry);
  out.integers("received", "DateTime('UTC')", block.received);
  out.dictionary("service", block.service);
  out.dictionary("environment", block.environment);
  out.dictionary("scope", block.scope);
  out.integers("resource", "UInt64", block.resource);
  out.dictionary("name", block.name);
  out.strings("status_message", block.status_message);
  out.dictionary("http_method", block.http_method);
  out.dictionary("http_route", block.http_route);
  out.integers("http_status", "UInt16", block.http_status);
  out.dictionary("db_system", block.db_system);
  out.dictionary("db_name", block.db_name);
  out.dictionary("db_operation", block.db_operation);
  out.dictionary("db_table", block.db_table);
  out.integers("fingerprint", "UInt64", block.fingerprint);
  out.dictionary("code_file", block.code_file);
  out.dictionary("code_function", block.code_function);
  out.integers("code_line", "UInt32", block.code_line);
  out.dictionary("task", block.task);
  out.dictionary("queue", block.queue);
  out.dictionary("exception_type", block.exception_type);
  out.dictionary("nuages_kind", block.nuages_kind);
  out.integers("query_count", "Int32", block.query_count);
  out.integers("n_plus_one", "UInt8", block.n_plus_one);
  out.integers("max_repetitions", "UInt32", block.max_repetitions);
  out.dictionary("promoted", block.promoted);
  out.strings("attributes", block.attributes);
  out.strings("events", block.events);
  out.strings("links", block.links);
  out.id_arrays("link_trace_id", block.link_ends, block.link_trace_id);
  out.integer_arrays("link_span_id", block.link_ends, block.link_span_id);
  out.strings("extra", block.extra);
  out.finish();
}

template <typename Keep>
Rows filter(const Rows& rows, Keep keep) {
  Rows out;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(out), keep);
  return out;
}

void write_entry(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  const Rows rows = filter(all, [&](uint32_t row) { return block.entry[row] == 1; });
  if (rows.empty()) return;
  NativeWriter out(17, rows, sink);
  out.ids("trace_id", block.trace_id);
  out.integers("span_id", "UInt64", block.span_id);
  out.integers("ts", kMoment, block.ts);
  out.integers("duration", "UInt64", block.duration);
  out.integers("received", kSecond, block.received);
  out.integers("kind", "UInt8", block.kind);
  out.integers("status", "UInt8", block.status);
  out.dictionary("service", block.service);
  out.dictionary("environment", block.environment);
  out.dictionary("name", block.name);
  out.dictionary("http_method", block.http_method);
  out.dictionary("http_route", block.http_route);
  out.integers("http_status", "UInt16", block.http_status);
  out.dictionary("task", block.task);
  out.integers("query_count", "Int32", block.query_count);
  out.integers("n_plus_one", "UInt8", block.n_plus_one);
  out.integers("max_repetitions", "UInt32", block.max_repetitions);
  out.finish();
}

uint32_t minute_of(const SpanBlock& block, uint32_t row) {
  return static_cast<uint32_t>(block.ts[row] / kNanosecondsPerMinute) * kSecondsPerMinute;
}

// The rows come sorted by minute and trace, so a pair's rows are neighbours.
void write_trace_ix(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Rows first;
  std::vector<uint32_t> minute;
  std::vector<uint32_t> received;
  for (const uint32_t row : all) {
    const uint32_t now = minute_of(block, row);
    if (!first.empty() && minute.back() == now &&
        block.trace_id[first.back()] == block.trace_id[row]) {
      received.back() = std::max(received.back(), block.received[row]);
      continue;
    }
    first.push_back(row);
    minute.push_back(now);
    received.push_back(block.received[row]);
  }
  NativeWriter out(3, first, sink);
  out.ids("trace_id", block.trace_id);
  out.in_order("minute", kSecond, minute);
  out.in_order("received", kSecond, received);
  out.finish();
}

void write_trace_links(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Rows rows;
  std::vector<TraceId> to_trace;
  std::vector<uint64_t> to_span;
  for (const uint32_t row : all) {
    for (uint64_t i = row == 0 ? 0 : block.link_ends[row - 1]; i < block.link_ends[row]; ++i) {
      rows.push_back(row);
      to_trace.push_back(block.link_trace_id[i]);
      to_span.push_back(block.link_span_id[i]);
    }
  }
  if (rows.empty()) return;
  NativeWriter out(6, rows, sink);
  out.ids_in_order("to_trace_id", to_trace);
  out.in_order("to_span_id", "UInt64", to_span);
  out.ids("from_trace_id", block.trace_id);
  out.integers("from_span_id", "UInt64", block.span_id);
  out.integers("from_ts", kMoment, block.ts);
  out.integers("received", kSecond, block.received);
  out.finish();
}

void write_n_plus_one(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  const Rows rows = filter(all, [&](uint32_t row) { return block.n_plus_one[row] == 1; });
  if (rows.empty()) return;
  NativeWriter out(11, rows, sink);
  out.ids("trace_id", block.trace_id);
  out.integers("span_id", "UInt64", block.span_id);
  out.integers("ts", kMoment, block.ts);
  out.integers("duration", "UInt64", block.duration);
  out.integers("received", kSecond, block.received);
  out.dictionary("service", block.service);
  out.dictionary("name", block.name);
  out.dictionary("http_route", block.http_route);
  out.integers("query_count", "Int32", block.query_count);
  out.integers("max_repetitions", "UInt32", block.max_repetitions);
  out.strings("events", block.events);
  out.finish();
}

// Groups of rows with equal keys: a representative row and the sums of each.
template <size_t kWidth>
class Groups {
 public:
  using Key = std::array<uint64_t, kWidth>;

  // Index of the group. Neighbours are often alike, so the last one is tried first.
  size_t add(const SpanBlock& block, uint32_t row, const Key& key) {
    if (first_.empty() || key != last_key_) {
      const auto [found, added] = index_.try_emplace(key, first_.size());
      if (added) {
        first_.push_back(row);
        count.push_back(0);
        errors.push_back(0);
        duration.push_back(0);
      }
      last_key_ = key;
      last_ = found->second;
    }
    ++count[last_];
    errors[last_] += block.status[row] == kError ? 1 : 0;
    duration[last_] += block.duration[row];
    return last_;
  }
  const Rows& first() const { return first_; }

  std::vector<uint64_t> count, errors, duration;

 private:
  struct Hash {
    size_t operator()(const Key& key) const { return XXH3_64bits(key.data(), sizeof key); }
  };
  Rows first_;
  std::unordered_map<Key, size_t, Hash> index_;
  Key last_key_{};
  size_t last_ = 0;
};

template <typename Groups>
void write_sums(NativeWriter& out, const Groups& groups) {
  out.in_order("count", "UInt64", groups.count);
  out.in_order("errors", "UInt64", groups.errors);
  out.in_order("duration", "UInt64", groups.duration);
}

// Group columns that are the day of receipt or a value computed per group.
std::vector<uint16_t> days_of(const SpanBlock& block, const Rows& first) {
  std::vector<uint16_t> days;
  days.reserve(first.size());
  for (const uint32_t row : first) {
    days.push_back(static_cast<uint16_t>(block.received[row] / kSecondsPerDay));
  }
  return days;
}

std::vector<uint32_t> minutes_of(const SpanBlock& block, const Rows& first) {
  std::vector<uint32_t> minutes;
  minutes.reserve(first.size());
  for (const uint32_t row : first) minutes.push_back(minute_of(block, row));
  return minutes;
}

uint16_t bucket_of(uint64_t duration) {
  constexpr double kBucketsPerDoubling = 8;
  if (duration == 0) return 0;
  return static_cast<uint16_t>(
      std::floor(kBucketsPerDoubling * std::log2(static_cast<double>(duration))));
}

void write_services(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Groups<1> groups;
  std::vector<uint64_t> entries;
  std::vector<uint32_t> seen;
  for (const uint32_t row : all) {
    const size_t group = groups.add(block, row, {block.service.code(row)});
    if (group == entries.size()) {
      entries.push_back(0);
      seen.push_back(0);
    }
    entries[group] += block.entry[row];
    seen[group] = std::max(seen[group], block.received[row]);
  }
  NativeWriter out(6, groups.first(), sink);
  out.dictionary("service", block.service);
  out.in_order("received", "Date", days_of(block, groups.first()));
  out.in_order("span_count", "UInt64", groups.count);
  out.in_order("entry_count", "UInt64", entries);
  out.in_order("error_count", "UInt64", groups.errors);
  out.in_order("last_seen", kSecond, seen);
  out.finish();
}

void write_red(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Groups<5> groups;
  std::vector<uint16_t> bucket;
  const auto pair = [](uint64_t a, uint64_t b) { return a << 32 | b; };
  for (const uint32_t row : all) {
    if (block.entry[row] == 0) continue;
    const uint16_t its_bucket = bucket_of(block.duration[row]);
    const size_t group =
        groups.add(block, row,
                   {pair(block.service.code(row), block.environment.code(row)),
                    pair(block.http_route.code(row), block.name.code(row)), minute_of(block, row),
                    pair(block.http_method.code(row), block.kind[row]), its_bucket});
    if (group == bucket.size()) bucket.push_back(its_bucket);
  }
  if (groups.first().empty()) return;
  NativeWriter out(12, groups.first(), sink);
  out.dictionary("service", block.service);
  out.in_order("minute", kSecond, minutes_of(block, groups.first()));
  out.dictionary("http_route", block.http_route);
  out.dictionary("name", block.name);
  out.integers("kind", "UInt8", block.kind);
  out.dictionary("http_method", block.http_method);
  out.dictionary("environment", block.environment);
  out.in_order("bucket", "UInt16", bucket);
  out.in_order("received", "Date", days_of(block, groups.first()));
  write_sums(out, groups);
  out.finish();
}

void write_queries(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Groups<5> groups;
  std::vector<uint16_t> bucket;
  const auto pair = [](uint64_t a, uint64_t b) { return a << 32 | b; };
  for (const uint32_t row : all) {
    if (block.fingerprint[row] == 0) continue;
    const uint16_t its_bucket = bucket_of(block.duration[row]);
    const size_t group = groups.add(block, row,
                                    {pair(block.service.code(row), block.environment.code(row)),
                                     pair(block.db_system.code(row), block.db_name.code(row)),
                                     block.fingerprint[row], minute_of(block, row), its_bucket});
    if (group == bucket.size()) bucket.push_back(its_bucket);
  }
  if (groups.first().empty()) return;
  NativeWriter out(11, groups.first(), sink);
  out.dictionary("service", block.service);
  out.in_order("minute", kSecond, minutes_of(block, groups.first()));
  out.integers("fingerprint", "UInt64", block.fingerprint);
  out.dictionary("db_system", block.db_system);
  out.dictionary("db_name", block.db_name);
  out.dictionary("environment", block.environment);
  out.in_order("bucket", "UInt16", bucket);
  out.in_order("received", "Date", days_of(block, groups.first()));
  write_sums(out, groups);
  out.finish();
}

// The value of the first of these attributes, without the quotes of JSON.
std::string_view peer_of(std::string_view lines) {
  for (const std::string_view key :
       {"peer.service=", "server.address=", "net.peer.name=", "http.host="}) {
    size_t at = 0;
    for (; at != std::string_view::npos; at = lines.find('\n', at)) {
      if (at != 0) ++at;
      if (lines.substr(at).starts_with(key)) break;
    }
    if (at == std::string_view::npos) continue;
    std::string_view value = lines.substr(at + key.size());
    value = value.substr(0, value.find('\n'));
    while (value.starts_with('"')) value.remove_prefix(1);
    while (value.ends_with('"')) value.remove_suffix(1);
    if (!value.empty()) return value;
  }
  return {};
}

void write_edges(const SpanBlock& block, const Rows& all, const RowSink& sink) {
  Groups<5> groups;
  DictionaryColumn type;
  DictionaryColumn target;
  const auto pair = [](uint64_t a, uint64_t b) { return a << 32 | b; };
  for (const uint32_t row : all) {
    const uint8_t kind = block.kind[row];
    const std::string_view queue = block.queue.at(row);
    const bool counts =
        kind == kClient || kind == kProducer || (kind == kConsumer && !queue.empty());
    if (!counts) continue;
    const bool database = !block.db_system.at(row).empty();
    std::string_view to = database ? block.db_name.at(row) : queue;
    const std::string_view its_type = database ? "database" : queue.empty() ? "service" : "queue";
    if (!database && queue.empty()) to = peer_of(block.attributes.at(row));
    if (!database && to.empty()) continue;
    const uint64_t number = database        ? block.db_name.code(row)
                            : queue.empty() ? XXH3_64bits(to.data(), to.size())
                                            : block.queue.code(row);
    const size_t group = groups.add(
        block, row,
        {pair(block.service.code(row), block.environment.code(row)), pair(kind, its_type.size()),
         block.db_system.code(row), minute_of(block, row), number});
    if (group == target.size()) {
      type.append(its_type);
      target.append(to);
    }
  }
  if (groups.first().empty()) return;
  NativeWriter out(11, groups.first(), sink);
  out.dictionary("service", block.service);
  out.in_order("minute", kSecond, minutes_of(block, groups.first()));
  out.dictionary("environment", block.environment);
  out.integers("kind", "UInt8", block.kind);
  out.dictionary_in_order("target_type", type);
  out.dictionary("target_system", block.db_system);
  out.dictionary_in_order("target", target);
  out.in_order("received", "Date", days_of(block, groups.first()));
  write_sums(out, groups);
  out.finish();
}

Rows all_rows(size_t count) {
  Rows rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::string partition_name(uint32_t day) {
  const auto time = static_cast<std::time_t>(uint64_t{day} * kSecondsPerDay);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y%m%d", &parts)};
}

struct Writer {
  const char* table;
  void (*write)(const SpanBlock&, const Rows&, const RowSink&);
};
constexpr Writer kWriters[] = {
    {kSpansTable, write_spans},
    {"entry", write_entry},
    {"trace_ix", write_trace_ix},
    {"trace_links", write_trace_links},
    {"n_plus_one", write_n_plus_one},
    {"services", write_services},
    {"red", write_red},
    {"queries", write_queries},
    {"edges", write_edges},
};

}  // namespace

std::vector<DayRows> rows_by_day(const SpanBlock& block) {
  std::map<uint32_t, Rows> days;
  uint32_t last = 0;
  Rows* rows = nullptr;
  for (const uint32_t row : block.sorted_rows()) {
    const uint32_t day = block.received[row] / kSecondsPerDay;
    if (rows == nullptr || day != last) rows = &days[last = day];
    rows->push_back(row);
  }
  std::vector<DayRows> out;
  out.reserve(days.size());
  for (auto& [day, its_rows] : days) out.push_back({partition_name(day), std::move(its_rows)});
  return out;
}

void write_rows(std::string_view table, const SpanBlock& block, const Rows& rows,
                const RowSink& sink) {
  for (const Writer& writer : kWriters) {
    if (table == writer.table) writer.write(block, rows, sink);
  }
}

void write_resources(const SpanBlock& block, const std::vector<uint64_t>& hashes,
                     const RowSink& sink) {
  DictionaryColumn service;
  StringColumn attributes;
  for (const uint64_t hash : hashes) {
    const ResourceRow& row = block.resources.at(hash);
    service.append(row.service);
    attributes.append(row.attributes);
  }
  const Rows order = all_rows(hashes.size());
  NativeWriter out(3, order, sink);
  out.integers("hash", "UInt64", hashes);
  out.dictionary("service", service);
  out.strings("attributes", attributes);
  out.finish();
}

void write_statements(const SpanBlock& block, const std::vector<uint64_t>& fingerprints,
                      const RowSink& sink) {
  StringColumn text;
  StringColumn label;
  for (const uint64_t fingerprint : fingerprints) {
    const SqlTextRow& row = block.statements.at(fingerprint);
    text.append(row.text);
    label.append(row.label);
  }
  const Rows order = all_rows(fingerprints.size());
  NativeWriter out(3, order, sink);
  out.integers("fingerprint", "UInt64", fingerprints);
  out.strings("text", text);
  out.strings("label", label);
  out.finish();
}

}  // namespace nuages::store
