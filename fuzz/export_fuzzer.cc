// export/: the queue and outage memory of a dead process, any bytes of it changed, as an adopter
// reads them (trace/queue_recovery.h, export/outage_buffer.h).
//
// The input is a list of changes to a sound image: 2 bytes of place, 1 of value. Its first byte
// says whether the slots' sums are repaired afterwards, so that checks behind them are reached too.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "export/batch_encoder.h"
#include "export/mask_profile.h"
#include "export/outage_buffer.h"
#include "trace/queue.h"
#include "trace/queue_layout.h"
#include "trace/queue_recovery.h"
#include "trace/record_check.h"
#include "trace/scope.h"
#include "trace/span.h"
#include "wire/otlp_reader.h"

namespace {

using namespace nuages;  // NOLINT(google-build-using-namespace)

void require(bool holds) {
  if (!holds) std::abort();
}

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<char, Free>;

Memory allocate(size_t bytes) {
  Memory memory(static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
  std::memset(memory.get(), 0, bytes);
  return memory;
}

struct Sink : trace::RecordSink {
  explicit Sink(trace::RecordQueue to) : queue(to) {}
  void publish(std::string_view record) noexcept override { queue.push(record); }
  trace::RecordQueue queue;
};

constexpr size_t kCapacity = 4096;

trace::QueueOptions options() {
  trace::QueueOptions options;
  options.ring_bytes = 4096;
  options.description_bytes = 1024;
  return options;
}

struct Image {
  size_t bytes = trace::RecordQueue::required_bytes(options());
  Memory memory = allocate(bytes);
  size_t outage_bytes = exporter::OutageBuffer::required_bytes(kCapacity);
  Memory outage_memory = allocate(outage_bytes);

  Image() {
    Sink sink(trace::RecordQueue::create(memory.get(), options()));
    const trace::AttributeView service[] = {{"service.name", trace::text_value("shop")}};
    sink.queue.set_resource(trace::describe({}, service));
    sink.queue.add_scope(trace::describe({}, {}));
    sink.queue.add_scope(trace::describe({"library", "1", "url"}, service));
    for (int i = 0; i < 7; ++i) {
      const auto span = trace::Span::start({.name = "name", .scope = 1});
      span->set_attribute("mail", trace::text_value("jane@example.com"));
      span->set_attribute("flag", trace::bool_value(true));
      span->add_event("event", 0, service);
      span->end();
      span->publish(sink);
      if (i == 3) sink.queue.pop(2);
    }
    auto outage = exporter::OutageBuffer::create(outage_memory.get(), kCapacity);
    for (int i = 0; i < 9; ++i) {
      outage.push({std::string(700, 'x'), 3, 4000});
      if (i % 2 != 0) outage.pop();
    }
  }
};

struct Ignore {
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span&) {}
};

void repair_sums(char* ring, size_t bytes) {
  for (size_t at = 0; at + 8 <= bytes; at += 8) {
    auto& word = *reinterpret_cast<uint64_t*>(ring + at);
    const uint64_t size = word & trace::slots::kSizeMask;
    if ((word & trace::slots::kTypeMask) != trace::slots::kRecord || size > bytes - at - 8)
      continue;
    word = trace::slots::record_word({ring + at + 8, size});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Image* const sound = new Image;
  if (size == 0) return 0;
  const Memory memory = allocate(sound->bytes);
  const Memory outage_memory = allocate(sound->outage_bytes);
  std::memcpy(memory.get(), sound->memory.get(), sound->bytes);
  std::memcpy(outage_memory.get(), sound->outage_memory.get(), sound->outage_bytes);
  for (size_t i = 1; i + 3 <= size; i += 3) {
    const size_t place = data[i] | data[i + 1] << 8;
    memory.get()[place % sound->bytes] = static_cast<char>(data[i + 2]);
    outage_memory.get()[place % sound->outage_bytes] = static_cast<char>(data[i + 2]);
  }
  const size_t ring = options().ring_bytes;
  if (data[0] % 2 == 0) repair_sums(memory.get() + sound->bytes - ring, ring);

  if (auto image = trace::QueueImage::open(memory.get(), sound->bytes)) {
    for (const auto part : image->live()) require(part.offset + part.size <= sound->bytes);
    const exporter::MaskProfile profile(31);
    exporter::Filters filters = exporter::filters_of(profile.policy());
    exporter::BatchEncoder encoder(std::move(filters.mask), std::move(filters.sql),
                                   std::move(filters.attribute));
    uint64_t last = 0;
    for (const auto& found : image->scan()) {
      require(trace::valid_record(found.record, trace::RecordQueue::kMaxScopes));
      require(found.end > last && found.end <= image->queue().head());
      last = found.end;
      Ignore ignore;
      const std::string_view body = encoder.encode(image->queue(), {&found.record, 1});
      (void)wire::read_export_trace_request(body, {}, ignore);
    }
  }
  if (auto outage = exporter::OutageBuffer::attach(outage_memory.get(), sound->outage_bytes)) {
    size_t batches = 0;
    while (const auto batch = outage->front()) {
      require(batch->packed.data() >= outage_memory.get());
      require(batch->packed.data() + batch->packed.size() <=
              outage_memory.get() + sound->outage_bytes);
      volatile unsigned char touched = 0;
      for (const char each : batch->packed) touched = touched + static_cast<unsigned char>(each);
      outage->pop();
      require(++batches <= kCapacity);
    }
  }
  return 0;
}
