#include "wire/otlp_fields.h"

namespace nuages::wire {
namespace {

using enum FieldType;
using enum Presence;

extern const MessageType kAnyValue;
extern const MessageType kKeyValue;

constexpr Field kArrayFields[] = {{"values", 1, kMessage, kRepeated, &kAnyValue}};
constexpr MessageType kArrayValue{"ArrayValue", kArrayFields};
constexpr Field kListFields[] = {{"values", 1, kMessage, kRepeated, &kKeyValue}};
constexpr MessageType kKeyValueList{"KeyValueList", kListFields};

constexpr Field kAnyFields[] = {
    {"stringValue", 1, kString, kExplicit, nullptr, {}, 1},
    {"boolValue", 2, kBool, kExplicit, nullptr, {}, 1},
    {"intValue", 3, kInt64, kExplicit, nullptr, {}, 1},
    {"doubleValue", 4, kDouble, kExplicit, nullptr, {}, 1},
    {"arrayValue", 5, kMessage, kExplicit, &kArrayValue, {}, 1},
    {"kvlistValue", 6, kMessage, kExplicit, &kKeyValueList, {}, 1},
    {"bytesValue", 7, kBytes, kExplicit, nullptr, {}, 1},
};
constexpr MessageType kAnyValue{"AnyValue", kAnyFields};

constexpr Field kKeyValueFields[] = {
    {"key", 1, kString},
    {"value", 2, kMessage, kExplicit, &kAnyValue},
};
constexpr MessageType kKeyValue{"KeyValue", kKeyValueFields};

constexpr Field kEntityRefFields[] = {
    {"schemaUrl", 1, kString},
    {"type", 2, kString},
    {"idKeys", 3, kString, kRepeated},
    {"descriptionKeys", 4, kString, kRepeated},
};
constexpr MessageType kEntityRef{"EntityRef", kEntityRefFields};

constexpr Field kResourceFields[] = {
    {"attributes", 1, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 2, kUint32},
    {"entityRefs", 3, kMessage, kRepeated, &kEntityRef},
};
constexpr MessageType kResource{"Resource", kResourceFields};

constexpr Field kScopeFields[] = {
    {"name", 1, kString},
    {"version", 2, kString},
    {"attributes", 3, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 4, kUint32},
};
constexpr MessageType kScope{"InstrumentationScope", kScopeFields};

// --- traces

constexpr Field kEventFields[] = {
    {"timeUnixNano", 1, kFixed64},
    {"name", 2, kString},
    {"attributes", 3, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 4, kUint32},
};
constexpr MessageType kEvent{"Span.Event", kEventFields};

constexpr Field kLinkFields[] = {
    {"traceId", 1, kId},
    {"spanId", 2, kId},
    {"traceState", 3, kString},
    {"attributes", 4, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 5, kUint32},
    {"flags", 6, kFixed32},
};
constexpr MessageType kLink{"Span.Link", kLinkFields};

constexpr EnumValue kStatusCodes[] = {
    {"STATUS_CODE_UNSET", 0}, {"STATUS_CODE_OK", 1}, {"STATUS_CODE_ERROR", 2}};
constexpr Field kStatusFields[] = {
    {"message", 2, kString},
    {"code", 3, kEnum, kImplicit, nullptr, kStatusCodes},
};
constexpr MessageType kStatus{"Status", kStatusFields};

constexpr EnumValue kSpanKinds[] = {{"SPAN_KIND_UNSPECIFIED", 0}, {"SPAN_KIND_INTERNAL", 1},
                                    {"SPAN_KIND_SERVER", 2},      {"SPAN_KIND_CLIENT", 3},
                                    {"SPAN_KIND_PRODUCER", 4},    {"SPAN_KIND_CONSUMER", 5}};
constexpr Field kSpanFields[] = {
    {"traceId", 1, kId},
    {"spanId", 2, kId},
    {"traceState", 3, kString},
    {"parentSpanId", 4, kId},
    {"name", 5, kString},
    {"kind", 6, kEnum, kImplicit, nullptr, kSpanKinds},
    {"startTimeUnixNano", 7, kFixed64},
    {"endTimeUnixNano", 8, kFixed64},
    {"attributes", 9, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 10, kUint32},
    {"events", 11, kMessage, kRepeated, &kEvent},
    {"droppedEventsCount", 12, kUint32},
    {"links", 13, kMessage, kRepeated, &kLink},
    {"droppedLinksCount", 14, kUint32},
    {"status", 15, kMessage, kExplicit, &kStatus},
    {"flags", 16, kFixed32},
};
constexpr MessageType kSpan{"Span", kSpanFields, true};

constexpr Field kScopeSpansFields[] = {
    {"scope", 1, kMessage, kExplicit, &kScope},
    {"spans", 2, kMessage, kRepeated, &kSpan},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kScopeSpans{"ScopeSpans", kScopeSpansFields};
constexpr Field kResourceSpansFields[] = {
    {"resource", 1, kMessage, kExplicit, &kResource},
    {"scopeSpans", 2, kMessage, kRepeated, &kScopeSpans},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kResourceSpans{"ResourceSpans", kResourceSpansFields};
constexpr Field kTracesFields[] = {{"resourceSpans", 1, kMessage, kRepeated, &kResourceSpans}};

// --- logs

constexpr EnumValue kSeverities[] = {
    {"SEVERITY_NUMBER_UNSPECIFIED", 0}, {"SEVERITY_NUMBER_TRACE", 1},
    {"SEVERITY_NUMBER_TRACE2", 2},      {"SEVERITY_NUMBER_TRACE3", 3},
    {"SEVERITY_NUMBER_TRACE4", 4},      {"SEVERITY_NUMBER_DEBUG", 5},
    {"SEVERITY_NUMBER_DEBUG2", 6},      {"SEVERITY_NUMBER_DEBUG3", 7},
    {"SEVERITY_NUMBER_DEBUG4", 8},      {"SEVERITY_NUMBER_INFO", 9},
    {"SEVERITY_NUMBER_INFO2", 10},      {"SEVERITY_NUMBER_INFO3", 11},
    {"SEVERITY_NUMBER_INFO4", 12},      {"SEVERITY_NUMBER_WARN", 13},
    {"SEVERITY_NUMBER_WARN2", 14},      {"SEVERITY_NUMBER_WARN3", 15},
    {"SEVERITY_NUMBER_WARN4", 16},      {"SEVERITY_NUMBER_ERROR", 17},
    {"SEVERITY_NUMBER_ERROR2", 18},     {"SEVERITY_NUMBER_ERROR3", 19},
    {"SEVERITY_NUMBER_ERROR4", 20},     {"SEVERITY_NUMBER_FATAL", 21},
    {"SEVERITY_NUMBER_FATAL2", 22},     {"SEVERITY_NUMBER_FATAL3", 23},
    {"SEVERITY_NUMBER_FATAL4", 24}};
constexpr Field kLogRecordFields[] = {
    {"timeUnixNano", 1, kFixed64},
    {"severityNumber", 2, kEnum, kImplicit, nullptr, kSeverities},
    {"severityText", 3, kString},
    {"body", 5, kMessage, kExplicit, &kAnyValue},
    {"attributes", 6, kMessage, kRepeated, &kKeyValue},
    {"droppedAttributesCount", 7, kUint32},
    {"flags", 8, kFixed32},
    {"traceId", 9, kId},
    {"spanId", 10, kId},
    {"observedTimeUnixNano", 11, kFixed64},
    {"eventName", 12, kString},
};
constexpr MessageType kLogRecord{"LogRecord", kLogRecordFields, true};
constexpr Field kScopeLogsFields[] = {
    {"scope", 1, kMessage, kExplicit, &kScope},
    {"logRecords", 2, kMessage, kRepeated, &kLogRecord},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kScopeLogs{"ScopeLogs", kScopeLogsFields};
constexpr Field kResourceLogsFields[] = {
    {"resource", 1, kMessage, kExplicit, &kResource},
    {"scopeLogs", 2, kMessage, kRepeated, &kScopeLogs},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kResourceLogs{"ResourceLogs", kResourceLogsFields};
constexpr Field kLogsFields[] = {{"resourceLogs", 1, kMessage, kRepeated, &kResourceLogs}};

// --- metrics

constexpr Field kExemplarFields[] = {
    {"timeUnixNano", 2, kFixed64},
    {"asDouble", 3, kDouble, kExplicit, nullptr, {}, 1},
    {"spanId", 4, kId},
    {"traceId", 5, kId},
    {"asInt", 6, kSfixed64, kExplicit, nullptr, {}, 1},
    {"filteredAttributes", 7, kMessage, kRepeated, &kKeyValue},
};
constexpr MessageType kExemplar{"Exemplar", kExemplarFields};

constexpr Field kNumberPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"asDouble", 4, kDouble, kExplicit, nullptr, {}, 1},
    {"exemplars", 5, kMessage, kRepeated, &kExemplar},
    {"asInt", 6, kSfixed64, kExplicit, nullptr, {}, 1},
    {"attributes", 7, kMessage, kRepeated, &kKeyValue},
    {"flags", 8, kUint32},
};
constexpr MessageType kNumberPoint{"NumberDataPoint", kNumberPointFields, true};

constexpr Field kHistogramPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble, kExplicit},
    {"bucketCounts", 6, kFixed64, kRepeated},
    {"explicitBounds", 7, kDouble, kRepeated},
    {"exemplars", 8, kMessage, kRepeated, &kExemplar},
    {"attributes", 9, kMessage, kRepeated, &kKeyValue},
    {"flags", 10, kUint32},
    {"min", 11, kDouble, kExplicit},
    {"max", 12, kDouble, kExplicit},
};
constexpr MessageType kHistogramPoint{"HistogramDataPoint", kHistogramPointFields, true};

constexpr Field kBucketsFields[] = {
    {"offset", 1, kSint32},
    {"bucketCounts", 2, kUint64, kRepeated},
};
constexpr MessageType kBuckets{"Buckets", kBucketsFields};

constexpr Field kExponentialPointFields[] = {
    {"attributes", 1, kMessage, kRepeated, &kKeyValue},
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble, kExplicit},
    {"scale", 6, kSint32},
    {"zeroCount", 7, kFixed64},
    {"positive", 8, kMessage, kExplicit, &kBuckets},
    {"negative", 9, kMessage, kExplicit, &kBuckets},
    {"flags", 10, kUint32},
    {"exemplars", 11, kMessage, kRepeated, &kExemplar},
    {"min", 12, kDouble, kExplicit},
    {"max", 13, kDouble, kExplicit},
    {"zeroThreshold", 14, kDouble},
};
constexpr MessageType kExponentialPoint{"ExponentialHistogramDataPoint", kExponentialPointFields,
                                        true};

constexpr Field kQuantileFields[] = {{"quantile", 1, kDouble}, {"value", 2, kDouble}};
constexpr MessageType kQuantile{"ValueAtQuantile", kQuantileFields};
constexpr Field kSummaryPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble},
    {"quantileValues", 6, kMessage, kRepeated, &kQuantile},
    {"attributes", 7, kMessage, kRepeated, &kKeyValue},
    {"flags", 8, kUint32},
};
constexpr MessageType kSummaryPoint{"SummaryDataPoint", kSummaryPointFields, true};

