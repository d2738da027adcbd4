// Typed access to the rows that store::Store::query returns as JSONCompact.
//
// A Rows owns the parsed answer; columns are read by position, in the order of the SELECT. A value
// of another type than asked for reads as its zero, because the SELECT beside the reader fixes the
// types. Including this header costs Boost.JSON's compile time, so only .cc files do.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace nuages::query {

class Row {
 public:
  explicit Row(const boost::json::array& columns) : columns_(&columns) {}

  std::string_view text(size_t i) const {
    const auto* string = (*columns_)[i].if_string();
    return string != nullptr ? std::string_view(string->data(), string->size())
                             : std::string_view();
  }
  // Two's complement either way: the parser keeps what exceeds int64 as uint64.
  int64_t integer(size_t i) const {
    const auto& value = (*columns_)[i];
    if (const auto* number = value.if_int64()) return *number;
    if (const auto* number = value.if_uint64()) return static_cast<int64_t>(*number);
    return 0;
  }
  uint64_t natural(size_t i) const { return static_cast<uint64_t>(integer(i)); }
  const boost::json::array* array(size_t i) const { return (*columns_)[i].if_array(); }

 private:
  const boost::json::array* columns_;
};

class Rows {
 public:
  static Result<Rows> select(store::Store& store, std::string_view sql,
                             const store::Parameters& parameters) {
    auto answer = store.query(sql, parameters);
    if (!answer) return answer.error();
    boost::system::error_code failure;
    Rows rows;
    rows.answer_ = boost::json::parse(*answer, failure);
    const auto* object = failure ? nullptr : rows.answer_.if_object();
    const auto* data = object != nullptr ? object->if_contains("data") : nullptr;
    rows.data_ = data != nullptr ? data->if_array() : nullptr;
    if (rows.data_ == nullptr) {
      return Error{ErrorCode::kInternal, "the store's answer is not JSONCompact"};
    }
    return rows;
  }

  size_t size() const { return data_->size(); }
  Row operator[](size_t i) const { return Row((*data_)[i].get_array()); }

 private:
  boost::json::value answer_;
  const boost::json::array* data_ = nullptr;  // into answer_, which moves without moving its nodes
};

// "['a','b']": the text form of an Array(String) parameter.
template <typename Container>
std::string array_parameter(const Container& values) {
  std::string out = "[";
  for (const auto& value : values) {
    if (out.size() > 1) out += ',';
    out += '\'';
    for (const char c : value) {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
    out += '\'';
  }
  return out + "]";
}

// The rows of nuages.spans that belong to the traces of id_array's parameter `ids`. The index's key
// is used for a subquery or constants, not for an array that a lambda makes.
inline constexpr const char* kOfTraces =
    " WHERE (toStartOfMinute(ts), trace_id) IN (SELECT minute, trace_id FROM nuages.trace_ix"
    " WHERE trace_id IN (SELECT toFixedString(unhex(arrayJoin({ids:Array(String)})), 16)))";

inline std::string id_array(const std::vector<TraceId>& ids) {
  std::vector<std::string> hex;
  hex.reserve(ids.size());
  for (const TraceId id : ids) hex.push_back(to_hex(id));
  return array_parameter(hex);
}

}  // namespace nuages::query
