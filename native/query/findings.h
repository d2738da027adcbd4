// N+1 findings of traces: what the agent reported, and for other SDKs what the spans show.
//
// The agent puts one event nuages.n_plus_one per repeated statement on the request or task span; it
// saw every query, so spans below such a request (it has db.query_count) are not counted again. For
// all others, statements with one fingerprint that ran more than kMaxRepetitions times below one
// request, task or root span are a finding. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "query/trace.h"

namespace nuages::query {

inline constexpr size_t kMaxRepetitions = 5;  // exactly this many are fine

struct Finding {
  TraceId trace_id;
  SpanId parent_span_id = 0;  // the request or task
  std::string title;          // one sentence
  std::string statement;
  std::string label;  // short form of the statement
  uint64_t count = 0;
  uint64_t total_duration = 0;  // ns
  std::string file;             // of the application's code, may be empty
  uint32_t line = 0;
  std::string function;
  std::string relation;    // "Order.user" when known
  std::string suggestion;  // "select_related(\"user\")" when known
  std::vector<SpanId> span_ids;
};

std::vector<Finding> find_n_plus_one(const Trace& trace);

// The findings in the events (JSON text) of one flagged span. `place` is its route or name.
std::vector<Finding> findings_in_events(std::string_view events, TraceId trace_id, SpanId span_id,
                                        std::string_view place);

}  // namespace nuages::query