constexpr EnumValue kTemporalities[] = {{"AGGREGATION_TEMPORALITY_UNSPECIFIED", 0},
                                        {"AGGREGATION_TEMPORALITY_DELTA", 1},
                                        {"AGGREGATION_TEMPORALITY_CUMULATIVE", 2}};
constexpr Field kGaugeFields[] = {{"dataPoints", 1, kMessage, kRepeated, &kNumberPoint}};
constexpr MessageType kGauge{"Gauge", kGaugeFields};
constexpr Field kSumFields[] = {
    {"dataPoints", 1, kMessage, kRepeated, &kNumberPoint},
    {"aggregationTemporality", 2, kEnum, kImplicit, nullptr, kTemporalities},
    {"isMonotonic", 3, kBool},
};
constexpr MessageType kSum{"Sum", kSumFields};
constexpr Field kHistogramFields[] = {
    {"dataPoints", 1, kMessage, kRepeated, &kHistogramPoint},
    {"aggregationTemporality", 2, kEnum, kImplicit, nullptr, kTemporalities},
};
constexpr MessageType kHistogram{"Histogram", kHistogramFields};
constexpr Field kExponentialFields[] = {
    {"dataPoints", 1, kMessage, kRepeated, &kExponentialPoint},
    {"aggregationTemporality", 2, kEnum, kImplicit, nullptr, kTemporalities},
};
constexpr MessageType kExponential{"ExponentialHistogram", kExponentialFields};
constexpr Field kSummaryFields[] = {{"dataPoints", 1, kMessage, kRepeated, &kSummaryPoint}};
constexpr MessageType kSummary{"Summary", kSummaryFields};

