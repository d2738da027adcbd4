// Span: one live span in native memory. No Python objects, all bytes copied.
//
// The buffer of a span grows as a log of entries behind room for the record's header, so ending a
// span fills the header and appends three strings: the record is ready without another copy.
// Replacing a key marks the old entry dead and appends (upstream's order: a replaced key moves to
// the end); dead entries are squeezed out when they outweigh the live ones and before reading.
// Spans and their buffers are pooled per thread, or kept by a caller that starts them again with
// begin(): a typical span allocates nothing.
//
// Threading: meant for one thread at a time, made safe for any by a per-span spin lock, which a
// caller that holds a lock of its own around all calls (the GIL) does without. Fork: a
// span started in the parent is read-only in a child (usable as a parent there), end() does
// nothing. Lifetime: intrusive count; a span keeps its LocalRoot alive.
// Source: OpenTelemetry trace SDK specification; limits and status as opentelemetry-python.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "trace/attribute.h"
#include "trace/id_generator.h"
#include "trace/limits.h"
#include "trace/local_root.h"
#include "trace/record.h"
#include "trace/ref.h"
#include "trace/sink.h"
#include "trace/span_context.h"

namespace nuages::trace {

class Span;
using SpanRef = Ref<Span>;

struct LinkView {
  TraceId trace_id = {};
  SpanId span_id = 0;
  uint8_t trace_flags = 0;
  bool remote = false;
  std::string_view trace_state = {};
  std::span<const AttributeView> attributes = {};
  uint32_t dropped_attributes = 0;  // refused before they got here
};

struct StartOptions {
  std::string_view name = {};
  wire::SpanKind kind = wire::SpanKind::kInternal;
  Span* local_parent = nullptr;             // wins over `parent`; shares its LocalRoot
  const SpanContext* parent = nullptr;      // remote or foreign; null or invalid: a root span
  uint32_t scope = 0;                       // intern_scope
  uint64_t start_ns = 0;                    // 0: now
  bool sampled = true;                      // false: recorded only, not to be published
  const TraceState* trace_state = nullptr;  // the sampler's; null: the parent's
  TraceId trace_id = {};                    // for roots; zero: a new random one
  bool random_trace_id = false;             // with a given trace_id: sets its random flag
  SpanId span_id = 0;                       // zero: a new random one
  std::span<const AttributeView> attributes = {};
  uint32_t dropped_attributes = 0;
  std::span<const LinkView> links = {};
  const SpanLimits* limits = nullptr;  // copied; null: the defaults
  bool serialised = false;   // all calls, of all threads, come under one lock of the caller
  uint64_t duration_ns = 0;  // of a leaf that is over already: for folding
};

class Span : public RefCounted<Span> {
 public:
  // Null when the local trace already has LocalRoot::kMaxSpans spans (folded there) or memory is
  // out: the caller goes on with a non-recording span that carries the parent's context.
  static SpanRef start(const StartOptions& options) noexcept;

  // The same for a caller with a pool of its own: make() gives an idle span (null: out of memory),
  // begin() starts an idle one and leaves it idle when it answers false, make_idle() takes back one
  // that nobody else refers to (only_reference()).
  static Span* make() noexcept;
  bool begin(const StartOptions& options) noexcept;
  void make_idle() noexcept;

  // Immutable after start: no lock needed.
  const SpanContext& context() const noexcept { return context_; }
  SpanId parent_id() const noexcept { return parent_id_; }
  bool parent_remote() const noexcept { return parent_remote_; }
  SpanContext parent() const;  // of a root span: not valid
  const Ref<LocalRoot>& local_root() const noexcept { return root_; }
  bool is_local_root() const noexcept { return is_local_root_; }
  wire::SpanKind kind() const noexcept { return kind_; }
  uint32_t scope() const noexcept { return scope_; }
  uint64_t start_ns() const noexcept { return start_ns_; }
  const SpanLimits& limits() const noexcept { return limits_; }

