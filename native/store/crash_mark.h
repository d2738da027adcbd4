// Finds data that crashes the engine: which segment was being inserted when the process died by a
// fault of its own (SIGSEGV, SIGABRT, ...). A kill from outside and a power cut do not count.
//
// Two files in the log's folder: `trying` names the segment and how often it has crashed, `crashed`
// is made by the signal handler. install() is called once per process; the handler only makes the
// file and lets the signal go on. Not thread-safe otherwise: open() and the inserter's thread use
// it one after the other. Cost: two small file operations per segment.
#pragma once

#include <cstdint>
#include <string>

namespace nuages::store {

class CrashMark {
 public:
  explicit CrashMark(std::string folder) : folder_(std::move(folder)) {}

  // What the former process left: the number of a segment that has crashed at least twice, or 0.
  uint64_t poisoned();

  void begin(uint64_t segment);
  void end();

  static void install(const std::string& folder);

 private:
  void write() const;

  const std::string folder_;
  uint64_t segment_ = 0;
  uint64_t crashes_ = 0;
};

}  // namespace nuages::store
