// The process-wide table of instrumentation scopes: records carry a small integer instead.
//
// Ids are dense from 0; 0 is the empty scope. intern() is for tracer creation, not for the hot
// path. Entries live for the process. Any thread. Queues copy the entries they need into their own
// header (trace/queue.h), so a reader in another process needs no table of this one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "trace/attribute.h"
#include "trace/record.h"

namespace nuages::trace {

struct ScopeView {
  std::string_view name = {};
  std::string_view version = {};
  std::string_view schema_url = {};
};

// The same name, version, schema URL and attributes give the same id.
uint32_t intern_scope(const ScopeView& scope, std::span<const AttributeView> attributes = {});

uint32_t scope_count() noexcept;
std::string_view scope_description(uint32_t id);  // lives for the process; empty when unknown

// One scope, or a resource (name and version empty), as position-independent bytes.
struct DescriptionHeader {
  uint32_t name_size = 0;
  uint32_t version_size = 0;
  uint32_t schema_size = 0;
  uint32_t attributes = 0;
};

struct DescriptionView {
  ScopeView scope;
  AttributeRange attributes;
};

std::string describe(const ScopeView& scope, std::span<const AttributeView> attributes);
DescriptionView read_description(std::string_view bytes) noexcept;

}  // namespace nuages::trace
