// A block of spans in columns: what the decoder fills and one insert sends to the store.
//
// Columns match the table `spans` of store/schema.h one to one. Attributes that every query wants
// have columns of their own (old and stable semantic-convention names fill the same column);
// `promoted` names which attributes a row gave to columns, so the API rebuilds the span as it was
// sent. All others are lines `key=json` in `attributes` (store/attribute_text.h). Resources and SQL
// texts are kept once per content hash in side rows.
//
// Filled by store/block_builder.h; read-only afterwards, then any thread may read it. Movable, not
// copyable. bytes() is an estimate of the memory held and costs O(columns).
// Source of the layout: measured trials of column types and sort orders with ClickHouse.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "store/columns.h"

namespace nuages::store {

struct ResourceRow {
  std::string service;
  std::string attributes;  // lines key=json
};

struct SqlTextRow {
  std::string text;   // the statement without literals
  std::string label;  // the short form shown in trees
};

class SpanBlock {
 public:
  SpanBlock() = default;
  SpanBlock(const SpanBlock&) = delete;
  SpanBlock& operator=(const SpanBlock&) = delete;
  SpanBlock(SpanBlock&&) noexcept = default;
  SpanBlock& operator=(SpanBlock&&) noexcept = default;
  ~SpanBlock() = default;

  size_t rows() const { return span_id.size(); }
  bool empty() const { return span_id.empty(); }
  size_t bytes() const;
  // Empty, with the memory kept for the next one: fresh pages cost more than filling them.
  void clear();

  // Row numbers in the store's order (minute, trace id, name): what an insert writes.
  std::vector<uint32_t> sorted_rows() const;

  std::vector<TraceId> trace_id;
  std::vector<uint64_t> span_id;
  std::vector<uint64_t> parent_id;
  std::vector<int64_t> ts;  // start, Unix nanoseconds
  std::vector<uint64_t> duration;
  std::vector<uint8_t> kind;       // OTLP numbers
  std::vector<uint8_t> status;     // OTLP numbers
  std::vector<uint8_t> entry;      // 1: server or consumer span, or the local root of its process
  std::vector<uint32_t> received;  // Unix seconds

  DictionaryColumn service;
  DictionaryColumn environment;
  DictionaryColumn scope;  // name, or name@version
  std::vector<uint64_t> resource;
  DictionaryColumn name;
  StringColumn status_message;

  DictionaryColumn http_method;
  DictionaryColumn http_route;
  std::vector<uint16_t> http_status;  // 0: none
  DictionaryColumn db_system;
  DictionaryColumn db_name;
  DictionaryColumn db_operation;
  DictionaryColumn db_table;
  std::vector<uint64_t> fingerprint;  // 0: no SQL
  DictionaryColumn code_file;
  DictionaryColumn code_function;
  std::vector<uint32_t> code_line;
  DictionaryColumn task;
  DictionaryColumn queue;
  DictionaryColumn exception_type;
  DictionaryColumn nuages_kind;
  std::vector<int32_t> query_count;  // -1: unknown
  std::vector<uint8_t> n_plus_one;
  std::vector<uint32_t> max_repetitions;

  DictionaryColumn promoted;        // attribute keys, comma between, held by the columns above
  StringColumn attributes;          // the others: lines key=json
  StringColumn events;              // JSON array or empty
  StringColumn links;               // JSON array or empty
  std::vector<uint64_t> link_ends;  // end of each row's part of the two columns below
  std::vector<TraceId> link_trace_id;
  std::vector<uint64_t> link_span_id;
  StringColumn extra;  // JSON object of rare fields (trace state, dropped counts) or empty

  std::unordered_map<uint64_t, ResourceRow> resources;
  std::unordered_map<uint64_t, SqlTextRow> statements;
  size_t side_bytes = 0;  // of the two maps
};

}  // namespace nuages::store
