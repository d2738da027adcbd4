// Calls of databases and their like as leaves: what the SQL and the Redis hooks share.
//
// The original runs without a span being current; afterwards one finished CLIENT span is recorded.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "python/hook_names.h"
#include "python/hook_state.h"
#include "trace/attribute.h"

namespace nuages::python {

// Attributes of one call in a fixed array: at most 28. Views only: what they point to must outlive
// the recording.
class LeafAttributes {
 public:
  void text(std::string_view key, std::string_view value) noexcept {
    if (!value.empty()) put(key, trace::text_value(value));
  }
  void number(std::string_view key, int64_t value) noexcept { put(key, trace::int_value(value)); }
  void text(SemconvNames names, const SemconvName& name, std::string_view value) noexcept {
    if (names != SemconvNames::kStable) text(name.old, value);
    if (names != SemconvNames::kOld) text(name.stable, value);
  }
  void number(SemconvNames names, const SemconvName& name, int64_t value) noexcept {
    if (names != SemconvNames::kStable) number(name.old, value);
    if (names != SemconvNames::kOld) number(name.stable, value);
  }
  void system(SemconvNames names, std::string_view value) noexcept {
    if (names != SemconvNames::kStable) text(kDbSystem.old, value);
    if (names != SemconvNames::kOld) text(kDbSystem.stable, stable_db_system(value));
  }
  std::span<const trace::AttributeView> views() const noexcept { return {items_.data(), size_}; }

 private:
  void put(std::string_view key, const trace::ValueView& value) noexcept {
    if (size_ < items_.size()) items_[size_++] = {key, value};
  }
  std::array<trace::AttributeView, 28> items_;
  size_t size_ = 0;
};

// The time for start and end of a call: the trace's own clock where there is a trace.
uint64_t leaf_now(const Parent& parent) noexcept;

struct LeafCall {
  PyObject* scope = nullptr;  // name of the tracer
  std::string_view name;
  std::span<const trace::AttributeView> attributes;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  PyObject* exception = nullptr;  // what the call raised, set aside by the caller
};

// Below a recording span of ours a leaf; else, or when the call raised, a span object through the
// ordinary way, so that samplers and processors see it and the exception is recorded as elsewhere.
// The statement among the attributes has no literals any more.
void record_call(Hooks& hooks, const Parent& parent, const LeafCall& call) noexcept;

}  // namespace nuages::python
