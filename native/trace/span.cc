#include "trace/span.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/clock.h"
#include "trace/id_generator.h"
#include "trace/record_writer.h"
#include "trace/span_fast.h"

namespace nuages::trace {
namespace {

constexpr uint32_t kFirstCapacity = 1024;
constexpr uint32_t kKeptCapacity = 8192;  // a pooled span keeps a buffer up to this size
constexpr uint32_t kPooledSpans = 64;     // per thread
constexpr uint32_t kMinSqueeze = 4096;
constexpr uint32_t kRemoteKnown = 0x100;  // OTLP: whether the context is remote is known ...
constexpr uint32_t kIsRemote = 0x200;     // ... and it is

constexpr char kEmptyRecord[sizeof(RecordHeader)] = {};
constexpr std::string_view kNoRecord(kEmptyRecord, sizeof kEmptyRecord);

}  // namespace

class Span::Guard {
 public:
  explicit Guard(const Span& span) noexcept : lock_(span.serialised_ ? nullptr : &span.lock_) {
    if (lock_ != nullptr) lock_->lock();
  }
  ~Guard() {
    if (lock_ != nullptr) lock_->unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  SpinLock* lock_;
};

// Free spans of one thread. Trivial, so that it may be used until the thread's very end; PoolGuard
// empties and closes it before that.
class SpanPool {
 public:
  static Span* take() noexcept {
    if (t_head == nullptr) return new (std::nothrow) Span;
    Span* span = t_head;
    t_head = span->next_free_;
    --t_count;
    span->reset_references();
    return span;
  }
  static void give(Span* span) noexcept {
    if (t_closed || t_count == kPooledSpans) {
      delete span;
      return;
    }
    t_guard.touch();
    span->next_free_ = t_head;
    t_head = span;
    ++t_count;
  }

 private:
  struct Guard {
    void touch() noexcept { used = true; }
    ~Guard() {
      t_closed = true;
      while (t_head != nullptr) {
        Span* next = t_head->next_free_;
        delete t_head;
        t_head = next;
      }
    }
    bool used = false;
  };

