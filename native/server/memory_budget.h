// How much memory request bodies may take together while they arrive. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>

namespace nuages::server {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t bytes) : left_(static_cast<ptrdiff_t>(bytes)) {}

  bool take(size_t bytes) {
    if (left_.fetch_sub(static_cast<ptrdiff_t>(bytes)) >= static_cast<ptrdiff_t>(bytes)) {
      return true;
    }
    give(bytes);
    return false;
  }
  void give(size_t bytes) { left_.fetch_add(static_cast<ptrdiff_t>(bytes)); }

  // What one request took; gives it back when it ends.
  class Share {
   public:
    explicit Share(MemoryBudget& budget) : budget_(&budget) {}
    ~Share() { release(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    bool grow_to(size_t bytes) {
      if (bytes <= taken_) return true;
      if (!budget_->take(bytes - taken_)) return false;
      taken_ = bytes;
      return true;
    }
    void release() {
      budget_->give(taken_);
      taken_ = 0;
    }

   private:
    MemoryBudget* budget_;
    size_t taken_ = 0;
  };

 private:
  std::atomic<ptrdiff_t> left_;
};

}  // namespace nuages::server
