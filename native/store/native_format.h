// Writer of ClickHouse's Native format: one block of columns, as FORMAT Native reads it.
//
// A block is: number of columns, number of rows (varints), then per column its name, its type and
// its values in binary. Integers are little-endian. LowCardinality(String) is a dictionary followed
// by indexes of the narrowest width. Rows are written in the order of `order`, so a block sorts as
// it is written and nothing is moved twice. Array columns: cumulative ends, then the elements.
//
// Source: ClickHouse's documentation of the Native format and its serialization classes (described
// here, not copied). Not thread-safe. Cost: one pass and one copy per column; what is written goes
// to the sink in pieces of some megabytes, so memory does not grow with the block.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "store/columns.h"

namespace nuages::store {

using RowSink = std::function<void(std::string_view)>;

class NativeWriter {
 public:
  // `order` holds the row numbers to write; it and the sink must outlive the writer.
  NativeWriter(size_t columns, const std::vector<uint32_t>& order, const RowSink& sink);

  template <typename Integer>
  void integers(std::string_view name, std::string_view type, const std::vector<Integer>& values) {
    head(name, type);
    char* out = grow(order_->size() * sizeof(Integer));
    for (const uint32_t row : *order_) {
      std::memcpy(out, &values[row], sizeof(Integer));
      out += sizeof(Integer);
    }
  }
  void ids(std::string_view name, const std::vector<TraceId>& values);  // FixedString(16)
  void strings(std::string_view name, const StringColumn& values);      // String
  void dictionary(std::string_view name, const DictionaryColumn& values);

  // Columns that have a value per written row already, in the order of writing.
  template <typename Integer>
  void in_order(std::string_view name, std::string_view type, const std::vector<Integer>& values) {
    head(name, type);
    out_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Integer));
  }
  void ids_in_order(std::string_view name, const std::vector<TraceId>& values);
  void dictionary_in_order(std::string_view name, const DictionaryColumn& values);

  // Arrays given as elements of all rows, one after another, and the end of each row's part.
  void id_arrays(std::string_view name, const std::vector<uint64_t>& ends,
                 const std::vector<TraceId>& elements);
  void integer_arrays(std::string_view name, const std::vector<uint64_t>& ends,
                      const std::vector<uint64_t>& elements);

  // Hands the rest to the sink.
  void finish();

 private:
  void head(std::string_view name, std::string_view type);
  void append_varint(uint64_t value);
  void append_string(std::string_view value);
  void append_id(TraceId id);
  void append_array_ends(const std::vector<uint64_t>& ends);
  template <typename Element, typename Append>
  void append_elements(const std::vector<uint64_t>& ends, const std::vector<Element>& elements,
                       Append append);
  template <typename Integer>
  void append_integer(Integer value) {
    // The engine runs on x86-64 only, so memory order is already the format's.
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename Index>
  void append_indexes(const DictionaryColumn& values, const std::vector<uint32_t>* order);
  void append_all_indexes(const DictionaryColumn& values, const std::vector<uint32_t>* order);
  char* grow(size_t bytes) {
    const size_t before = out_.size();
    out_.resize(before + bytes);
    return out_.data() + before;
  }

  const std::vector<uint32_t>* order_;
  const RowSink* sink_;
  std::string out_;
};

}  // namespace nuages::store
