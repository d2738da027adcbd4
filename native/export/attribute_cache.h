// What became of attributes that were written before: an application repeats most of them
// ("http.method" = "GET") with every span, and looking through keys and values for personal data
// and encoding them is most of what a span costs the exporter.
//
// Key: the bytes of the entry in the record, compared in full. Value: the bytes that went into the
// request, masked and encoded; none for an attribute that may not leave the process. Direct mapped;
// an entry is kept when its hash is met the second time in a row, so values that never repeat
// (ids, times) cost a hash and no copy. Two tables: 256 of up to 240 bytes, and 32 of up to 2 KB
// for statements, 64 KB each, made at the first use. Whoever changes the rules calls clear().
// Threading: one thread. Cost: 5 ns for a short attribute. docs/design/export.md has the figures.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace nuages::exporter {

class AttributeCache {
 public:
  static constexpr size_t kFewest = 20;  // bytes of an entry that find() can take
  static constexpr size_t kBlock = 16;   // encoded() can be read in blocks of

  struct Slot {
    uint32_t tag = 0;   // of what is here; 0: nothing
    uint32_t seen = 0;  // of what was asked for last and is not here
    uint16_t size = 0;  // of the entry
    uint16_t written = 0;
    uint32_t field = 0;
    char* bytes() { return reinterpret_cast<char*>(this + 1); }
    std::string_view encoded() { return {bytes() + size, written}; }
  };

  struct Found {
    Slot* slot = nullptr;  // nullptr: too large for any
    uint32_t tag = 0;
    uint32_t capacity = 0;
    bool hit = false;   // slot->encoded() is the answer
    bool keep = false;  // store() it
  };

  Found find(uint32_t field, std::string_view entry) {
    const uint64_t hash = hash_of(field, entry);
    const auto tag = static_cast<uint32_t>(hash >> 32) | 1U;
    Found found;
    found.tag = tag;
    if (entry.size() <= Small::kBytes / 2) {
      found.slot = slot(small_, hash);
      found.capacity = Small::kBytes;
    } else if (entry.size() <= Large::kBytes / 2) {
      found.slot = slot(large_, hash);
      found.capacity = Large::kBytes;
    } else {
      return found;
    }
    Slot& at = *found.slot;
    if (at.tag == tag && at.size == entry.size() && at.field == field &&
        equal(at.bytes(), entry.data(), entry.size())) {
      found.hit = true;
    } else if (at.seen == tag) {
      found.keep = true;
    } else {
      at.seen = tag;
    }
    return found;
  }

  // After find() said `keep`, with what was written.
  static void store(const Found& found, uint32_t field, std::string_view entry,
                    std::string_view encoded) {
    if (entry.size() + encoded.size() + kBlock > found.capacity) return;
    Slot& at = *found.slot;
    at.tag = found.tag;
    at.seen = 0;
    at.size = static_cast<uint16_t>(entry.size());
    at.written = static_cast<uint16_t>(encoded.size());
    at.field = field;
    std::memcpy(at.bytes(), entry.data(), entry.size());
    std::memcpy(at.bytes() + entry.size(), encoded.data(), encoded.size());
  }

  void clear() {
    small_.reset();
    large_.reset();
  }

 private:
  template <size_t kSlotBytes, size_t kSlotCount>
  struct Table {
    static constexpr size_t kBytes = kSlotBytes - sizeof(Slot);
    static constexpr size_t kSlots = kSlotCount;
    struct alignas(16) Place : Slot {
      char text[kBytes];
    };
    static_assert(sizeof(Place) == kSlotBytes);
    std::array<Place, kSlots> places;
  };
  using Small = Table<256, 256>;
  using Large = Table<2048, 32>;

  template <typename Kind>
  static Slot* slot(std::unique_ptr<Kind>& table, uint64_t hash) {
    if (!table) [[unlikely]]
      table = std::make_unique<Kind>();
    return &table->places[(hash >> 20) % Kind::kSlots];
  }

  static uint64_t load(const char* at) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
  }

  // Size, type and the lengths are in the first 12 bytes, the value at the end.
  static uint64_t hash_of(uint32_t field, std::string_view entry) {
    const char* data = entry.data();
    const size_t size = entry.size();
    uint64_t hash = (load(data) ^ field) * 0x9e37'79b9'7f4a'7c15ULL;
    hash = (hash ^ load(data + size - 8) ^ (hash >> 29)) * 0xbf58'476d'1ce4'e5b9ULL;
    hash = (hash ^ load(data + size / 2) ^ (hash >> 32)) * 0x94d0'49bb'1331'11ebULL;
    return hash ^ (hash >> 31);
  }

  static bool equal(const char* a, const char* b, size_t size) {
    if (size > 128) return std::memcmp(a, b, size) == 0;
    using Block = uint64_t __attribute__((vector_size(16)));
    const auto differ = [&](size_t at) {
      Block x;
      Block y;
      std::memcpy(&x, a + at, sizeof x);
      std::memcpy(&y, b + at, sizeof y);
      return x ^ y;
    };
    Block all = differ(size - kBlock);
    for (size_t i = 0; i + kBlock < size; i += kBlock) all |= differ(i);
    return (all[0] | all[1]) == 0;
  }

  std::unique_ptr<Small> small_;
  std::unique_ptr<Large> large_;
};

}  // namespace nuages::exporter
