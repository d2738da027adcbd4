// Checks an OTLP request of any signal by the field tables and counts its items: well-formed
// protobuf, UTF-8 texts, ids of 0, 8 or 16 bytes, bounded nesting.
//
// For logs and metrics; spans go through wire/otlp_reader.h, which also rejects single ones. Here a
// bad item makes the whole request an Error (kInvalid) that names the message. Pure function, any
// thread; one pass, nothing allocated.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "wire/otlp_fields.h"

namespace nuages::wire {

// The number of log records, data points or spans in it.
Result<uint64_t> check_export_request(std::string_view body, Signal signal);

}  // namespace nuages::wire
