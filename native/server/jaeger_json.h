// A trace as Jaeger's query API writes it: spans with tags, logs and references, processes p1, p2,
// ... and the warnings that its adjusters give.
//
// What Jaeger does to OTLP is done here from the stored span: kind, status, scope and trace state
// become tags, an event's name the field "event", arrays and maps text, parents and links
// references. Tags are sorted by key. Not done: telling apart the two sides of a span id shared by
// client and server (Zipkin), moving telemetry.sdk.* from spans to their process. Times are not
// shifted for clock skew, as Jaeger's default has it; its warning tells how much. Pure functions.
// Source: recorded answers in tests/golden/jaeger.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "query/json_writer.h"
#include "query/span_record.h"

namespace nuages::server::jaeger {

// The spans of one trace, in the order of the answer; `resources` as query::TraceData has them.
void write_trace(query::JsonWriter& json, const std::vector<const query::SpanRecord*>& spans,
                 const std::map<uint64_t, std::string>& resources);

// "internal", ...; empty for unspecified.
std::string_view kind_text(uint8_t kind);

// 64 bits where the upper half is zero, as Jaeger's model has it.
std::string trace_id_text(TraceId id);

// Nanoseconds as Go writes a duration: "1.5ms", "2m3s", "0s".
std::string duration_text(int64_t nanoseconds);

}  // namespace nuages::server::jaeger
