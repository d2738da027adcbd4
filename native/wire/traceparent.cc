#include "wire/traceparent.h"

#include <algorithm>
#include <vector>

namespace nuages::wire {
namespace {

constexpr size_t kMaxMembers = 32;
constexpr char kDigits[] = "0123456789abcdef";

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Lower-case hexadecimal only, as the recommendation demands.
bool lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

unsigned hex_digit(char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); }

bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool key_char(char c) {
  return lower(c) || digit(c) || c == '_' || c == '-' || c == '*' || c == '/';
}
bool all_key_chars(std::string_view text) {
  return std::all_of(text.begin(), text.end(), key_char);
}

bool valid_key(std::string_view key) {
  if (key.empty()) return false;
  const size_t at = key.find('@');
  if (at == std::string_view::npos) {
    return lower(key[0]) && key.size() <= 256 && all_key_chars(key.substr(1));
  }
  const std::string_view tenant = key.substr(0, at);
  const std::string_view system = key.substr(at + 1);
  return !tenant.empty() && tenant.size() <= 241 && (lower(tenant[0]) || digit(tenant[0])) &&
         all_key_chars(tenant.substr(1)) && !system.empty() && system.size() <= 14 &&
         lower(system[0]) && all_key_chars(system.substr(1));
}

bool valid_value(std::string_view value) {
  if (value.empty() || value.size() > 256 || value.back() == ' ') return false;
  return std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

}  // namespace

std::optional<TraceParent> parse_traceparent(std::string_view header) {
  header = trim(header);
  if (header.size() < kTraceParentSize) return std::nullopt;
  if (header[2] != '-' || header[35] != '-' || header[52] != '-') return std::nullopt;
  const std::string_view version = header.substr(0, 2);
  const std::string_view flags = header.substr(53, 2);
  if (!lower_hex(version) || version == "ff" || !lower_hex(flags)) return std::nullopt;
  if (header.size() > kTraceParentSize && (version == "00" || header[kTraceParentSize] != '-')) {
    return std::nullopt;
  }
  const std::string_view trace = header.substr(3, 32);
  const std::string_view span = header.substr(36, 16);
  if (!lower_hex(trace) || !lower_hex(span)) return std::nullopt;
  const auto trace_id = trace_id_from_hex(trace);
  const auto span_id = span_id_from_hex(span);
  if (!trace_id || !span_id) return std::nullopt;
  return TraceParent{*trace_id, *span_id,
                     static_cast<uint8_t>(hex_digit(flags[0]) << 4 | hex_digit(flags[1]))};
}

std::string format_traceparent(const TraceParent& parent) {
  std::string out = "00-" + to_hex(parent.trace_id) + "-" + to_hex(parent.span_id) + "-";
  out.push_back(kDigits[parent.flags >> 4]);
  out.push_back(kDigits[parent.flags & 15]);
  return out;
}

std::string parse_tracestate(std::string_view header) {
  std::string out;
  std::vector<std::string_view> keys;
  while (!header.empty()) {
    const size_t comma = header.find(',');
    const std::string_view member = trim(header.substr(0, comma));
    header = comma == std::string_view::npos ? std::string_view() : header.substr(comma + 1);
    if (member.empty()) continue;
    const size_t equals = member.find('=');
    if (equals == std::string_view::npos) return {};
    const std::string_view key = member.substr(0, equals);
    if (!valid_key(key) || !valid_value(member.substr(equals + 1))) return {};
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return {};
    if (keys.size() == kMaxMembers) return {};
    keys.push_back(key);
    if (!out.empty()) out.push_back(',');
    out.append(member);
  }
  return out;
}

}  // namespace nuages::wire