constexpr Field kMetricFields[] = {
    {"name", 1, kString},
    {"description", 2, kString},
    {"unit", 3, kString},
    {"gauge", 5, kMessage, kExplicit, &kGauge, {}, 1},
    {"sum", 7, kMessage, kExplicit, &kSum, {}, 1},
    {"histogram", 9, kMessage, kExplicit, &kHistogram, {}, 1},
    {"exponentialHistogram", 10, kMessage, kExplicit, &kExponential, {}, 1},
    {"summary", 11, kMessage, kExplicit, &kSummary, {}, 1},
    {"metadata", 12, kMessage, kRepeated, &kKeyValue},
};
constexpr MessageType kMetric{"Metric", kMetricFields};
constexpr Field kScopeMetricsFields[] = {
    {"scope", 1, kMessage, kExplicit, &kScope},
    {"metrics", 2, kMessage, kRepeated, &kMetric},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kScopeMetrics{"ScopeMetrics", kScopeMetricsFields};
constexpr Field kResourceMetricsFields[] = {
    {"resource", 1, kMessage, kExplicit, &kResource},
    {"scopeMetrics", 2, kMessage, kRepeated, &kScopeMetrics},
    {"schemaUrl", 3, kString},
};
constexpr MessageType kResourceMetrics{"ResourceMetrics", kResourceMetricsFields};
constexpr Field kMetricsFields[] = {{"resourceMetrics", 1, kMessage, kRepeated, &kResourceMetrics}};

constexpr MessageType kRequests[kSignals] = {
    {"ExportTraceServiceRequest", kTracesFields},
    {"ExportLogsServiceRequest", kLogsFields},
    {"ExportMetricsServiceRequest", kMetricsFields},
};

// Whether `name`, as the .proto file writes it (trace_id), is the JSON name `camel` (traceId).
bool same_name(std::string_view name, std::string_view camel) {
  size_t at = 0;
  for (size_t i = 0; i < name.size(); ++i, ++at) {
    char c = name[i];
    if (c == '_') {
      if (++i == name.size()) return false;
      c = name[i];
      if (c < 'a' || c > 'z') return false;
      c = static_cast<char>(c - 'a' + 'A');
    } else if (c >= 'A' && c <= 'Z') {
      return false;  // half of each is neither name
    }
    if (at == camel.size() || camel[at] != c) return false;
  }
  return at == camel.size();
}

}  // namespace

std::string_view signal_name(Signal signal) {
  constexpr std::string_view kNames[kSignals] = {"traces", "logs", "metrics"};
  return kNames[static_cast<size_t>(signal)];
}

std::string_view item_name(Signal signal) {
  constexpr std::string_view kNames[kSignals] = {"span", "log record", "data point"};
  return kNames[static_cast<size_t>(signal)];
}

const MessageType& request_type(Signal signal) { return kRequests[static_cast<size_t>(signal)]; }

const Field* find_field(const MessageType& type, uint32_t number) {
  for (const Field& field : type.fields) {
    if (field.number == number) return &field;
  }
  return nullptr;
}

const Field* find_field(const MessageType& type, std::string_view name) {
  for (const Field& field : type.fields) {
    if (field.name == name || same_name(name, field.name)) return &field;
  }
  return nullptr;
}

}  // namespace nuages::wire
