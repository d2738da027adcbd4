// RecordSink: where finished records go; export's Pipeline is the one implementation in the agent.
//
// publish() copies the record, never blocks and never fails loudly: a full sink counts a drop. Any
// thread.
#pragma once

#include <string_view>

namespace nuages::trace {

class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual void publish(std::string_view record) noexcept = 0;
};

}  // namespace nuages::trace
