// Puts OTLP requests together from encoded parts of others: the same resources and scopes, some of
// the items.
//
// All three signals have one shape: a request's field 1 are resources with their spans (logs,
// metrics), whose field 2 are scopes, whose field 2 are the items; everything else in a resource or
// scope is its head and is copied as it is. read_request() walks one; RequestBuilder writes one,
// and begins the next when it is full. A container without items is left out.
//
// Threading: one thread. Lifetime: heads given to the builder must live until the next head or
// take(). Cost: a copy of the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/protobuf_reader.h"
#include "wire/protobuf_writer.h"

namespace nuages::gateway {

class RequestBuilder {
 public:
  explicit RequestBuilder(uint64_t max_items = 0) : max_items_(max_items) {}  // 0: any number

  void resource(std::string_view head);
  void scope(std::string_view head);
  void item(std::string_view bytes);
  uint64_t items() const { return items_; }

  struct Part {
    std::string body;
    uint64_t items = 0;
  };
  std::vector<Part> take();

 private:
  void close_scope();
  void close_resource();
  void close_part();

  const uint64_t max_items_;
  uint64_t items_ = 0;
  uint64_t part_items_ = 0;
  wire::ProtobufWriter out_;
  std::string_view resource_head_, scope_head_;
  wire::ProtobufWriter::Message resource_{}, scope_{};
  bool resource_open_ = false;
  bool scope_open_ = false;
  std::vector<Part> parts_;
};

// The fields of a message other than `field`, as they are; its occurrences go to f(bytes). False
// when the message is malformed.
template <typename F>
bool split_message(std::string_view message, uint32_t field, std::string& head, F&& f) {
  head.clear();
  wire::ProtobufReader reader(message);
  const char* begin = reader.position();
  while (reader.next()) {
    if (reader.is(field, wire::WireType::kLength)) {
      const std::string_view bytes = reader.bytes();
      if (!reader.ok()) return false;
      f(bytes);
    } else {
      reader.skip();
      head.append(begin, reader.position());
    }
    begin = reader.position();
  }
  return reader.ok();
}

// Calls visitor.on_resource(head), on_scope(head), on_item(bytes) in the order of the request.
// False when it is malformed; what was visited before then is to be thrown away.
template <typename Visitor>
bool read_request(std::string_view body, Visitor& visitor) {
  bool good = true;
  std::string ignored;
  std::string resource_head;
  std::string scope_head;
  std::vector<std::string_view> scopes;
  std::vector<std::string_view> items;
  good &= split_message(body, 1, ignored, [&](std::string_view resource) {
    scopes.clear();
    good &= split_message(resource, 2, resource_head,
                          [&](std::string_view scope) { scopes.push_back(scope); });
    visitor.on_resource(std::string_view(resource_head));
    for (const std::string_view scope : scopes) {
      items.clear();
      good &= split_message(scope, 2, scope_head,
                            [&](std::string_view item) { items.push_back(item); });
      visitor.on_scope(std::string_view(scope_head));
      for (const std::string_view item : items) visitor.on_item(item);
    }
  });
  return good;
}

// Parts of at most `max_items` items; a malformed body comes back whole.
std::vector<RequestBuilder::Part> split_request(std::string_view body, uint64_t max_items);

}  // namespace nuages::gateway
