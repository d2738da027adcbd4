#include "gateway/forwarder.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/request_builder.h"

namespace nuages::gateway {
namespace {

constexpr uint64_t kMaxMemory = uint64_t{64} << 20;
constexpr uint64_t kSegmentBytes = uint64_t{32} << 20;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kLogEveryNs = 10 * kSecond;
constexpr size_t kPrefix = 5;  // signal and number of items in front of a body in the queue

std::string encode(wire::Signal signal, uint64_t items, const std::string& body) {
  const auto number = static_cast<uint32_t>(std::min<uint64_t>(items, UINT32_MAX));
  std::string out;
  out.reserve(kPrefix + body.size());
  out += static_cast<char>(signal);
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
  return out += body;
}

net::Signal net_signal(wire::Signal signal) {
  switch (signal) {
    case wire::Signal::kLogs:
      return net::Signal::kLogs;
    case wire::Signal::kMetrics:
      return net::Signal::kMetrics;
    case wire::Signal::kTraces:
      break;
  }
  return net::Signal::kTraces;
}

}  // namespace

bool Forwarder::decode(std::string_view record, Item& out) {
  if (record.size() < kPrefix || static_cast<uint8_t>(record[0]) >= wire::kSignals) return false;
  uint32_t items = 0;
  std::memcpy(&items, record.data() + 1, sizeof items);
  out = {static_cast<wire::Signal>(record[0]), items, std::string(record.substr(kPrefix))};
  return true;
}

Forwarder::Forwarder(std::string name, const ForwardConfig& config,
                     const std::optional<BatchConfig>& batch)
    : name_(std::move(name)),
      settings_(std::make_shared<const Settings>(config, batch)),
      queue_requests_(config.queue_requests),
      wanted_(settings_) {}

void Forwarder::configure(const ForwardConfig& config, const std::optional<BatchConfig>& batch) {
  queue_requests_ = config.queue_requests;
  const std::lock_guard lock(mutex_);
  wanted_ = std::make_shared<const Settings>(config, batch);
  if (sending_ != nullptr) sending_->interrupt();  // perhaps its receiver is the wrong one
  changed_.notify_all();
}

// Call with the mutex held, on the sender's thread.
void Forwarder::take_settings() {
  if (settings_ == wanted_) return;
  settings_ = wanted_;
  for (auto& client : clients_) client.reset();
}

Result<std::unique_ptr<Forwarder>> Forwarder::open(std::string name, const ForwardConfig& config,
                                                   const std::optional<BatchConfig>& batch,
                                                   const std::string& folder) {
  std::unique_ptr<Forwarder> out(new Forwarder(std::move(name), config, batch));
  store::WalOptions options;
  options.folder = folder;
  options.max_total_bytes = config.queue_bytes;
  options.seal_raw_bytes = kSegmentBytes;
  options.seal_age_ns = options.seal_busy_age_ns = kSecond;
  std::vector<store::SegmentScan> found;
  Result<std::unique_ptr<store::Wal>> wal = store::Wal::open(options, *out, found, nullptr);
  if (!wal.ok()) return wal.error();
  out->wal_ = std::move(wal).value();
  uint64_t left = 0;
  std::deque<std::shared_ptr<Segment>> segments;
  for (const store::SegmentScan& scan : found) {
    auto segment = std::make_shared<Segment>();
    segment->id = scan.id;
    segment->sealed = true;
    segment->in_memory = false;
    left += scan.records;
    segments.push_back(std::move(segment));
  }
  out->queued_ += left;
  if (left > 0) {
    log(LogLevel::kInfo, out->name_,
        "sending " + std::to_string(left) + " requests that a former process left in " + folder);
  }
  {
    const std::lock_guard lock(out->mutex_);
    out->segments_.insert(out->segments_.begin(), segments.begin(), segments.end());
  }
  out->thread_ = std::thread([raw = out.get()] { raw->run(); });
  return out;
}

Forwarder::~Forwarder() {
  stop(0);
  wal_.reset();  // commits what is queued; its callbacks still find this object whole
}

bool Forwarder::stop(uint64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  changed_.notify_all();
  const uint64_t now = steady_now();
  changed_.wait_for(lock, std::chrono::nanoseconds(deadline_ns > now ? deadline_ns - now : 0),
                    [this] { return queued_ == 0; });
  stop_ = true;
  if (sending_ != nullptr) sending_->interrupt();
  changed_.notify_all();
  lock.unlock();
  if (thread_.joinable()) thread_.join();
  wal_->seal();
  remove_sent();
  return queued_ == 0;
}

// What was delivered must not be sent again by the next process.
void Forwarder::remove_sent() {
  const std::lock_guard lock(mutex_);
  while (!segments_.empty()) {
    const Segment& segment = *segments_.front();
    if (!segment.sealed || !segment.in_memory || segment.sending || !segment.items.empty()) return;
    wal_->remove(segment.id);
    segments_.pop_front();
  }
}

ForwardCounters Forwarder::counters() const {
  return {sent_, dropped_, rejected_, failed_, queued_, wal_->bytes()};
}

void Forwarder::accept(wire::Signal signal, std::string body, uint64_t items, Done done) {
  if (queued_.fetch_add(1) >= queue_requests_) {
    --queued_;
    done(Error{ErrorCode::kExhausted, "the queue of the exporter " + name_ + " is full (" +
                                          std::to_string(queue_requests_) +
                                          " requests): its receiver is slow or away; retry later"});
    return;
  }
  store::WalEntry entry;
  entry.body = encode(signal, items, body);
  // The hash tells records apart, not repeats: a request may come twice.
  entry.record = store::make_record(entry.body, store::hash_body(entry.body), wall_now(), 1);
  auto shared = std::make_shared<Done>(std::move(done));
  entry.done = [this, shared](const Status& status) {
    if (!status.ok()) --queued_;
    (*shared)(status);
  };
  if (Status status = wal_->append(std::move(entry)); !status.ok()) {
    --queued_;
    (*shared)(status);
  }
}

void Forwarder::on_commit(const store::SegmentId& id, std::vector<store::WalEntry>& entries) {
  {
    const std::lock_guard lock(mutex_);
    if (segments_.empty() || segments_.back()->id.number != id.number) {
      auto segment = std::make_shared<Segment>();
      segment->id = id;
      segment->in_memory = memory_ < kMaxMemory;
      segments_.push_back(std::move(segment));
    }
    Segment& segment = *segments_.back();
    for (store::WalEntry& entry : entries) {
      Item item;
      if (!segment.in_memory || !decode(entry.body, item)) continue;
      memory_ += item.body.size();
      segment.items.push_back(std::move(item));
      entry.record.payload = std::string();
    }
  }
  changed_.notify_all();
}

void Forwarder::on_seal(const store::SegmentId& id) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& segment : segments_) {
      if (segment->id.number == id.number) segment->sealed = true;
    }
  }
  changed_.notify_all();
}

