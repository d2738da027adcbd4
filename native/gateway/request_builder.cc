#include "gateway/request_builder.h"

#include <utility>

namespace nuages::gateway {

void RequestBuilder::resource(std::string_view head) {
  close_resource();
  resource_head_ = head;
  scope_head_ = {};
}

void RequestBuilder::scope(std::string_view head) {
  close_scope();
  scope_head_ = head;
}

void RequestBuilder::item(std::string_view bytes) {
  if (max_items_ != 0 && part_items_ == max_items_) close_part();
  if (!resource_open_) {
    resource_ = out_.begin_large(1);
    out_.raw(resource_head_);
    resource_open_ = true;
  }
  if (!scope_open_) {
    scope_ = out_.begin_large(2);
    out_.raw(scope_head_);
    scope_open_ = true;
  }
  out_.string(2, bytes);
  ++part_items_;
  ++items_;
}

void RequestBuilder::close_scope() {
  if (scope_open_) out_.end(scope_);
  scope_open_ = false;
}

void RequestBuilder::close_resource() {
  close_scope();
  if (resource_open_) out_.end(resource_);
  resource_open_ = false;
}

void RequestBuilder::close_part() {
  close_resource();
  if (part_items_ == 0) return;
  parts_.push_back({std::string(out_.view()), part_items_});
  out_.clear();
  part_items_ = 0;
}

std::vector<RequestBuilder::Part> RequestBuilder::take() {
  close_part();
  items_ = 0;
  return std::exchange(parts_, {});
}

namespace {

struct Copy {
  RequestBuilder& builder;
  void on_resource(std::string_view head) { builder.resource(head); }
  void on_scope(std::string_view head) { builder.scope(head); }
  void on_item(std::string_view bytes) { builder.item(bytes); }
};

}  // namespace

std::vector<RequestBuilder::Part> split_request(std::string_view body, uint64_t max_items) {
  RequestBuilder builder(max_items);
  Copy copy{builder};
  if (!read_request(body, copy)) return {{std::string(body), 0}};
  return builder.take();
}

}  // namespace nuages::gateway
