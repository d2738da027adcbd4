// What the processors of a pipeline do to one request: spans that a filter drops and attributes
// that are changed. Spans that are not acceptable (wire/otlp_reader.h) are left out and counted.
//
// Requests that nothing changes are passed on as they are, without a copy. Threading: apply() may
// be called by any number of threads. Cost: validation only, about 0.25 us a span; with actions or
// filters about 1 us.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/config.h"
#include "wire/otlp_fields.h"
#include "wire/otlp_reader.h"

namespace nuages::gateway {

struct Processed {
  std::string body;
  uint64_t items = 0;       // that go on
  uint64_t dropped = 0;     // by filters
  wire::ReadStats refused;  // spans only
};

class Processing {
 public:
  Processing(wire::Signal signal, std::vector<ProcessorConfig> steps);

  // Errors: kInvalid for a malformed request, kExhausted when the memory limiter refuses.
  Result<Processed> apply(std::string body) const;
  // Whether it passes every request on as it is, so that whoever takes it may check it alone.
  bool idle() const { return !changes_ && memory_.limit_bytes == 0; }

 private:
  Result<Processed> spans(std::string body) const;
  Result<Processed> log_records(const std::string& body) const;

  const wire::Signal signal_;
  const std::vector<ProcessorConfig> steps_;  // attributes and filters
  MemoryConfig memory_;
  bool changes_ = false;
};

// The item with the actions done to its attributes, which are its field `attribute_field`.
void apply_actions(std::string_view item, uint32_t attribute_field,
                   const std::vector<AttributeAction>& actions, std::string& out);

}  // namespace nuages::gateway
