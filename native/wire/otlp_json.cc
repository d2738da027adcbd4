#include "wire/otlp_json.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "wire/grpc_frame.h"
#include "wire/json_scanner.h"
#include "wire/protobuf_writer.h"

namespace nuages::wire {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char low = static_cast<char>(c | 0x20);
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

bool decode_hex(std::string_view text, std::string& out) {
  if (text.size() % 2 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high << 4 | low);
  }
  return true;
}

// A whole number as text, also as 1.0 or 1e3, where it is exact. Negative ones come as two's
// complement with `negative` set.
struct Whole {
  bool negative = false;
  uint64_t bits = 0;
};

std::optional<double> to_double(std::string_view text) {
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  // The only words that from_chars takes besides are "inf" and "nan" in any case.
  if (error == std::errc::result_out_of_range || !std::isfinite(value)) return std::nullopt;
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::optional<Whole> to_whole(std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc() && end == digits.data() + digits.size()) {
    constexpr uint64_t kLowest = uint64_t{1} << 63;
    if (negative && value > kLowest) return std::nullopt;
    return Whole{negative && value != 0, negative ? uint64_t{0} - value : value};
  }
  const auto number = to_double(text);
  constexpr double kTooLarge = 18446744073709551616.0;  // 2^64
  if (!number || std::trunc(*number) != *number) return std::nullopt;
  if (*number >= kTooLarge || *number < -kTooLarge / 2) return std::nullopt;
  if (*number < 0) return Whole{true, static_cast<uint64_t>(static_cast<int64_t>(*number))};
  return Whole{false, static_cast<uint64_t>(*number)};
}

bool is_signed(FieldType type) {
  return type == FieldType::kInt64 || type == FieldType::kSfixed64 || type == FieldType::kSint32;
}

bool is_32(FieldType type) {
  return type == FieldType::kUint32 || type == FieldType::kFixed32 || type == FieldType::kSint32;
}

bool fits(const Whole& whole, FieldType type) {
  if (is_signed(type)) {
    const auto value = static_cast<int64_t>(whole.bits);
    if (!whole.negative && value < 0) return false;
    return !is_32(type) || (value >= std::numeric_limits<int32_t>::min() &&
                            value <= std::numeric_limits<int32_t>::max());
  }
  return !whole.negative && (!is_32(type) || whole.bits <= std::numeric_limits<uint32_t>::max());
}

class Transcoder {
 public:
  Transcoder(std::string_view json, size_t max_bytes)
      : scanner_(json, kMaxJsonDepth), max_bytes_(max_bytes) {}

  Result<std::string> run(Signal signal) {
    message(request_type(signal));
    if (scanner_.ok()) scanner_.finish();
    if (scanner_.ok()) return std::string(out_.view());
    if (too_large_) {
      return Error{ErrorCode::kExhausted, "the body is larger than the limit of " +
                                              std::to_string(max_bytes_) +
                                              " bytes as protobuf; send smaller batches"};
    }
    std::string text = "the body is not a valid " + std::string(request_type(signal).name) +
                       " in JSON: " + (path_.empty() ? "" : path_text() + " ") + "(byte " +
                       std::to_string(scanner_.position()) + "): " + scanner_.reason();
    return Error{ErrorCode::kInvalid, std::move(text)};
  }

 private:
  struct Step {
    const Field* field;
    size_t index;  // of a repeated field
  };

  std::string path_text() const {
    std::string text;
    for (const Step& step : path_) {
      if (!text.empty()) text += '.';
      text += step.field->name;
      if (step.field->presence == Presence::kRepeated) {
        text += '[' + std::to_string(step.index) + ']';
      }
    }
    return text;
  }

  void message(const MessageType& type) {
    if (!scanner_.begin_object()) return;
    uint64_t seen = 0;
    const Field* chosen = nullptr;  // of the oneof: no message has two
    std::string_view key;
    while (scanner_.next_key(key)) {
      const Field* field = find_field(type, key);
      if (field == nullptr) {
        scanner_.skip();
        continue;
      }
      path_.push_back({field, 0});
      if (scanner_.null()) {
        path_.pop_back();
        continue;
      }
      const uint64_t bit = uint64_t{1} << field->number;
      if ((seen & bit) != 0) {
        scanner_.fail("given twice");
      } else if (field->oneof != 0 && chosen != nullptr) {
        scanner_.fail("given besides " + std::string(chosen->name) + ", which excludes it");
      }
      seen |= bit;
      if (field->oneof != 0) chosen = field;
      field->presence == Presence::kRepeated ? repeated(*field) : single(*field);
      if (!scanner_.ok()) return;  // the path stays for the error
      path_.pop_back();
    }
    if (out_.size() > max_bytes_) {
      too_large_ = true;
      scanner_.fail("too large");
    }
  }

  void repeated(const Field& field) {
    if (!scanner_.begin_array()) return;
    const bool packed = field.type != FieldType::kMessage && field.type != FieldType::kString;
    bool begun = false;
    ProtobufWriter::Message list{};
    while (scanner_.next_element()) {
      if (scanner_.peek() == 'n') {
        scanner_.fail("null in a list");
        return;
      }
      if (packed && !begun) list = out_.begin(field.number);
      begun = true;
      if (packed) {
        packed_number(field);
        if (out_.size() > max_bytes_) {
          too_large_ = true;
          scanner_.fail("too large");
        }
      } else {
        single(field);
      }
      if (!scanner_.ok()) return;
      ++path_.back().index;
    }
    if (packed && begun && scanner_.ok()) out_.end(list);
  }

