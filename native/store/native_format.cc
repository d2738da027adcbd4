#include "store/native_format.h"

#include <utility>

namespace nuages::store {
namespace {

// LowCardinality: the dictionary travels with each block as "additional keys" and replaces what a
// reader had before. The low byte tells the width of the indexes: 0, 1, 2 for 8, 16, 32 bits.
constexpr uint64_t kKeysVersion = 1;
constexpr uint64_t kHasAdditionalKeys = 1 << 9;
constexpr uint64_t kUpdatesDictionary = 1 << 10;
constexpr size_t kPiece = 1 << 20;

}  // namespace

NativeWriter::NativeWriter(size_t columns, const std::vector<uint32_t>& order, const RowSink& sink)
    : order_(&order), sink_(&sink) {
  append_varint(columns);
  append_varint(order.size());
}

void NativeWriter::finish() {
  (*sink_)(out_);
  out_.clear();
}

void NativeWriter::head(std::string_view name, std::string_view type) {
  if (out_.size() >= kPiece) finish();
  append_string(name);
  append_string(type);
}

void NativeWriter::append_varint(uint64_t value) {
  while (value >= 0x80) {
    out_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out_.push_back(static_cast<char>(value));
}

void NativeWriter::append_string(std::string_view value) {
  append_varint(value.size());
  out_.append(value);
}

void NativeWriter::append_id(TraceId id) {
  char bytes[16];
  trace_id_to_bytes(id, bytes);
  out_.append(bytes, sizeof bytes);
}

void NativeWriter::ids(std::string_view name, const std::vector<TraceId>& values) {
  head(name, "FixedString(16)");
  char* out = grow(order_->size() * sizeof(TraceId));
  for (const uint32_t row : *order_) {
    trace_id_to_bytes(values[row], out);
    out += sizeof(TraceId);
  }
}

void NativeWriter::ids_in_order(std::string_view name, const std::vector<TraceId>& values) {
  head(name, "FixedString(16)");
  for (const TraceId& id : values) append_id(id);
}

void NativeWriter::strings(std::string_view name, const StringColumn& values) {
  head(name, "String");
  if (values.empty()) {  // as often as not nobody set it
    grow(order_->size());
    return;
  }
  for (const uint32_t row : *order_) append_string(values.at(row));
}

template <typename Index>
void NativeWriter::append_indexes(const DictionaryColumn& values,
                                  const std::vector<uint32_t>* order) {
  const size_t rows = order == nullptr ? values.size() : order->size();
  char* out = grow(rows * sizeof(Index));
  for (size_t i = 0; i < rows; ++i) {
    const auto index = static_cast<Index>(values.code(order == nullptr ? i : (*order)[i]));
    std::memcpy(out, &index, sizeof index);
    out += sizeof index;
  }
}

void NativeWriter::append_all_indexes(const DictionaryColumn& values,
                                      const std::vector<uint32_t>* order) {
  const size_t keys = values.values().size();
  const uint64_t width = keys <= 0x100 ? 0 : keys <= 0x10000 ? 1 : 2;
  append_integer(kKeysVersion);
  append_integer(kHasAdditionalKeys | kUpdatesDictionary | width);
  append_integer(static_cast<uint64_t>(keys));
  for (const auto& key : values.values()) append_string(key);
  append_integer(static_cast<uint64_t>(order == nullptr ? values.size() : order->size()));
  switch (width) {
    case 0:
      return append_indexes<uint8_t>(values, order);
    case 1:
      return append_indexes<uint16_t>(values, order);
    default:
      return append_indexes<uint32_t>(values, order);
  }
}

void NativeWriter::dictionary(std::string_view name, const DictionaryColumn& values) {
  head(name, "LowCardinality(String)");
  append_all_indexes(values, order_);
}

void NativeWriter::dictionary_in_order(std::string_view name, const DictionaryColumn& values) {
  head(name, "LowCardinality(String)");
  append_all_indexes(values, nullptr);
}

void NativeWriter::append_array_ends(const std::vector<uint64_t>& ends) {
  uint64_t end = 0;
  for (const uint32_t row : *order_) {
    end += ends[row] - (row == 0 ? 0 : ends[row - 1]);
    append_integer(end);
  }
}

template <typename Element, typename Append>
void NativeWriter::append_elements(const std::vector<uint64_t>& ends,
                                   const std::vector<Element>& elements, Append append) {
  for (const uint32_t row : *order_) {
    for (uint64_t i = row == 0 ? 0 : ends[row - 1]; i < ends[row]; ++i) append(elements[i]);
  }
}

void NativeWriter::id_arrays(std::string_view name, const std::vector<uint64_t>& ends,
                             const std::vector<TraceId>& elements) {
  head(name, "Array(FixedString(16))");
  append_array_ends(ends);
  append_elements(ends, elements, [this](TraceId id) { append_id(id); });
}

void NativeWriter::integer_arrays(std::string_view name, const std::vector<uint64_t>& ends,
                                  const std::vector<uint64_t>& elements) {
  head(name, "Array(UInt64)");
  append_array_ends(ends);
  append_elements(ends, elements, [this](uint64_t value) { append_integer(value); });
}

}  // namespace nuages::store
