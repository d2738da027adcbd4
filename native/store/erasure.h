// Erasure: what is to go (one trace, or all spans with an attribute), and what went.
//
// ChdbStore::erase() takes spans, everything derived from them and the side rows that nobody else
// needs out of the store, and waits until no file of theirs is left (chdb_erase.cc).
// Ingest::erase() does the same for what is not in the store: it lets the log's acknowledged data
// be inserted first, and takes matching requests out of the quarantine. erase_everywhere() is both,
// in the order that leaves no gap. Spans that arrive while it runs are not covered.
//
// An attribute is found on spans and on resources (then all spans of the resource go). Its value is
// compared as text. Values inside events, links and arrays are not looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace nuages::store {

class ChdbStore;
class Ingest;

struct EraseRequest {
  std::optional<TraceId> trace;  // or:
  std::string attribute_key, attribute_value;
};

struct EraseReport {
  uint64_t spans = 0;                 // erased from the store
  std::vector<std::string> days;      // of receipt, rebuilt: 20261125
  uint64_t quarantined_requests = 0;  // removed from wal/quarantine, with all of their spans
  uint64_t quarantined_files = 0;     // removed there because nothing in them can be read
};

// Whether a span of this ExportTraceServiceRequest is to go.
bool matches(const EraseRequest& request, std::string_view body);

// Rewrites each segment of the folder without the requests that match and without damaged bytes,
// which may hold anything; files that are no segments go. Adds to the report.
Status erase_from_quarantine(const std::string& folder, const EraseRequest& request,
                             EraseReport& report);

Result<EraseReport> erase_everywhere(ChdbStore& store, Ingest& ingest, const EraseRequest& request,
                                     uint64_t timeout_ns);

}  // namespace nuages::store
