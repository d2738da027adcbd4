// Intrusive reference counting and a spin lock for critical sections of a few instructions.
//
// Ref<T> is one pointer; T derives from RefCounted<T> and starts with one reference that
// Ref<T>::adopt takes over. A type with its own release (Span: back to a pool) defines
// `void destroy() noexcept`. SpinLock yields after a while, so a preempted holder costs little;
// it is only held for bounded work in memory.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <utility>

namespace nuages::trace {

template <typename T>
class RefCounted {
 public:
  void add_ref() const noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  bool only_reference() const noexcept { return references_.load(std::memory_order_acquire) == 1; }
  void release() const noexcept {
    // The last reference needs no atomic update: nobody is left who could add one.
    if (only_reference() || references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      T* self = static_cast<T*>(const_cast<RefCounted*>(this));
      if constexpr (requires { self->destroy(); }) {
        self->destroy();
      } else {
        delete self;
      }
    }
  }

 protected:
  void reset_references() noexcept { references_.store(1, std::memory_order_relaxed); }

 private:
  friend T;
  RefCounted() noexcept = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  ~RefCounted() = default;

  mutable std::atomic<uint32_t> references_{1};
};

template <typename T>
class Ref {
 public:
  Ref() noexcept = default;
  static Ref adopt(T* pointer) noexcept {
    Ref ref;
    ref.pointer_ = pointer;
    return ref;
  }
  static Ref share(T* pointer) noexcept {
    if (pointer) pointer->add_ref();
    return adopt(pointer);
  }
  Ref(const Ref& other) noexcept : pointer_(other.pointer_) {
    if (pointer_) pointer_->add_ref();
  }
  Ref(Ref&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(pointer_, other.pointer_);
    return *this;
  }
  ~Ref() {
    if (pointer_) pointer_->release();
  }

  T* get() const noexcept { return pointer_; }
  T* operator->() const noexcept { return pointer_; }
  T& operator*() const noexcept { return *pointer_; }
  explicit operator bool() const noexcept { return pointer_ != nullptr; }
  // Gives the reference away: the caller must release() it (or adopt() it) later.
  T* detach() noexcept { return std::exchange(pointer_, nullptr); }

 private:
  T* pointer_ = nullptr;
};

class SpinLock {
 public:
  void lock() noexcept {
    uint32_t tries = 0;
    while (locked_.exchange(true, std::memory_order_acquire)) {
      while (locked_.load(std::memory_order_relaxed)) {
        if (++tries > 64) sched_yield();
      }
    }
  }
  bool try_lock() noexcept { return !locked_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> locked_{false};
};

}  // namespace nuages::trace
