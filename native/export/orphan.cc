#include "export/orphan.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "export/mask_profile.h"
#include "export/orphan_file.h"
#include "wire/gzip.h"
#include "wire/otlp_reader.h"

namespace nuages::exporter {
namespace {

constexpr uint32_t kMostAttempts = 3;
constexpr uint32_t kMostUnpacked = 16U << 20;

struct Ignore {
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span&) {}
};

// Whether a receiver will take every span of it.
bool sound(std::string_view request, uint32_t& spans) {
  Ignore visitor;
  const auto stats = wire::read_export_trace_request(request, {}, visitor);
  if (!stats.ok() || stats->rejected != 0) return false;
  spans = static_cast<uint32_t>(stats->accepted);
  return true;
}

BatchEncoder encoder_for(uint32_t bits) {
  const MaskProfile profile(bits);
  Filters filters = filters_of((profile.known() ? profile : MaskProfile()).policy());
  return {std::move(filters.mask), std::move(filters.sql), std::move(filters.attribute)};
}

}  // namespace

std::unique_ptr<Orphan> Orphan::adopt(const OrphanPlace& place, uint64_t audience) {
  auto directory = open_queue_directory(place.base, false);
  if (!directory.ok()) return nullptr;
  OrphanFile file(*directory, place.name);
  // Everything is looked at again under the lock: another adopter may just have finished.
  if (file.state() != OrphanFile::State::kDead || !file.lock() || !file.matches(audience)) {
    close(*directory);
    return nullptr;
  }
  const FileHeader& header = file.header();
  std::unique_ptr<Orphan> orphan(
      new Orphan(file.release(), *directory, place.name, header));  // NOLINT: private constructor
  if (orphan->attempts_ >= kMostAttempts || !orphan->load()) {
    log(LogLevel::kWarning, "export",
        "the spans that process " + std::to_string(orphan->pid()) +
            " left behind when it was killed could not be read: " + place.name + " is removed");
    orphan->remove();
    return nullptr;
  }
  return orphan;
}

Orphan::Orphan(int file, int directory, std::string name, const FileHeader& header)
    : file_(file),
      directory_(directory),
      name_(std::move(name)),
      attempts_(header.attempts.load(std::memory_order_relaxed)),
      header_{header.kind, header.owner, header.mask, header.payload_bytes},
      encoder_(encoder_for(header.mask)) {
  struct stat info = {};
  if (fstat(file_, &info) == 0) inode_ = info.st_ino;
}

Orphan::~Orphan() {
  if (file_ >= 0) {
    store(offsetof(FileHeader, attempts), &attempts_, sizeof attempts_);
    close(file_);
    close(directory_);
  }
  if (copy_ != nullptr) munmap(copy_, header_.payload_bytes);
}

void Orphan::forget() noexcept {
  // The copy is not mapped here; closing does not give up the lock, which is the parent's too.
  copy_ = nullptr;
  close(file_);
  close(directory_);
  file_ = directory_ = -1;
}

bool Orphan::read_at(size_t offset, size_t size) {
  while (size != 0) {
    const ssize_t got =
        pread(file_, copy_ + offset, size, static_cast<off_t>(kFileHeaderBytes + offset));
    if (got <= 0) return false;
    offset += static_cast<size_t>(got);
    size -= static_cast<size_t>(got);
  }
  return true;
}

