// A finished span as one contiguous, position-independent run of bytes, and its reader.
//
// Layout: RecordHeader, then a log of entries (attributes, events and links in the order they were
// recorded), then name, status message and tracestate. No pointers, only sizes; numbers in host
// order, because a record never leaves the machine. Resource, scopes and mask profile are not here:
// the queue's header has them (trace/queue.h), `scope` is an id into its table.
//
// RecordView reads without copying and lives as long as the bytes. It trusts its input: records are
// made by Span and record_leaf only. Any thread. Ranges are single-pass and cheap to copy.
#pragma once

#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

#include "base/ids.h"
#include "trace/attribute.h"

namespace nuages::trace {

// Records of a killed process are read by its neighbours (export/orphan.h): count this up with
// every change of what the bytes mean, so that another version of the agent leaves them alone.
inline constexpr uint64_t kRecordFormat = 1;

enum RecordFlags : uint8_t {
  kParentRemote = 0x01,
  kSqlClean = 0x02,  // statement attributes hold no literals any more
};

struct RecordHeader {
  uint32_t size = 0;      // of the whole record
  uint32_t log_size = 0;  // of the entries
  uint64_t trace_high = 0;
  uint64_t trace_low = 0;
  uint64_t span_id = 0;
  uint64_t parent_id = 0;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;
  uint32_t scope = 0;
  uint8_t kind = 0;         // wire::SpanKind
  uint8_t status = 0;       // wire::StatusCode
  uint8_t trace_flags = 0;  // W3C
  uint8_t record_flags = 0;
  uint32_t attributes = 0, events = 0, links = 0;  // live entries
  uint32_t dropped_attributes = 0, dropped_events = 0, dropped_links = 0;
  uint32_t name_size = 0;
  uint32_t status_size = 0;
  uint32_t trace_state_size = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(RecordHeader) == 104);

enum class EntryType : uint8_t { kDead, kAttribute, kEvent, kLink };

// Every entry starts so; `size` covers all of it. For events and links the attributes follow the
// fixed part as nested attribute entries.
struct EntryHeader {
  uint32_t size = 0;
  EntryType type = EntryType::kDead;
  wire::ValueType value_type = wire::ValueType::kEmpty;  // attributes only
  uint16_t reserved = 0;
  uint32_t text_size = 0;  // key, event name or tracestate
};

struct EventPart {
  uint64_t time_ns = 0;
  uint32_t attributes = 0;
  uint32_t dropped_attributes = 0;
};

struct LinkPart {
  uint64_t trace_high = 0;
  uint64_t trace_low = 0;
  uint64_t span_id = 0;
  uint32_t flags = 0;  // OTLP: W3C flags, 0x100 | 0x200 when the linked context was remote
  uint32_t attributes = 0;
  uint32_t dropped_attributes = 0;
  uint32_t reserved = 0;
};

template <typename T>
T load(const char* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline AttributeView read_attribute(const char* entry) noexcept {
  const auto header = load<EntryHeader>(entry);
  const char* text = entry + sizeof header;
  AttributeView view;
  view.key = {text, header.text_size};
  const char* value = text + header.text_size;
  view.value.type = header.value_type;
  switch (header.value_type) {
    case wire::ValueType::kBool:
      view.value.boolean = *value != 0;
      break;
    case wire::ValueType::kInt:
      view.value.integer = load<int64_t>(value);
      break;
    case wire::ValueType::kDouble:
      view.value.number = load<double>(value);
      break;
    case wire::ValueType::kEmpty:
      break;
    default:
      view.value.text = {value, header.size - sizeof header - header.text_size};
  }
  return view;
}

struct EventView;
struct LinkRead;
inline EventView read_event(const char* entry) noexcept;
inline LinkRead read_link(const char* entry) noexcept;

// The entries of one type inside [begin, end): range-for over Read(entry).
template <EntryType kType, auto Read>
class EntryRange {
 public:
  class Iterator {
   public:
    using value_type = decltype(Read(static_cast<const char*>(nullptr)));
    using difference_type = std::ptrdiff_t;
    Iterator() noexcept = default;
    Iterator(const char* at, const char* end) noexcept : at_(at), end_(end) { skip(); }
    value_type operator*() const noexcept { return Read(at_); }
    std::string_view bytes() const noexcept { return {at_, load<uint32_t>(at_)}; }  // of the entry
    Iterator& operator++() noexcept {
      at_ += load<uint32_t>(at_);
      skip();
      return *this;
    }
    void operator++(int) noexcept { ++*this; }
    bool operator==(const Iterator& other) const noexcept { return at_ == other.at_; }

   private:
    void skip() noexcept {
      while (at_ != end_ && load<EntryHeader>(at_).type != kType) at_ += load<uint32_t>(at_);
    }
    const char* at_ = nullptr;
    const char* end_ = nullptr;
  };

  EntryRange() noexcept = default;
  EntryRange(const char* begin, const char* end, uint32_t count) noexcept
      : begin_(begin), end_(end), count_(count) {}
  Iterator begin() const noexcept { return {begin_, end_}; }
  Iterator end() const noexcept { return {end_, end_}; }
  uint32_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }

 private:
  const char* begin_ = nullptr;
  const char* end_ = nullptr;
  uint32_t count_ = 0;
};

using AttributeRange = EntryRange<EntryType::kAttribute, read_attribute>;

struct EventView {
  uint64_t time_ns = 0;
  std::string_view name;
  AttributeRange attributes;
  uint32_t dropped_attributes = 0;
};

struct LinkRead {
  TraceId trace_id;
  SpanId span_id = 0;
  std::string_view trace_state;
  uint32_t flags = 0;
  AttributeRange attributes;
  uint32_t dropped_attributes = 0;
};

inline EventView read_event(const char* entry) noexcept {
  const auto header = load<EntryHeader>(entry);
  const auto part = load<EventPart>(entry + sizeof header);
  const char* text = entry + sizeof header + sizeof part;
  EventView view;
  view.time_ns = part.time_ns;
  view.name = {text, header.text_size};
  view.attributes = {text + header.text_size, entry + header.size, part.attributes};
  view.dropped_attributes = part.dropped_attributes;
  return view;
}

inline LinkRead read_link(const char* entry) noexcept {
  const auto header = load<EntryHeader>(entry);
  const auto part = load<LinkPart>(entry + sizeof header);
  const char* text = entry + sizeof header + sizeof part;
  LinkRead view;
  view.trace_id = {part.trace_high, part.trace_low};
  view.span_id = part.span_id;
  view.trace_state = {text, header.text_size};
  view.flags = part.flags;
  view.attributes = {text + header.text_size, entry + header.size, part.attributes};
  view.dropped_attributes = part.dropped_attributes;
  return view;
}

using EventRange = EntryRange<EntryType::kEvent, read_event>;
using LinkRange = EntryRange<EntryType::kLink, read_link>;

class RecordView {
 public:
  RecordView() noexcept = default;
  explicit RecordView(std::string_view bytes) noexcept
      : bytes_(bytes.data()), header_(load<RecordHeader>(bytes.data())) {}

