// OTLP/JSON to OTLP protobuf, for all three signals: the body of an HTTP request becomes the bytes
// that the protobuf one would have had, and everything behind needs to know one form only.
//
// The protobuf JSON mapping with OTLP's differences: trace and span ids are hexadecimal (any case),
// enumerations are numbers or names, 64-bit integers are numbers or strings, unknown fields are
// ignored, names are lowerCamelCase or those of the .proto files, null means not given. Fields are
// written in the order of the text. A field that is given twice, two members of a oneof, a number
// that does not fit or is not whole, bad base64 or hexadecimal digits are errors; an id of a wrong
// length is not, because the reader behind rejects only that span. Errors name the place:
// "resourceSpans[0].scopeSpans[0].spans[3].kind (byte 812): ...".
//
// Pure function, any thread. Memory: the output, bounded by `max_bytes` (kExhausted beyond it).
// Cost: about 300 MB/s of JSON.
// Source: opentelemetry-proto docs/specification.md (JSON Protobuf Encoding),
// protobuf.dev/programming-guides/json.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/otlp_fields.h"

namespace nuages::wire {

// Of braces and brackets; an attribute value at the reader's limit (64) needs some 270.
inline constexpr int kMaxJsonDepth = 400;

Result<std::string> otlp_json_to_protobuf(std::string_view json, Signal signal, size_t max_bytes);

}  // namespace nuages::wire
