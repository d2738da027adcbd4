// Reads whole traces and the links between them, from the store and from blocks not yet inserted.
//
// trace_ix tells the minutes of a trace, so a read touches a few granules whatever the table's
// size. The recent blocks are read before the store: a block that is inserted in between is seen
// twice and repeats vanish by span id, so no span is missed. Functions block on SQL; any thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "query/span_record.h"
#include "store/recent_spans.h"
#include "store/store.h"

namespace nuages::query {

inline constexpr size_t kMaxSpansPerRead = 50'000;
inline constexpr size_t kMaxFollowedTraces = 20;

struct Source {
  store::Store* store = nullptr;
  const store::RecentSpans* recent = nullptr;  // may be null
};

struct TraceData {
  std::vector<SpanRecord> spans;              // by start; repeats of a span removed
  std::map<uint64_t, std::string> resources;  // content hash -> attribute lines
  bool truncated = false;                     // more spans than kMaxSpansPerRead
};

Result<TraceData> read_traces(const Source& source, const std::vector<TraceId>& ids);

// A span of another trace that a link ties to this one.
struct LinkedSpan {
  TraceId trace_id;
  SpanId span_id = 0;
  SpanId via_span_id = 0;  // the span of this trace at the other end
  bool task = false;       // true: it links to us (a task we started); false: we link to it
  bool found = false;      // the fields below are known
  std::string name = {}, service = {};
  uint8_t status = 0;
  int64_t start = 0;
  uint64_t duration = 0;
};

// Both directions, oldest first, at most kMaxLinks. `spans` may hold several traces; only links of
// spans of `trace_id` count.
inline constexpr size_t kMaxLinks = 500;
Result<std::vector<LinkedSpan>> read_linked(const Source& source, TraceId trace_id,
                                            const std::vector<SpanRecord>& spans);

// The trace and all traces tied to it by links, directly or over others, at most
// kMaxFollowedTraces. `linked` are the direct links of the trace itself.
struct FollowedTraces {
  TraceData data;
  std::vector<LinkedSpan> linked;
};
Result<FollowedTraces> read_followed(const Source& source, TraceId trace_id);

}  // namespace nuages::query