// Host programs close descriptors that they do not know, and the number may mean another file now.
bool Orphan::store(size_t offset, const void* value, size_t size) {
  struct stat info = {};
  if (fstat(file_, &info) != 0 || info.st_ino != inode_ || !S_ISREG(info.st_mode)) return false;
  return pwrite(file_, value, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

bool Orphan::load() {
  const uint32_t attempt = attempts_ + 1;  // stays in the file if we die over it
  if (!store(offsetof(FileHeader, attempts), &attempt, sizeof attempt)) return false;
  void* memory = mmap(nullptr, header_.payload_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  copy_ = static_cast<char*>(memory);
  madvise(copy_, header_.payload_bytes, MADV_DONTFORK);
  if (header_.kind == FileKind::kQueue) return load_queue();
  if (header_.kind != FileKind::kOutage || !read_at(0, header_.payload_bytes)) return false;
  const auto outage = OutageBuffer::attach(copy_, header_.payload_bytes);
  if (outage) outage_ = *outage;
  return outage.has_value();
}

bool Orphan::load_queue() {
  const size_t fixed = trace::RecordQueue::header_bytes();
  if (header_.payload_bytes < fixed || !read_at(0, fixed)) return false;
  const size_t prefix = trace::QueueImage::prefix_bytes(copy_, header_.payload_bytes);
  if (prefix < fixed || !read_at(fixed, prefix - fixed)) return false;
  auto image = trace::QueueImage::open(copy_, header_.payload_bytes);
  if (!image) return false;
  image_ = std::make_unique<trace::QueueImage>(*image);
  for (const auto& part : image_->live()) {
    if (!read_at(part.offset, part.size)) return false;
  }
  found_ = image_->scan();
  unsendable_ += image_->gaps();
  if (!MaskProfile(header_.mask).known()) {
    unsendable_ += found_.size();
    found_.clear();
  }
  const uint64_t claim = std::max<uint64_t>(image_->queue().head(), 1);
  store(offsetof(FileHeader, claimed), &claim, sizeof claim);
  return true;
}

Orphan::Request Orphan::next(size_t max_spans, size_t max_bytes) {
  return header_.kind == FileKind::kQueue ? next_of_queue(max_spans, max_bytes)
                                          : next_of_outage(max_bytes);
}

Orphan::Request Orphan::next_of_queue(size_t max_spans, size_t max_bytes) {
  Request request;
  std::vector<std::string_view> batch;
  while (done_ < found_.size()) {
    batch.clear();
    size_t bytes = 0;
    ahead_ = done_;
    for (; ahead_ < found_.size() && batch.size() < max_spans; ++ahead_) {
      bytes += found_[ahead_].record.size();
      if (bytes > max_bytes && !batch.empty()) break;
      batch.push_back(found_[ahead_].record);
    }
    request.body = encoder_.encode(image_->queue(), batch);
    if (sound(request.body, request.spans)) return request;
    // Damaged texts: those that are sound alone are sound together.
    std::erase_if(batch, [&](std::string_view record) {
      uint32_t spans = 0;
      return !sound(encoder_.encode(image_->queue(), {&record, 1}), spans);
    });
    unsendable_ += ahead_ - done_ - batch.size();
    request.body = encoder_.encode(image_->queue(), batch);
    if (!batch.empty() && sound(request.body, request.spans)) return request;
    settled();
  }
  return {};
}

Orphan::Request Orphan::next_of_outage(size_t max_bytes) {
  while (const auto batch = outage_.front()) {
    Request request;
    if (batch->size <= std::max<size_t>(max_bytes, kMostUnpacked) &&
        wire::decompress(wire::Packing::kGzip, batch->packed, batch->size, unpacked_) &&
        sound(unpacked_, request.spans)) {
      request.body = unpacked_;
      return request;
    }
    ++unsendable_;
    settled();
  }
  return {};
}

void Orphan::settled() {
  uint64_t tail = 0;
  size_t offset = kFileHeaderBytes;
  if (header_.kind == FileKind::kQueue) {
    if (ahead_ == done_) return;
    done_ = ahead_;
    tail = found_[done_ - 1].end;
    offset += trace::QueueImage::tail_offset();
  } else {
    outage_.pop();
    offset += OutageBuffer::tail_offset();
    std::memcpy(&tail, copy_ + OutageBuffer::tail_offset(), sizeof tail);
  }
  store(offset, &tail, sizeof tail);
}

void Orphan::remove() { unlinkat(directory_, name_.c_str(), 0); }

}  // namespace nuages::exporter