  static thread_local Span* t_head;
  static thread_local uint32_t t_count;
  static thread_local bool t_closed;
  static thread_local Guard t_guard;
};

thread_local Span* SpanPool::t_head = nullptr;
thread_local uint32_t SpanPool::t_count = 0;
thread_local bool SpanPool::t_closed = false;
thread_local SpanPool::Guard SpanPool::t_guard;

Span::~Span() { std::free(buffer_); }

void Span::make_idle() noexcept {
  context_.trace_state.reset();
  parent_trace_state_.reset();
  own_trace_state_ = false;
  if (is_local_root_ && root_ && root_->only_reference()) {
    spare_root_ = std::move(root_);
  } else {
    root_ = {};
  }
  if (capacity_ > kKeptCapacity) {
    std::free(buffer_);
    buffer_ = nullptr;
    capacity_ = 0;
  }
  constexpr size_t kKeptText = 1024;
  if (name_.capacity() > kKeptText) std::string().swap(name_);
  if (status_message_.capacity() > kKeptText) std::string().swap(status_message_);
}

void Span::destroy() noexcept {
  make_idle();
  SpanPool::give(this);
}

Span* Span::make() noexcept { return new (std::nothrow) Span; }

SpanRef Span::start(const StartOptions& options) noexcept {
  SpanRef ref = SpanRef::adopt(SpanPool::take());
  if (!ref || !ref->begin(options)) return {};
  return ref;
}

bool Span::begin(const StartOptions& options) noexcept {
  const SpanContext* parent = nullptr;
  Ref<LocalRoot> root;
  if (options.local_parent != nullptr) {
    parent = &options.local_parent->context_;
    // In a forked child the parent's LocalRoot may be locked for ever: it gets one of its own.
    if (options.local_parent->own_process()) root = options.local_parent->root_;
  } else if (options.parent != nullptr && options.parent->valid()) {
    parent = options.parent;
  }
  const bool is_root = !root;
  const uint64_t steady = steady_now();
  if (is_root) {
    root = std::move(spare_root_);
    if (root) {
      root->restart(steady);
    } else {
      root = LocalRoot::create(steady);
    }
  }
  if (!root || !have_buffer()) return false;  // out of memory
  if (!root->reserve_span(options.serialised)) {
    const uint64_t start_ns = options.start_ns != 0 ? options.start_ns : root->wall_at(steady);
    root->fold({options.scope, options.kind, options.name, start_ns, options.duration_ns});
    return false;
  }
  root_ = std::move(root);
  is_local_root_ = is_root;
  serialised_ = options.serialised;
  sampling_ratio_ = 0;
  context_.flags = options.sampled ? kSampledFlag : 0;
  if (parent != nullptr) {
    context_.trace_id = parent->trace_id;
    context_.flags |= parent->flags & kRandomFlag;
    parent_id_ = parent->span_id;
    parent_remote_ = parent->remote;
    parent_flags_ = parent->flags;
  } else {
    const bool given = options.trace_id.valid();
    context_.trace_id = given ? options.trace_id : new_trace_id();
    if (!given || options.random_trace_id) context_.flags |= kRandomFlag;
    parent_id_ = 0;
    parent_remote_ = false;
    parent_flags_ = 0;
  }
  if (options.trace_state != nullptr) {
    context_.trace_state = *options.trace_state;
    if (parent != nullptr) parent_trace_state_ = parent->trace_state;
    own_trace_state_ = true;
  } else if (parent != nullptr) {
    context_.trace_state = parent->trace_state;
  }
  context_.span_id = options.span_id != 0 ? options.span_id : new_span_id();
  generation_ = process_generation();
  kind_ = options.kind;
  scope_ = options.scope;
  limits_ = options.limits != nullptr ? *options.limits : SpanLimits{};
  plain_ = serialised_ && limits_.max_value_length == SpanLimits::kUnlimited;

  ended_.store(false, std::memory_order_relaxed);
  editable_ = false;
  sql_clean_ = false;
  status_ = wire::StatusCode::kUnset;
  status_message_.clear();
  end_ns_ = 0;
  name_ = options.name;
  dead_ = 0;
  keys_ = 0;
  attributes_ = events_ = links_ = 0;
  dropped_attributes_ = options.dropped_attributes;
  dropped_events_ = dropped_links_ = 0;
  for (const AttributeView& each : options.attributes) {
    if (!each.key.empty()) put_attribute(each.key, each.value);
  }
  for (const LinkView& link : options.links) put_link(link);

  anchor_steady_ = steady;
  anchor_wall_ = root_->wall_at(steady);
  start_ns_ = options.start_ns != 0 ? options.start_ns : anchor_wall_;
  return true;
}

SpanContext Span::parent() const {
  SpanContext parent;
  if (parent_id_ == 0) return parent;
  parent.trace_id = context_.trace_id;
  parent.span_id = parent_id_;
  parent.flags = parent_flags_;
  parent.remote = parent_remote_;
  parent.trace_state = own_trace_state_ ? parent_trace_state_ : context_.trace_state;
  return parent;
}

uint64_t Span::now() const noexcept { return anchor_wall_ + (steady_now() - anchor_steady_); }

bool Span::lock_for_reading() const noexcept {
  if (serialised_) return false;
  if (own_process()) {
    lock_.lock();
    return true;
  }
  // The holder may be a thread of the parent process, which does not exist here.
  for (int tries = 0; tries < 1000; ++tries) {
    if (lock_.try_lock()) return true;
    sched_yield();
  }
  return false;
}

bool Span::set_attribute(std::string_view key, const ValueView& value) noexcept {
  if (key.empty() || !own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  put_attribute(key, value);
  return true;
}

bool Span::set_attributes(std::span<const AttributeView> attributes, uint32_t dropped) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  dropped_attributes_ += dropped;
  for (const AttributeView& each : attributes) {
    if (!each.key.empty()) put_attribute(each.key, each.value);
  }
  return true;
}

bool Span::add_event(std::string_view name, uint64_t time_ns,
                     std::span<const AttributeView> attributes, uint32_t dropped) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  put_event(name, time_ns != 0 ? time_ns : now(), attributes, dropped);
  return true;
}

bool Span::add_link(const LinkView& link) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  put_link(link);
  return true;
}

