// Orphans: files that killed processes left behind (export/tmpfs_file.h), found and sent.
//
// scan_orphans() looks through the queue directories, removes what is empty, unreadable, too old or
// too much, and names those that this process may send: same user, service, endpoint and headers.
// An Orphan is one of them under an exclusive flock(): whoever holds it is its only adopter, and
// the kernel gives it back when the adopter dies. What was delivered is marked in the file, so the
// next adopter repeats one batch at most.
//
// Nothing in a file is believed. It is copied first (a copy cannot change or shrink while it is
// read), every size and sum is checked, every request is read back before it is sent, and a file
// whose adopters died over it three times is removed unread.
//
// One thread. A forked child must forget() an Orphan: its descriptor shares the parent's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "export/batch_encoder.h"
#include "export/outage_buffer.h"
#include "export/tmpfs_file.h"
#include "trace/queue_recovery.h"

namespace nuages::exporter {

struct OrphanLimits {
  size_t files = 32;
  uint64_t bytes = 64U << 20;
  uint64_t age = 24ULL * 3600 * 1'000'000'000;
};

struct OrphanPlace {
  std::string base;  // as in open_queue_directory()
  std::string name;
};

struct OrphanScan {
  std::vector<OrphanPlace> mine;  // oldest first
  size_t removed_unsent = 0;      // files that had to go with spans in them
  uint64_t recheck = 0;           // steady_now() when a silent owner may count as dead; 0: none
};

OrphanScan scan_orphans(const std::vector<std::string>& bases, uint64_t audience,
                        const OrphanLimits& limits);

class Orphan {
 public:
  struct Request {
    std::string_view body;
    uint32_t spans = 0;
  };

  // Nothing: it is gone, lives, is somebody else's or cannot be read (then it is removed).
  static std::unique_ptr<Orphan> adopt(const OrphanPlace& place, uint64_t audience);
  ~Orphan();  // gives the file back, with what is left in it
  Orphan(const Orphan&) = delete;
  Orphan& operator=(const Orphan&) = delete;

  // The next request; its body is empty when nothing is left.
  Request next(size_t max_spans, size_t max_bytes);
  void settled();  // the last request was delivered or refused for good: mark it
  void remove();   // the file
  void forget() noexcept;

  uint64_t pid() const noexcept { return header_.owner.pid; }
  // Spans that were found but cannot be sent: damaged, or masked by rules unknown here.
  uint64_t unsendable() const noexcept { return unsendable_; }

 private:
  struct Header {  // what is needed of a FileHeader
    FileKind kind;
    Owner owner;
    uint32_t mask;
    uint64_t payload_bytes;
  };
  Orphan(int file, int directory, std::string name, const FileHeader& header);
  bool load();
  bool load_queue();
  bool read_at(size_t offset, size_t size);
  bool store(size_t offset, const void* value, size_t size);
  Request next_of_queue(size_t max_spans, size_t max_bytes);
  Request next_of_outage(size_t max_bytes);

  int file_;
  int directory_;
  const std::string name_;
  uint64_t inode_ = 0;
  uint32_t attempts_ = 0;
  const Header header_;
  char* copy_ = nullptr;

  std::unique_ptr<trace::QueueImage> image_;
  std::vector<trace::QueueImage::Found> found_;
  size_t done_ = 0;   // of found_
  size_t ahead_ = 0;  // of found_, with the request at hand
  BatchEncoder encoder_;
  OutageBuffer outage_;
  std::string unpacked_;
  uint64_t unsendable_ = 0;
};

}  // namespace nuages::exporter
