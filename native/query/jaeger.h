// The questions of Jaeger's query API to the store: operations of a service, traces that hold a
// span with given properties, calls between services. The JSON is server/api_jaeger.cc's.
//
// A trace matches when one of its spans has all properties asked for, in the time asked for; the
// search goes back in steps and ends when it has enough. Calls are counted exactly up to
// kExactSpans spans in the time asked for; above it a share of the traces is counted and the counts
// are scaled up, so that memory stays bounded. Functions block on SQL; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace nuages::query {

struct Operation {
  std::string name;
  uint8_t kind = 0;  // OTLP number
};
// By name and kind, at most 10,000.
Result<std::vector<Operation>> list_operations(store::Store& store, const std::string& service,
                                               std::optional<uint8_t> kind);

struct SpanSearch {
  std::string service;
  std::string operation = {};
  int64_t start = 0, end = 0;                                        // Unix ns, inclusive
  std::optional<uint64_t> min_duration = {}, max_duration = {};      // ns, inclusive
  std::vector<std::pair<std::string, std::string>> attributes = {};  // of span, resource or event
  std::optional<bool> error = {};                                    // status error; else status ok
  uint64_t limit = 100;
};
// Latest first, by the start of the matching spans.
Result<std::vector<TraceId>> find_traces(store::Store& store, const SpanSearch& search);

struct ServiceCalls {
  std::string parent, child;
  uint64_t count = 0;
};
inline constexpr uint64_t kExactSpans = 5'000'000;
// Of spans whose parent span is in the store, between two times (Unix ns).
Result<std::vector<ServiceCalls>> count_calls(store::Store& store, int64_t start, int64_t end);

}  // namespace nuages::query