  void single(const Field& field) {
    const bool always = field.presence != Presence::kImplicit;
    std::string_view text;
    switch (field.type) {
      case FieldType::kMessage: {
        const auto nested = out_.begin(field.number);
        message(*field.message);
        if (scanner_.ok()) out_.end(nested);
        return;
      }
      case FieldType::kString:
        if (scanner_.string(text) && (always || !text.empty())) out_.string(field.number, text);
        return;
      case FieldType::kBytes:
      case FieldType::kId:
        return bytes(field, always);
      case FieldType::kBool: {
        bool value = false;
        if (scanner_.boolean(value) && (always || value)) out_.boolean(field.number, value);
        return;
      }
      case FieldType::kDouble: {
        double value = 0;
        if (number(value) && (always || value != 0 || std::signbit(value))) {
          out_.number(field.number, value);
        }
        return;
      }
      case FieldType::kEnum: {
        int32_t value = 0;
        if (enumeration(field, value) && (always || value != 0)) {
          out_.varint(field.number, static_cast<uint64_t>(int64_t{value}));
        }
        return;
      }
      default:
        break;
    }
    uint64_t bits = 0;
    if (!whole(field.type, bits) || (!always && bits == 0)) return;
    switch (field.type) {
      case FieldType::kFixed64:
      case FieldType::kSfixed64:
        return out_.fixed64(field.number, bits);
      case FieldType::kFixed32:
        return out_.fixed32(field.number, static_cast<uint32_t>(bits));
      case FieldType::kSint32: {
        const auto value = static_cast<int32_t>(bits);
        const auto zigzag = static_cast<uint32_t>(value) << 1 ^ static_cast<uint32_t>(value >> 31);
        return out_.varint(field.number, zigzag);
      }
      default:
        return out_.varint(field.number, bits);
    }
  }

  void packed_number(const Field& field) {
    char raw[10];
    size_t size = 0;
    if (field.type == FieldType::kUint64) {
      uint64_t bits = 0;
      if (!whole(field.type, bits)) return;
      do {
        raw[size++] = static_cast<char>((bits & 0x7F) | (bits >= 0x80 ? 0x80 : 0));
        bits >>= 7;
      } while (bits != 0);
    } else {
      uint64_t bits = 0;
      double value = 0;
      if (field.type == FieldType::kDouble) {
        if (!number(value)) return;
        bits = std::bit_cast<uint64_t>(value);
      } else if (!whole(field.type, bits)) {
        return;
      }
      std::memcpy(raw, &bits, sizeof bits);
      size = sizeof bits;
    }
    out_.raw({raw, size});
  }

  void bytes(const Field& field, bool always) {
    std::string_view text;
    if (!scanner_.string(text)) return;
    if (field.type == FieldType::kId) {
      bytes_.clear();
      if (!decode_hex(text, bytes_)) {
        scanner_.fail("an id must be hexadecimal digits, two for each byte");
        return;
      }
    } else {
      std::string standard(text);  // base64url is allowed too
      for (char& c : standard) c = c == '-' ? '+' : c == '_' ? '/' : c;
      auto decoded = base64_decode(standard);
      if (!decoded) {
        scanner_.fail("not base64");
        return;
      }
      bytes_ = std::move(*decoded);
    }
    if (always || !bytes_.empty()) out_.string(field.number, bytes_);
  }

  // A number or a string with one.
  bool number_text(std::string_view& text) {
    return scanner_.peek() == '"' ? scanner_.string(text) : scanner_.number(text);
  }

  bool number(double& out) {
    std::string_view text;
    if (!number_text(text)) return false;
    const auto value = to_double(text);
    if (!value) return scanner_.fail("not a number in the range of a double");
    out = *value;
    return true;
  }

  bool whole(FieldType type, uint64_t& out) {
    std::string_view text;
    if (!number_text(text)) return false;
    const auto value = to_whole(text);
    if (!value) return scanner_.fail("not a whole number of 64 bits");
    if (!fits(*value, type)) {
      return scanner_.fail(std::string("a whole number of ") + (is_32(type) ? "32" : "64") +
                           " bits " + (is_signed(type) ? "with" : "without") +
                           " sign must stand here");
    }
    out = value->bits;
    return true;
  }

  bool enumeration(const Field& field, int32_t& out) {
    std::string_view text;
    if (scanner_.peek() == '"') {
      if (!scanner_.string(text)) return false;
      for (const EnumValue& value : field.values) {
        if (value.name == text) {
          out = value.number;
          return true;
        }
      }
    } else if (!scanner_.number(text)) {
      return false;
    }
    const auto value = to_whole(text);
    if (!value) return scanner_.fail("no number and no name of this enumeration");
    if (!fits(*value, FieldType::kSint32)) return scanner_.fail("not a number of 32 bits");
    out = static_cast<int32_t>(value->bits);
    return true;
  }

  JsonScanner scanner_;
  const size_t max_bytes_;
  bool too_large_ = false;
  ProtobufWriter out_;
  std::vector<Step> path_;
  std::string bytes_;
};

}  // namespace

Result<std::string> otlp_json_to_protobuf(std::string_view json, Signal signal, size_t max_bytes) {
  return Transcoder(json, max_bytes).run(signal);
}

}  // namespace nuages::wire
