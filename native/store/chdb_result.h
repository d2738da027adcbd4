// Results of the engine: ownership, and its error texts as ours. For chdb_*.cc only.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/chdb_library.h"

namespace nuages::store {

// Engine codes that a later try may not meet: memory and time limits, too many parts.
inline constexpr int kPassing[] = {159, 241, 252};

// Frees a result of the engine.
class ResultOwner {
 public:
  ResultOwner(const ChdbLibrary& library, ChdbResult* result)
      : library_(library), result_(result) {}
  ~ResultOwner() {
    if (result_ != nullptr) library_.destroy_result(result_);
  }
  ResultOwner(const ResultOwner&) = delete;
  ResultOwner& operator=(const ResultOwner&) = delete;

  ChdbResult* get() const { return result_; }
  const char* error() const {
    return result_ == nullptr ? "the engine gave no result" : library_.result_error(result_);
  }
  std::string_view text() const {
    const size_t size = library_.result_length(result_);
    return size == 0 ? std::string_view() : std::string_view(library_.result_buffer(result_), size);
  }

 private:
  const ChdbLibrary& library_;
  ChdbResult* result_;
};

// "Code: 241. DB::Exception: ..." -> our code; the text is for the log and for developers.
inline Error engine_error(std::string_view text) {
  int code = 0;
  if (const size_t at = text.find("Code: "); at != std::string_view::npos) {
    std::from_chars(text.data() + at + 6, text.data() + text.size(), code);
  }
  const bool passing =
      std::find(std::begin(kPassing), std::end(kPassing), code) != std::end(kPassing);
  return Error{passing ? ErrorCode::kExhausted : ErrorCode::kInternal,
               "the store refused a statement: " + std::string(text)};
}

}  // namespace nuages::store