bool Span::set_status(wire::StatusCode code, std::string_view message) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  if (status_ == wire::StatusCode::kOk || code == wire::StatusCode::kUnset) return true;
  status_ = code;
  status_message_ = code == wire::StatusCode::kError ? message : std::string_view();
  return true;
}

bool Span::replace_status(wire::StatusCode code, std::string_view message) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  status_ = code;
  status_message_ = message;
  return true;
}

bool Span::update_name(std::string_view name) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  name_ = name;
  return true;
}

void Span::mark_sql_clean() noexcept {
  if (!own_process()) return;
  const Guard guard(*this);
  sql_clean_ = true;
}

bool Span::force_attribute(std::string_view key, const ValueView& value) noexcept {
  if (key.empty() || !own_process()) return false;
  std::lock_guard guard(lock_);
  if (!writable()) return false;
  if (char* old = find_attribute(key)) kill(old);
  append_attribute(key, value);
  return true;
}

bool Span::remove_attribute(std::string_view key) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  if (char* entry = find_attribute(key)) kill(entry);
  return true;
}

bool Span::clear_attributes() noexcept { return clear(EntryType::kAttribute); }
bool Span::clear_events() noexcept { return clear(EntryType::kEvent); }
bool Span::clear_links() noexcept { return clear(EntryType::kLink); }

bool Span::add_dropped(uint32_t attributes, uint32_t events, uint32_t links) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  dropped_attributes_ += attributes;
  dropped_events_ += events;
  dropped_links_ += links;
  return true;
}

bool Span::clear(EntryType type) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (!writable()) return false;
  for (char* at = buffer_ + sizeof(RecordHeader); at < buffer_ + size_;) {
    char* next = at + load<uint32_t>(at);
    if (load<EntryHeader>(at).type == type) kill(at);
    at = next;
  }
  (type == EntryType::kAttribute ? dropped_attributes_
   : type == EntryType::kEvent   ? dropped_events_
                                 : dropped_links_) = 0;
  return true;
}

bool Span::end(uint64_t end_ns) noexcept {
  if (!own_process()) return false;
  const Guard guard(*this);
  if (ended_.load(std::memory_order_relaxed)) return false;
  if (sampling_ratio_ > 0) {
    append_attribute("nuages.sampling.ratio", double_value(sampling_ratio_));
  }
  end_ns_ = end_ns != 0 ? end_ns : std::max(now(), start_ns_);
  ended_.store(true, std::memory_order_release);
  return true;
}

bool Span::ended() const noexcept { return ended_.load(std::memory_order_acquire); }
bool Span::is_recording() const noexcept { return !ended() && own_process(); }
uint64_t Span::end_ns() const noexcept { return ended() ? end_ns_ : 0; }

void Span::set_editable(bool editable) noexcept {
  if (!own_process()) return;
  const Guard guard(*this);
  editable_ = editable;
}

std::string Span::snapshot() const {
  std::string copy;
  read([&copy](const RecordView& record) { copy = record.bytes(); });
  return copy;
}

wire::StatusCode Span::status() const noexcept {
  const Guard guard(*this);
  return status_;
}