// Reads a sealed segment back from the disk.
bool Forwarder::load(Segment& segment) {
  std::deque<Item> items;
  const auto scan =
      store::scan_segment(wal_->path(segment.id), [&](const store::WalRecord& record) {
        const Result<std::string> body = store::record_body(record);
        Item item;
        if (body.ok() && decode(*body, item)) items.push_back(std::move(item));
      });
  if (!scan.ok()) {
    note_failure("the queue cannot be read: " + scan.error().message, false);
    if (scan.error().code != ErrorCode::kInvalid) return false;
    wal_->quarantine(segment.id);  // it will not get better
    const std::lock_guard lock(mutex_);
    segments_.pop_front();
    return true;
  }
  const std::lock_guard lock(mutex_);
  for (const Item& item : items) memory_ += item.body.size();
  segment.items = std::move(items);
  segment.in_memory = true;
  return true;
}

void Forwarder::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    take_settings();
    if (segments_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const std::shared_ptr<Segment> segment = segments_.front();
    if (!segment->in_memory) {
      if (!segment->sealed) {
        changed_.wait(lock);
        continue;
      }
      lock.unlock();
      const bool loaded = load(*segment);
      if (!loaded) pause(kSecond);
      lock.lock();
      continue;
    }
    if (segment->items.empty()) {
      if (!segment->sealed) {
        changed_.wait(lock);
        continue;
      }
      segments_.pop_front();
      lock.unlock();
      wal_->remove(segment->id);
      lock.lock();
      continue;
    }
    std::vector<Item> batch = next_batch(lock, *segment);
    if (batch.empty()) continue;
    segment->sending = true;
    lock.unlock();
    const uint64_t requests = batch.size();
    const bool done = deliver(std::move(batch));
    lock.lock();
    if (!done) break;  // not known to be delivered: the next process sends it
    segment->sending = false;
    queued_ -= requests;
    changed_.notify_all();
  }
}