  // Changes. Each returns false and does nothing when the span has ended or belongs to the parent
  // process. Empty keys are refused.
  bool set_attribute(std::string_view key, const ValueView& value) noexcept;
  // The usual case of it in line (trace/span_fast.h); the key is not empty. False: call the former.
  bool add_text(std::string_view key, std::string_view text) noexcept;
  template <typename T>  // int64_t, double; bool as char
  bool add_number(std::string_view key, wire::ValueType type, T number) noexcept;
  // `dropped`: attributes that the caller refused (bad keys); they count as dropped.
  bool set_attributes(std::span<const AttributeView> attributes, uint32_t dropped = 0) noexcept;
  bool add_event(std::string_view name, uint64_t time_ns = 0,
                 std::span<const AttributeView> attributes = {}, uint32_t dropped = 0) noexcept;
  bool add_link(const LinkView& link) noexcept;
  // OpenTelemetry precedence: OK is final, UNSET is ignored, a message is kept only with ERROR.
  bool set_status(wire::StatusCode code, std::string_view message = {}) noexcept;
  bool update_name(std::string_view name) noexcept;
  void mark_sql_clean() noexcept;  // statement attributes hold no literals
  // Becomes the attribute nuages.sampling.ratio at the end: it must not use up the user's limit.
  void set_sampling_ratio(double ratio) noexcept { sampling_ratio_ = ratio; }

  // For code that writes the SDK's private fields (span._attributes = {...}) and for processors.
  bool force_attribute(std::string_view key, const ValueView& value) noexcept;  // beyond limits
  bool remove_attribute(std::string_view key) noexcept;
  bool clear_attributes() noexcept;  // and forgets how many were dropped, as the next two do
  bool clear_events() noexcept;
  bool clear_links() noexcept;
  // What the span that this one is a copy of had dropped.
  bool add_dropped(uint32_t attributes, uint32_t events, uint32_t links) noexcept;
  bool replace_status(wire::StatusCode code, std::string_view message) noexcept;  // no precedence

  // True for the first call in the process that started the span. end_ns 0: now, by the monotonic
  // clock, never before the start.
  bool end(uint64_t end_ns = 0) noexcept;
  bool ended() const noexcept;
  bool is_recording() const noexcept;  // not ended, and started in this process
  bool in_own_process() const noexcept { return own_process(); }
  uint64_t end_ns() const noexcept;  // 0 while running

  // Between end() and publish() processors may change the span again: set_editable(true) lifts the
  // refusal above, set_editable(false) restores it.
  void set_editable(bool editable) noexcept;

  // Reading: a copy of the state as a record, for RecordView. For a running span end_ns is 0.
  std::string snapshot() const;
  // The same without a copy: f(RecordView) under the span's lock; f must not touch the span.
  template <typename F>
  void read(F&& f) const {
    const bool locked = lock_for_reading();
    f(RecordView(const_cast<Span*>(this)->finish_record()));
    if (locked) lock_.unlock();
  }

  wire::StatusCode status() const noexcept;

  // Hands the record to a sink; after end(), only in the process that started the span. Unsampled
  // spans only when asked to.
  void publish(RecordSink& sink, bool unsampled = false) const noexcept;

 private:
  friend class RefCounted<Span>;
  friend class SpanPool;

  Span() noexcept = default;
  ~Span();
  void destroy() noexcept;  // back to the pool

  class Guard;

  bool writable() const noexcept {  // with lock_ held
    return !ended_.load(std::memory_order_relaxed) || editable_;
  }
  bool own_process() const noexcept { return generation_ == process_generation(); }  // no lock
  bool lock_for_reading() const noexcept;
  uint64_t now() const noexcept;
  bool have_buffer() noexcept;
  char* append(size_t size) noexcept;  // room behind the log; null: too large
  template <typename Write>
  bool add_plain(std::string_view key, wire::ValueType type, size_t payload,
                 Write&& write) noexcept;
  static uint64_t key_bit(std::string_view key) noexcept;
  void put_attribute(std::string_view key, const ValueView& value) noexcept;
  void append_attribute(std::string_view key, const ValueView& value) noexcept;
  void put_event(std::string_view name, uint64_t time_ns, std::span<const AttributeView> attributes,
                 uint32_t dropped) noexcept;
  void put_link(const LinkView& link) noexcept;
  void kill(char* entry) noexcept;
  char* find_attribute(std::string_view key) noexcept;
  bool make_room(EntryType type, uint32_t limit, uint32_t& count, uint32_t& dropped) noexcept;
  bool clear(EntryType type) noexcept;
  void squeeze() noexcept;
  std::string_view finish_record() noexcept;