void Span::publish(RecordSink& sink, bool unsampled) const noexcept {
  if (!own_process() || !ended() || (!unsampled && !context_.sampled())) return;
  const bool locked = lock_for_reading();
  sink.publish(const_cast<Span*>(this)->finish_record());
  if (locked) lock_.unlock();
}

// --- the log of entries; lock_ is held ---

bool Span::have_buffer() noexcept {
  size_ = sizeof(RecordHeader);
  return append(0) != nullptr;
}

char* Span::append(size_t size) noexcept {
  if (size_t{size_} + size > capacity_) {  // a new buffer has no capacity at all
    if (size > kMaxRecordBytes - size_) return nullptr;
    size_t wanted = std::max<size_t>(capacity_ * size_t{2}, kFirstCapacity);
    wanted = std::min(std::max(wanted, size_ + size), kMaxRecordBytes);
    void* moved = std::realloc(buffer_, wanted);
    if (moved == nullptr) return nullptr;
    buffer_ = static_cast<char*>(moved);
    capacity_ = static_cast<uint32_t>(wanted);
  }
  return buffer_ + size_;
}

void Span::put_attribute(std::string_view key, const ValueView& value) noexcept {
  if (char* old = find_attribute(key)) kill(old);
  if (!make_room(EntryType::kAttribute, limits_.max_attributes, attributes_, dropped_attributes_)) {
    return;
  }
  std::string scratch;
  const ValueView cut = limits_.max_value_length == SpanLimits::kUnlimited
                            ? value
                            : cut_value(value, limits_.max_value_length, scratch);
  append_attribute(key, cut);
}

void Span::append_attribute(std::string_view key, const ValueView& value) noexcept {
  const size_t size = attribute_size(key, value);
  char* at = append(size);
  if (at == nullptr) {
    ++dropped_attributes_;
    return;
  }
  write_attribute(at, key, value);
  keys_ |= key_bit(key);
  size_ += static_cast<uint32_t>(size);
  ++attributes_;
}

void Span::put_event(std::string_view name, uint64_t time_ns,
                     std::span<const AttributeView> attributes, uint32_t dropped) noexcept {
  if (!make_room(EntryType::kEvent, limits_.max_events, events_, dropped_events_)) return;
  const LimitedAttributes kept(attributes, limits_.max_event_attributes, limits_, dropped);
  const size_t size = event_size(name, kept);
  char* at = append(size);
  if (at == nullptr) {
    ++dropped_events_;
    return;
  }
  write_event(at, size, name, time_ns, kept);
  size_ += static_cast<uint32_t>(size);
  ++events_;
}

void Span::put_link(const LinkView& link) noexcept {
  if (!make_room(EntryType::kLink, limits_.max_links, links_, dropped_links_)) return;
  const LimitedAttributes kept(link.attributes, limits_.max_link_attributes, limits_,
                               link.dropped_attributes);
  EntryHeader header;
  const size_t size = sizeof header + sizeof(LinkPart) + link.trace_state.size() + kept.size();
  char* at = append(size);
  if (at == nullptr) {
    ++dropped_links_;
    return;
  }
  header.size = static_cast<uint32_t>(size);
  header.type = EntryType::kLink;
  header.text_size = static_cast<uint32_t>(link.trace_state.size());
  LinkPart part;
  part.trace_high = link.trace_id.high;
  part.trace_low = link.trace_id.low;
  part.span_id = link.span_id;
  part.flags = kRemoteKnown | (link.remote ? kIsRemote : 0) | link.trace_flags;
  part.attributes = kept.count();
  part.dropped_attributes = kept.dropped();
  kept.write(put_bytes(put_value(put_value(at, header), part), link.trace_state));
  size_ += static_cast<uint32_t>(size);
  ++links_;
}

void Span::kill(char* entry) noexcept {
  EntryHeader header = load<EntryHeader>(entry);
  switch (header.type) {
    case EntryType::kAttribute:
      --attributes_;
      break;
    case EntryType::kEvent:
      --events_;
      break;
    case EntryType::kLink:
      --links_;
      break;
    case EntryType::kDead:
      return;
  }
  header.type = EntryType::kDead;
  put_value(entry, header);
  dead_ += header.size;
}