  const RecordHeader& header() const noexcept { return header_; }
  std::string_view bytes() const noexcept { return {bytes_, header_.size}; }

  TraceId trace_id() const noexcept { return {header_.trace_high, header_.trace_low}; }
  SpanId span_id() const noexcept { return header_.span_id; }
  SpanId parent_id() const noexcept { return header_.parent_id; }
  bool parent_remote() const noexcept { return (header_.record_flags & kParentRemote) != 0; }
  bool sql_clean() const noexcept { return (header_.record_flags & kSqlClean) != 0; }
  wire::SpanKind kind() const noexcept { return static_cast<wire::SpanKind>(header_.kind); }
  wire::StatusCode status() const noexcept { return static_cast<wire::StatusCode>(header_.status); }
  uint64_t start_ns() const noexcept { return header_.start_ns; }
  uint64_t end_ns() const noexcept { return header_.end_ns; }
  uint32_t scope() const noexcept { return header_.scope; }

  std::string_view name() const noexcept { return {tail(), header_.name_size}; }
  std::string_view status_message() const noexcept {
    return {tail() + header_.name_size, header_.status_size};
  }
  std::string_view trace_state() const noexcept {
    return {tail() + header_.name_size + header_.status_size, header_.trace_state_size};
  }

  AttributeRange attributes() const noexcept { return {log(), tail(), header_.attributes}; }
  EventRange events() const noexcept { return {log(), tail(), header_.events}; }
  LinkRange links() const noexcept { return {log(), tail(), header_.links}; }

 private:
  const char* log() const noexcept { return bytes_ + sizeof(RecordHeader); }
  const char* tail() const noexcept { return log() + header_.log_size; }

  const char* bytes_ = nullptr;
  RecordHeader header_;
};

}  // namespace nuages::trace
