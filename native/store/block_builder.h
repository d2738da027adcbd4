// Appends decoded OTLP spans to a SpanBlock: the visitor that wire/otlp_reader.h calls.
//
// Order of calls as in the message: on_resource, then on_scope, then on_span for each of its spans.
// Nothing the visitor gets is kept by reference. Spans come validated (ids, UTF-8); values that do
// not fit a column stay in the attributes, so nothing is lost. One builder per block and thread.
//
// SQL: the fingerprint is the attribute nuages.db.fingerprint when the agent sends it, else
// computed from the statement; the text kept per fingerprint has no literals. Statements of
// databases that do not speak SQL stay plain attributes. Resources are hashed by content (XXH3 of
// their encoded attributes). Times after the year 2106 are kept as that year's end: the store sorts
// by 32-bit minutes. The same messages with the same receive times build the same block.
//
// Cost: about 0.5 us per span besides computing fingerprints.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sql/statement_cache.h"
#include "store/span_block.h"
#include "wire/otlp_model.h"

namespace nuages::store {

class BlockBuilder {
 public:
  explicit BlockBuilder(SpanBlock& block) : block_(&block) {}

  // When the spans that follow were received; fixed in the WAL so that a replay builds the same
  // block.
  void set_receive_time(uint64_t unix_ns);

  void on_resource(const wire::Resource& resource);
  void on_scope(const wire::Scope& scope);
  void on_span(const wire::Span& span);

  // Goes on with another block, also between two spans of a message.
  void set_block(SpanBlock& block);

 private:
  struct Promotion;

  void keep_resource();
  void append_attributes(const wire::Span& span);
  uint64_t keep_statement(Promotion& promotion);
  void append_columns(const Promotion& promotion, uint64_t fingerprint);
  void append_events(const wire::Span& span);
  void append_links(const wire::Span& span);
  void append_extra(const wire::Span& span);

  SpanBlock* block_;
  uint32_t received_seconds_ = 0;
  std::string service_;
  std::string environment_;
  std::string scope_;
  std::string resource_attributes_;
  uint64_t resource_hash_ = 0;
  bool resource_kept_ = false;  // in the current block
  std::string promoted_keys_;
  sql::StatementCache statements_;
};

}  // namespace nuages::store
