#include "store/span_block.h"

#include <algorithm>
#include <tuple>

namespace nuages::store {
namespace {

constexpr int64_t kNanosecondsPerMinute = 60'000'000'000;
constexpr size_t kFixedBytesPerRow = 16 + 8 * 6 + 4 * 4 + 2 + 4;  // the integer columns
constexpr size_t kSideRowBytes = 128;                             // node, bucket, two strings

}  // namespace

size_t SpanBlock::bytes() const {
  size_t total = rows() * kFixedBytesPerRow + link_trace_id.size() * 24 + side_bytes +
                 (resources.size() + statements.size()) * kSideRowBytes;
  for (const DictionaryColumn* column :
       {&service, &environment, &scope, &name, &http_method, &http_route, &db_system, &db_name,
        &db_operation, &db_table, &code_file, &code_function, &task, &queue, &exception_type,
        &nuages_kind, &promoted}) {
    total += column->bytes();
  }
  for (const StringColumn* column : {&status_message, &attributes, &events, &links, &extra}) {
    total += column->bytes();
  }
  return total;
}

void SpanBlock::clear() {
  const auto clear_all = [](auto&... columns) { (columns.clear(), ...); };
  clear_all(trace_id, span_id, parent_id, ts, duration, kind, status, entry, received, resource,
            http_status, fingerprint, code_line, query_count, n_plus_one, max_repetitions,
            link_ends, link_trace_id, link_span_id);
  clear_all(service, environment, scope, name, http_method, http_route, db_system, db_name,
            db_operation, db_table, code_file, code_function, task, queue, exception_type,
            nuages_kind, promoted);
  clear_all(status_message, attributes, events, links, extra, resources, statements);
  side_bytes = 0;
}

std::vector<uint32_t> SpanBlock::sorted_rows() const {
  struct Key {
    int64_t minute;
    TraceId trace_id;
    uint32_t name;
    uint32_t row;
    int64_t ts;
  };
  std::vector<Key> keys(rows());
  for (uint32_t row = 0; row < keys.size(); ++row) {
    keys[row] = {ts[row] / kNanosecondsPerMinute, trace_id[row], name.code(row), row, ts[row]};
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return std::tie(a.minute, a.trace_id, a.name, a.ts, a.row) <
           std::tie(b.minute, b.trace_id, b.name, b.ts, b.row);
  });
  std::vector<uint32_t> order(keys.size());
  std::transform(keys.begin(), keys.end(), order.begin(), [](const Key& key) { return key.row; });
  return order;
}

}  // namespace nuages::store
