// wire/otlp_reader and store/block_builder: any bytes as an ExportTraceServiceRequest.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "store/block_builder.h"
#include "wire/otlp_reader.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

size_t count_values(const nuages::wire::Value& value, int depth) {
  require(depth <= 70);  // the reader bounds it
  size_t count = 1;
  if (value.type == nuages::wire::ValueType::kArray) {
    nuages::wire::read_array(value.text, [&](const nuages::wire::Value& element) {
      count += count_values(element, depth + 1);
    });
  } else if (value.type == nuages::wire::ValueType::kKeyValueList) {
    nuages::wire::read_key_values(value.text, [&](const nuages::wire::KeyValue& entry) {
      require(nuages::wire::valid_utf8(entry.key));
      count += count_values(entry.value, depth + 1);
    });
  } else if (value.type == nuages::wire::ValueType::kString) {
    require(nuages::wire::valid_utf8(value.text));
  }
  return count;
}

// Checks what the reader promises about an accepted span.
struct Checker {
  void on_resource(const nuages::wire::Resource& resource) { check(resource.attributes); }
  void on_scope(const nuages::wire::Scope& scope) { check(scope.attributes); }
  void on_span(const nuages::wire::Span& span) {
    ++spans;
    require(span.trace_id.valid() && span.span_id != 0);
    require(nuages::wire::valid_utf8(span.name) && nuages::wire::valid_utf8(span.status_message));
    check(span.attributes);
    require(span.events.size() <= 16 && span.links.size() <= 16);
    for (const auto& event : span.events) check(event.attributes);
    for (const auto& link : span.links) {
      require(link.trace_id.valid() && link.span_id != 0);
      check(link.attributes);
    }
  }
  void check(const std::vector<nuages::wire::KeyValue>& attributes) {
    require(attributes.size() <= 16);
    for (const auto& entry : attributes) {
      require(nuages::wire::valid_utf8(entry.key));
      count_values(entry.value, 0);
    }
  }
  uint64_t spans = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const nuages::wire::Limits limits{
      .spans_per_request = 100, .attributes = 16, .events = 16, .links = 16, .depth = 64};
  Checker checker;
  const auto read = nuages::wire::read_export_trace_request(body, limits, checker);

  nuages::store::SpanBlock block;
  nuages::store::BlockBuilder builder(block);
  builder.set_receive_time(1'700'000'000'000'000'000);
  const auto again = nuages::wire::read_export_trace_request(body, limits, builder);
  require(read.ok() == again.ok());
  require(block.rows() == checker.spans);
  if (!read.ok()) return 0;
  require(read->accepted == checker.spans && read->accepted == again->accepted);
  require((read->rejected == 0) == read->message().empty());
  require(block.sorted_rows().size() == block.rows());
  return 0;
}
