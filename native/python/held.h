// A sink that holds records of an unsampled trace until its end (trace/tail.h).
#pragma once

#include <string_view>

#include "trace/local_root.h"

namespace nuages::python {

class Holder : public trace::RecordSink {
 public:
  explicit Holder(trace::LocalRoot& root) : root_(root) {}
  void publish(std::string_view record) noexcept override { root_.hold(record); }

 private:
  trace::LocalRoot& root_;
};

}  // namespace nuages::python