// The first items that go together; waits a while for more when batches are wanted.
std::vector<Forwarder::Item> Forwarder::next_batch(std::unique_lock<std::mutex>& lock,
                                                   Segment& segment) {
  std::vector<Item> batch;
  const wire::Signal signal = segment.items.front().signal;
  const auto ready = [&] {
    uint64_t items = 0;
    for (const Item& item : segment.items) {
      if (item.signal != signal) return true;
      items += item.items;
    }
    return items >= settings_->batch.size || segment.sealed;
  };
  if (settings_->batches && settings_->batch.timeout_ns > 0 && !draining_) {
    changed_.wait_for(lock, std::chrono::nanoseconds(settings_->batch.timeout_ns),
                      [&] { return stop_ || draining_ || ready(); });
    if (stop_) return batch;
  }
  uint64_t items = 0;
  do {
    Item& item = segment.items.front();
    items += item.items;
    memory_ -= std::min<uint64_t>(memory_, item.body.size());
    batch.push_back(std::move(item));
    segment.items.pop_front();
  } while (settings_->batches && items < settings_->batch.size && !segment.items.empty() &&
           segment.items.front().signal == signal);
  return batch;
}

bool Forwarder::deliver(std::vector<Item> batch) {
  const wire::Signal signal = batch.front().signal;
  std::string body = std::move(batch.front().body);
  uint64_t items = batch.front().items;
  for (size_t i = 1; i < batch.size(); ++i) {
    body += batch[i].body;  // a message behind another is both merged
    items += batch[i].items;
  }
  if (!settings_->batches || settings_->batch.max_size == 0 || items <= settings_->batch.max_size) {
    return send(signal, body, items);
  }
  for (const RequestBuilder::Part& part : split_request(body, settings_->batch.max_size)) {
    if (!send(signal, part.body, part.items)) return false;
  }
  return true;
}

// Until the receiver has it or refuses it for good; false when stopped before.
bool Forwarder::send(wire::Signal signal, const std::string& body, uint64_t items) {
  const uint64_t begun = steady_now();
  uint64_t wait = settings_->config.retry.initial_ns;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      take_settings();
    }
    net::OtlpClient* sender = client(signal);
    net::SendResult result;
    if (sender == nullptr) {
      result.message = "no client could be made";
    } else {
      {
        const std::lock_guard lock(mutex_);
        if (stop_) return false;
        sending_ = sender;
      }
      result = sender->send(body, UINT64_MAX, net_signal(signal));
      const std::lock_guard lock(mutex_);
      sending_ = nullptr;
      if (stop_ && result.outcome != net::Outcome::kSuccess) return false;
    }
    if (result.outcome == net::Outcome::kSuccess) {
      const uint64_t rejected = std::min(result.rejected_spans, items);
      sent_ += items - rejected;
      rejected_ += rejected;
      if (rejected > 0) note_failure("the receiver kept only a part: " + result.message, true);
      return true;
    }
    ++failed_;
    const bool out_of_time = settings_->config.retry.max_elapsed_ns != 0 &&
                             steady_now() - begun >= settings_->config.retry.max_elapsed_ns;
    if (result.outcome == net::Outcome::kPermanent || !settings_->config.retry.enabled ||
        out_of_time) {
      dropped_ += items;
      note_failure("dropped " + std::to_string(items) + " items: " + result.message, true);
      return true;
    }
    note_failure(result.message + "; retrying", false);
    const uint64_t asked = result.retry_after_ms * kMillisecond;
    if (!pause(std::max(wait, asked))) return false;
    wait = std::min(wait + wait / 2,
                    std::max(settings_->config.retry.max_ns, settings_->config.retry.initial_ns));
  }
}

// False when the wait was cut short by a stop.
bool Forwarder::pause(uint64_t nanoseconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::nanoseconds(nanoseconds),
                    [this] { return stop_ || settings_ != wanted_; });
  return !stop_;
}

net::OtlpClient* Forwarder::client(wire::Signal signal) {
  const auto index = static_cast<size_t>(signal);
  const bool own = !settings_->config.urls[index].empty();
  auto& made = clients_[own ? index : wire::kSignals];
  if (made == nullptr) {
    net::OtlpClientConfig config = settings_->config.client;
    if (own) {
      config.endpoint = settings_->config.urls[index];
      config.endpoint_is_final = true;
    }
    auto created = net::OtlpClient::create(std::move(config));
    if (!created.ok()) {
      note_failure(created.error().message, false);
      return nullptr;
    }
    made = std::move(created).value();
  }
  return made.get();
}

void Forwarder::note_failure(const std::string& message, bool lost) {
  const uint64_t now = steady_now();
  if (!lost && logged_ns_ != 0 && now - logged_ns_ < kLogEveryNs) return;
  logged_ns_ = now;
  log(LogLevel::kWarning, name_, message);
}

}  // namespace nuages::gateway
