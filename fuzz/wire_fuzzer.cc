// wire/: headers from outside. The first byte chooses: traceparent, tracestate, a gRPC status
// detail with RetryInfo, base64 or percent-encoding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wire/grpc_frame.h"
#include "wire/traceparent.h"

namespace {

using namespace nuages;  // NOLINT(google-build-using-namespace)

void require(bool holds) {
  if (!holds) std::abort();
}

// What is read is written back as it came; the identifiers are never zero.
void traceparent(std::string_view text) {
  const auto read = wire::parse_traceparent(text);
  if (!read) return;
  require(read->trace_id.valid() && read->span_id != 0);
  const std::string written = wire::format_traceparent(*read);
  require(written.size() == wire::kTraceParentSize);
  require(wire::parse_traceparent(written) == read);
  require(text.find(written.substr(3)) != std::string_view::npos);
}

// A kept tracestate has 1 to 32 members and reads as itself.
void tracestate(std::string_view text) {
  const std::string kept = wire::parse_tracestate(text);
  require(kept.size() <= text.size());
  require(wire::parse_tracestate(kept) == kept);
  size_t members = kept.empty() ? 0 : 1;
  for (const char c : kept) members += c == ',' ? 1 : 0;
  require(members <= 32);
  for (const char c : kept) require(c >= 0x20 && c <= 0x7e);
}

void encodings(std::string_view text) {
  require(wire::percent_decode(wire::percent_encode(text)) == text);
  (void)wire::percent_decode(text);
  if (const auto bytes = wire::base64_decode(text)) require(bytes->size() <= text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      traceparent(text);
      break;
    case 1:
      tracestate(text);
      break;
    case 2:
      (void)wire::retry_delay_ms(text);
      if (const auto bytes = wire::base64_decode(text)) (void)wire::retry_delay_ms(*bytes);
      break;
    default:
      encodings(text);
      break;
  }
  return 0;
}
