// wire/otlp_json: any text as OTLP/JSON. What comes out must be good protobuf; what the second
// passage over the text makes must be the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/otlp_check.h"
#include "wire/otlp_json.h"
#include "wire/otlp_reader.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Nobody {
  void on_resource(const nuages::wire::Resource&) {}
  void on_scope(const nuages::wire::Scope&) {}
  void on_span(const nuages::wire::Span&) {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto signal = static_cast<nuages::wire::Signal>(data[0] % nuages::wire::kSignals);
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr size_t kMaxBytes = 1 << 16;
  const auto body = nuages::wire::otlp_json_to_protobuf(json, signal, kMaxBytes);
  if (!body.ok()) {
    require(!body.error().message.empty());
    require(nuages::wire::valid_utf8(body.error().message));
    return 0;
  }
  const auto checked = nuages::wire::check_export_request(*body, signal);
  if (!checked.ok()) {
    const std::string_view why = checked.error().message;
    require(why.find("wrong length") != std::string_view::npos ||
            why.find("too deeply") != std::string_view::npos);
  }
  if (signal != nuages::wire::Signal::kTraces) return 0;
  Nobody nobody;
  require(nuages::wire::read_export_trace_request(*body, {}, nobody).ok());
  return 0;
}
