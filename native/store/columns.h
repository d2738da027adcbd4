// The two string columns of a block: values one after another, and dictionary-coded values for
// columns with few distinct ones (they go to the store as native LowCardinality).
//
// Not thread-safe: a block has one builder at a time and is read-only once sealed. Appending to
// either costs one copy of the bytes; a dictionary hit copies nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace nuages::store {

class StringColumn {
 public:
  void append(std::string_view value) {
    bytes_.append(value);
    ends_.push_back(bytes_.size());
  }

  // Builds a value in place: append to buffer(), then finish().
  std::string& buffer() { return bytes_; }
  void finish() { ends_.push_back(bytes_.size()); }

  std::string_view at(size_t row) const {
    const size_t begin = row == 0 ? 0 : ends_[row - 1];
    return std::string_view(bytes_).substr(begin, ends_[row] - begin);
  }
  size_t size() const { return ends_.size(); }
  bool empty() const { return bytes_.empty(); }  // no row has a byte
  size_t bytes() const { return bytes_.size() + ends_.size() * sizeof(uint64_t); }
  void clear() {  // keeps the memory
    bytes_.clear();
    ends_.clear();
  }

 private:
  std::string bytes_;
  std::vector<uint64_t> ends_;
};

class DictionaryColumn {
 public:
  DictionaryColumn() = default;
  // The map's keys point into values_, so a copy would point into its source. A moved deque keeps
  // its elements where they are.
  DictionaryColumn(const DictionaryColumn&) = delete;
  DictionaryColumn& operator=(const DictionaryColumn&) = delete;
  DictionaryColumn(DictionaryColumn&&) noexcept = default;
  DictionaryColumn& operator=(DictionaryColumn&&) noexcept = default;
  ~DictionaryColumn() = default;

  void append(std::string_view value) {
    // Neighbouring spans repeat most values, so the last one is worth a comparison.
    if (!index_.empty() && values_[index_.back()] == value) {
      index_.push_back(index_.back());
      return;
    }
    auto found = codes_.find(value);
    if (found == codes_.end()) {
      values_.emplace_back(value);
      dictionary_bytes_ += value.size() + kEntryOverhead;
      found = codes_.emplace(values_.back(), static_cast<uint32_t>(values_.size() - 1)).first;
    }
    index_.push_back(found->second);
  }

  std::string_view at(size_t row) const { return values_[index_[row]]; }
  uint32_t code(size_t row) const { return index_[row]; }
  const std::deque<std::string>& values() const { return values_; }
  size_t size() const { return index_.size(); }
  size_t bytes() const { return index_.size() * sizeof(uint32_t) + dictionary_bytes_; }
  void clear() {  // keeps the memory of the rows
    index_.clear();
    codes_.clear();
    values_.clear();
    dictionary_bytes_ = 0;
  }

 private:
  static constexpr size_t kEntryOverhead = 96;  // string, map node and bucket, roughly

  std::vector<uint32_t> index_;
  std::deque<std::string> values_;
  std::unordered_map<std::string_view, uint32_t> codes_;
  size_t dictionary_bytes_ = 0;
};

}  // namespace nuages::store
