// Where a pipeline's requests end: the store, another OTLP receiver, the log.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "wire/otlp_fields.h"

namespace nuages::gateway {

class Target {
 public:
  using Done = std::function<void(const Status&)>;
  virtual ~Target() = default;

  // Takes one checked request with at least one item. `done` is called once, on this or another
  // thread, when the request is safe: from then on its sender may forget it. Must not block.
  virtual void accept(wire::Signal signal, std::string body, uint64_t items, Done done) = 0;
};

}  // namespace nuages::gateway
