#include "trace/scope.h"

#include <pthread.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

#include "trace/record_writer.h"

namespace nuages::trace {
namespace {

struct Table {
  std::mutex mutex;
  std::deque<std::string> descriptions;  // by id; never move
  std::unordered_map<std::string_view, uint32_t> ids;
  std::atomic<uint32_t> count{0};

  Table() {
    add(describe({}, {}));
    // A child must not inherit a lock that a vanished thread holds.
    pthread_atfork([] { table().mutex.lock(); }, [] { table().mutex.unlock(); },
                   [] { table().mutex.unlock(); });
  }
  uint32_t add(std::string description) {
    const auto id = static_cast<uint32_t>(descriptions.size());
    descriptions.push_back(std::move(description));
    ids.emplace(descriptions.back(), id);
    count.store(id + 1, std::memory_order_release);
    return id;
  }
  // Never destroyed: threads may still use it while the process exits.
  static Table& table() {
    static Table* const instance = new Table;
    return *instance;
  }
};

// Made when the library is loaded: a fork cannot catch another thread in its first use.
[[maybe_unused]] const Table& g_table = Table::table();

}  // namespace

std::string describe(const ScopeView& scope, std::span<const AttributeView> attributes) {
  const LimitedAttributes all(attributes, SpanLimits::kUnlimited, SpanLimits{});
  DescriptionHeader header;
  header.name_size = static_cast<uint32_t>(scope.name.size());
  header.version_size = static_cast<uint32_t>(scope.version.size());
  header.schema_size = static_cast<uint32_t>(scope.schema_url.size());
  header.attributes = all.count();
  std::string out(sizeof header + scope.name.size() + scope.version.size() +
                      scope.schema_url.size() + all.size(),
                  '\0');
  char* at = put_bytes(put_value(out.data(), header), scope.name);
  all.write(put_bytes(put_bytes(at, scope.version), scope.schema_url));
  return out;
}

DescriptionView read_description(std::string_view bytes) noexcept {
  if (bytes.size() < sizeof(DescriptionHeader)) return {};
  const auto header = load<DescriptionHeader>(bytes.data());
  const char* at = bytes.data() + sizeof header;
  DescriptionView view;
  view.scope.name = {at, header.name_size};
  at += header.name_size;
  view.scope.version = {at, header.version_size};
  at += header.version_size;
  view.scope.schema_url = {at, header.schema_size};
  at += header.schema_size;
  view.attributes = {at, bytes.data() + bytes.size(), header.attributes};
  return view;
}

uint32_t intern_scope(const ScopeView& scope, std::span<const AttributeView> attributes) {
  std::string description = describe(scope, attributes);
  Table& table = Table::table();
  std::lock_guard guard(table.mutex);
  const auto known = table.ids.find(description);
  return known != table.ids.end() ? known->second : table.add(std::move(description));
}

uint32_t scope_count() noexcept { return Table::table().count.load(std::memory_order_acquire); }

std::string_view scope_description(uint32_t id) {
  Table& table = Table::table();
  std::lock_guard guard(table.mutex);
  return id < table.descriptions.size() ? std::string_view(table.descriptions[id])
                                        : std::string_view();
}

}  // namespace nuages::trace
