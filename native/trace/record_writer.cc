#include "trace/record_writer.h"

#include "wire/otlp_writer.h"

namespace nuages::trace {

ValueView cut_value(const ValueView& value, uint32_t max_length, std::string& scratch) noexcept {
  ValueView cut = value;
  switch (value.type) {
    case wire::ValueType::kString:
      cut.text = truncate_code_points(value.text, max_length);
      break;
    case wire::ValueType::kArray:
    case wire::ValueType::kKeyValueList: {
      const auto shorten = [max_length](std::string_view text, std::string& out) {
        const std::string_view kept = truncate_code_points(text, max_length);
        if (kept.size() == text.size()) return false;
        out.assign(kept);
        return true;
      };
      if (wire::rewrite_strings(value.type, value.text, shorten, scratch)) cut.text = scratch;
      break;
    }
    default:
      break;
  }
  return cut;
}

LimitedAttributes::LimitedAttributes(std::span<const AttributeView> attributes, uint32_t max_count,
                                     const SpanLimits& limits, uint32_t dropped) noexcept
    : kept_(attributes), max_length_(limits.max_value_length), dropped_(dropped) {
  if (attributes.size() <= max_count) return;
  const size_t over = attributes.size() - max_count;
  dropped_ += static_cast<uint32_t>(over);
  kept_ = limits.drop == SpanLimits::Drop::kOldest ? attributes.subspan(over)
                                                   : attributes.first(max_count);
}

size_t LimitedAttributes::size() const noexcept {
  size_t total = 0;
  if (max_length_ == SpanLimits::kUnlimited) {
    for (const AttributeView& each : kept_) total += attribute_size(each.key, each.value);
    return total;
  }
  std::string scratch;
  for (const AttributeView& each : kept_) {
    total += attribute_size(each.key, cut_value(each.value, max_length_, scratch));
  }
  return total;
}

char* LimitedAttributes::write(char* at) const noexcept {
  if (max_length_ == SpanLimits::kUnlimited) {
    for (const AttributeView& each : kept_) at = write_attribute(at, each.key, each.value);
    return at;
  }
  std::string scratch;
  for (const AttributeView& each : kept_) {
    at = write_attribute(at, each.key, cut_value(each.value, max_length_, scratch));
  }
  return at;
}

char* write_event(char* at, size_t size, std::string_view name, uint64_t time_ns,
                  const LimitedAttributes& attributes) noexcept {
  EntryHeader header;
  header.size = static_cast<uint32_t>(size);
  header.type = EntryType::kEvent;
  header.text_size = static_cast<uint32_t>(name.size());
  const EventPart part{time_ns, attributes.count(), attributes.dropped()};
  return attributes.write(put_bytes(put_value(put_value(at, header), part), name));
}

}  // namespace nuages::trace