  SpanContext context_;
  SpanId parent_id_ = 0;
  TraceState parent_trace_state_;  // only where the sampler gave the span one of its own
  Ref<LocalRoot> root_;
  Ref<LocalRoot> spare_root_;  // of the last life as a root span, for the next
  uint64_t start_ns_ = 0;
  double sampling_ratio_ = 0;  // 0: none
  uint64_t anchor_wall_ = 0;   // wall and monotonic time of start()
  uint64_t anchor_steady_ = 0;
  uint32_t scope_ = 0;
  uint32_t generation_ = 0;
  wire::SpanKind kind_ = wire::SpanKind::kInternal;
  bool parent_remote_ = false;
  uint8_t parent_flags_ = 0;
  bool own_trace_state_ = false;  // the sampler's, not the parent's
  bool is_local_root_ = false;
  SpanLimits limits_;

  bool serialised_ = false;
  bool plain_ = false;              // serialised_, and no text is to be cut
  mutable SpinLock lock_;           // guards everything below, unless serialised_
  std::atomic<bool> ended_{false};  // readable without the lock
  bool editable_ = false;
  bool sql_clean_ = false;
  wire::StatusCode status_ = wire::StatusCode::kUnset;
  uint64_t end_ns_ = 0;
  std::string name_;
  std::string status_message_;
  char* buffer_ = nullptr;  // RecordHeader, then the log; finish_record() appends the strings
  uint32_t size_ = 0;       // header and log
  uint32_t capacity_ = 0;
  uint32_t dead_ = 0;  // bytes of dead entries
  uint64_t keys_ = 0;  // key_bit() of every key that was ever put into the log
  uint32_t attributes_ = 0, events_ = 0, links_ = 0;
  uint32_t dropped_attributes_ = 0, dropped_events_ = 0, dropped_links_ = 0;
  Span* next_free_ = nullptr;
};

// One of 64 bits, by the length and the end of the key: keys of one span often begin alike.
[[gnu::always_inline]] inline uint64_t Span::key_bit(std::string_view key) noexcept {
  const size_t size = key.size();
  const char* at = key.data();
  uint64_t word = 0;
  if (size >= 8) {
    std::memcpy(&word, at + size - 8, 8);
  } else if (size >= 4) {
    uint32_t first, last;
    std::memcpy(&first, at, 4);
    std::memcpy(&last, at + size - 4, 4);
    word = uint64_t{first} << 32 | last;
  } else if (size != 0) {
    word = static_cast<uint64_t>(static_cast<unsigned char>(at[0])) << 16 |
           static_cast<uint64_t>(static_cast<unsigned char>(at[size / 2])) << 8 |
           static_cast<unsigned char>(at[size - 1]);
  }
  return 1ULL << ((word + size) * 0x9E37'79B9'7F4A'7C15ULL >> 58);
}

// A leaf (database or cache call) in one step: no Span object, straight to the sink.
struct LeafOptions {
  std::string_view name = {};
  wire::SpanKind kind = wire::SpanKind::kClient;
  uint32_t scope = 0;
  uint64_t start_ns = 0;  // wall time: take both from parent.local_root()->now()
  uint64_t end_ns = 0;
  std::span<const AttributeView> attributes = {};
  wire::StatusCode status = wire::StatusCode::kUnset;
  std::string_view status_message = {};
  std::string_view event_name = {};  // one optional event (an exception) at end_ns
  std::span<const AttributeView> event_attributes = {};
  bool sql_clean = false;
};

// The new span's id; 0 when the trace is full or the parent belongs to another process. `parent`'s
// limits apply. With several sinks each gets the same record.
SpanId record_leaf(const Span& parent, const LeafOptions& leaf,
                   std::span<RecordSink* const> sinks) noexcept;

// Publishes what the local trace of `root` folded, a record for each group below `root`: count and
// times as nuages.folded.*. After the root's end.
void publish_folded(const Span& root, std::span<RecordSink* const> sinks);

}  // namespace nuages::trace