char* Span::find_attribute(std::string_view key) noexcept {
  if (attributes_ == 0 || (keys_ & key_bit(key)) == 0) return nullptr;
  const char* end = buffer_ + size_;
  for (char* at = buffer_ + sizeof(RecordHeader); at < end;) {
    const EntryHeader header = load<EntryHeader>(at);
    if (header.type == EntryType::kAttribute && header.text_size == key.size() &&
        std::memcmp(at + sizeof header, key.data(), key.size()) == 0) {
      return at;
    }
    at += header.size;
  }
  return nullptr;
}

// Whether one more entry may be appended, after dropping the oldest one if the limit asks for it.
bool Span::make_room(EntryType type, uint32_t limit, uint32_t& count, uint32_t& dropped) noexcept {
  if (dead_ > kMinSqueeze && dead_ > size_ / 2) squeeze();
  if (count < limit) return true;
  ++dropped;
  if (limit == 0 || limits_.drop == SpanLimits::Drop::kNewest) return false;
  for (char* at = buffer_ + sizeof(RecordHeader); at < buffer_ + size_;) {
    const EntryHeader header = load<EntryHeader>(at);
    if (header.type == type) {
      kill(at);
      return true;
    }
    at += header.size;
  }
  return true;
}

void Span::squeeze() noexcept {
  if (dead_ == 0) return;
  char* to = buffer_ + sizeof(RecordHeader);
  for (char* at = to; at < buffer_ + size_;) {
    const EntryHeader header = load<EntryHeader>(at);
    char* next = at + header.size;
    if (header.type != EntryType::kDead) {
      if (to != at) std::memmove(to, at, header.size);
      to += header.size;
    }
    at = next;
  }
  size_ = static_cast<uint32_t>(to - buffer_);
  dead_ = 0;
}

std::string_view Span::finish_record() noexcept {
  squeeze();
  std::string_view name = name_;
  std::string_view message = status_message_;
  std::string_view state = context_.trace_state_text();
  char* tail = append(name.size() + message.size() + state.size() + sizeof(RecordHeader));
  if (tail == nullptr) {
    if (buffer_ == nullptr) return kNoRecord;  // never: start() made it
    // Larger than a record may be: the log stays, the strings go.
    name = message = state = {};
    tail = buffer_ + size_;
  }
  auto& header = *new (buffer_) RecordHeader;  // aligned by malloc()
  header.log_size = size_ - static_cast<uint32_t>(sizeof(RecordHeader));
  header.trace_high = context_.trace_id.high;
  header.trace_low = context_.trace_id.low;
  header.span_id = context_.span_id;
  header.parent_id = parent_id_;
  header.start_ns = start_ns_;
  header.end_ns = end_ns_;
  header.scope = scope_;
  header.kind = static_cast<uint8_t>(kind_);
  header.status = static_cast<uint8_t>(status_);
  header.trace_flags = context_.flags;
  header.record_flags =
      static_cast<uint8_t>((parent_remote_ ? kParentRemote : 0) | (sql_clean_ ? kSqlClean : 0));
  header.attributes = attributes_;
  header.events = events_;
  header.links = links_;
  header.dropped_attributes = dropped_attributes_;
  header.dropped_events = dropped_events_;
  header.dropped_links = dropped_links_;
  header.name_size = static_cast<uint32_t>(name.size());
  header.status_size = static_cast<uint32_t>(message.size());
  header.trace_state_size = static_cast<uint32_t>(state.size());
  const char* end = put_bytes(put_bytes(copy_short(tail, name), message), state);
  header.size = static_cast<uint32_t>(end - buffer_);
  return {buffer_, header.size};
}

}  // namespace nuages::trace
