// Result<T>: a value or an Error; the one error type of the native code.
//
// An Error carries a stable code for programs and tests and one sentence for people that names the
// thing, the value and the fix. No exceptions cross folders: libraries that throw are caught where
// they are called. Not thread-safe; cheap to move.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace nuages {

enum class ErrorCode {
  kInvalid,      // the caller's input is wrong; the same input will fail again
  kNotFound,     // the thing named does not exist
  kUnavailable,  // may work later: a peer, a disk or a store is not ready
  kExhausted,    // a limit is reached: memory, disk, queue
  kDenied,       // not allowed
  kInternal,     // our mistake
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose: `return value;` and `return Error{...};` both make a result.
  // NOLINTBEGIN(google-explicit-constructor)
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  // NOLINTEND(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Status: Result without a value.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error)  // NOLINT(google-explicit-constructor)
      : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    assert(!ok_);
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace nuages
