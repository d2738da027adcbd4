#include "wire/json_scanner.h"

#include "wire/protobuf_reader.h"

namespace nuages::wire {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

}  // namespace

bool JsonScanner::fail(std::string_view reason) {
  if (!failed_) reason_ = reason;
  failed_ = true;
  return false;
}

void JsonScanner::space() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
}

char JsonScanner::peek() {
  if (failed_) return 0;
  space();
  return at_ == end_ ? '\0' : *at_;
}

bool JsonScanner::enter(char bracket) {
  if (failed_) return false;
  if (peek() != bracket) {
    return fail(at_ == end_      ? "the text ends here"
                : bracket == '{' ? "an object must stand here"
                                 : "an array must stand here");
  }
  if (depth_ == max_depth_) return fail("nested too deeply");
  ++depth_;
  ++at_;
  first_ = true;
  return true;
}

// Past the comma or the closing bracket; false at the latter.
bool JsonScanner::next(char close) {
  if (failed_) return false;
  space();
  if (at_ == end_) return fail("the text ends here");
  if (*at_ == close) {
    ++at_;
    --depth_;
    first_ = false;
    return false;
  }
  if (!first_) {
    if (*at_ != ',') return fail(close == '}' ? "',' or '}' expected" : "',' or ']' expected");
    ++at_;
    space();
  }
  first_ = false;
  return true;
}

bool JsonScanner::begin_object() { return enter('{'); }
bool JsonScanner::begin_array() { return enter('['); }
bool JsonScanner::next_element() { return next(']'); }

bool JsonScanner::next_key(std::string_view& key) {
  if (!next('}')) return false;
  if (peek() != '"') return fail("a name in quotes expected");
  if (!string(key)) return false;
  if (peek() != ':') return fail("':' expected");
  ++at_;
  return true;
}

bool JsonScanner::hex4(uint32_t& out) {
  out = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    if (at_ == end_) return fail("the text ends here");
    const char c = *at_;
    const char low = static_cast<char>(c | 0x20);
    if (digit(c)) {
      out = out << 4 | static_cast<uint32_t>(c - '0');
    } else if (low >= 'a' && low <= 'f') {
      out = out << 4 | static_cast<uint32_t>(low - 'a' + 10);
    } else {
      return fail("four hexadecimal digits expected behind \\u");
    }
  }
  return true;
}

bool JsonScanner::escape(std::string& out) {
  if (++at_ == end_) return fail("the text ends here");
  const char c = *at_++;
  switch (c) {
    case '"':
    case '\\':
    case '/':
      out += c;
      return true;
    case 'b':
      out += '\b';
      return true;
    case 'f':
      out += '\f';
      return true;
    case 'n':
      out += '\n';
      return true;
    case 'r':
      out += '\r';
      return true;
    case 't':
      out += '\t';
      return true;
    case 'u':
      break;
    default:
      return fail("unknown escape");
  }
  uint32_t code = 0;
  if (!hex4(code)) return false;
  if (code >= 0xD800 && code < 0xDC00) {
    uint32_t low = 0;
    if (end_ - at_ < 2 || at_[0] != '\\' || at_[1] != 'u') return fail("half of a surrogate pair");
    at_ += 2;
    if (!hex4(low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail("half of a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code < 0xE000) {
    return fail("half of a surrogate pair");
  }
  append_utf8(out, code);
  return true;
}

bool JsonScanner::string(std::string_view& out) {
  if (peek() != '"') return fail(at_ == end_ ? "the text ends here" : "a string must stand here");
  const char* start = ++at_;
  bool escaped = false;
  for (;;) {
    const char* plain = at_;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<uint8_t>(*at_) >= 0x20) ++at_;
    if (escaped) text_.append(plain, at_);
    if (at_ == end_) return fail("the text ends inside a string");
    if (*at_ == '"') break;
    if (*at_ != '\\') return fail("a control character inside a string");
    if (!escaped) text_.assign(start, at_);
    escaped = true;
    if (!escape(text_)) return false;
  }
  out =
      escaped ? std::string_view(text_) : std::string_view(start, static_cast<size_t>(at_ - start));
  if (!valid_utf8(out)) return fail("text that is not UTF-8");
  ++at_;
  return true;
}

bool JsonScanner::number(std::string_view& out) {
  if (peek() == 0) return fail("the text ends here");
  const char* start = at_;
  const auto digits = [this] {
    const char* from = at_;
    while (at_ != end_ && digit(*at_)) ++at_;
    return at_ != from;
  };
  if (*at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
  } else if (!digits()) {
    return fail("a number must stand here");
  }
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    if (!digits()) return fail("a digit expected behind '.'");
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) return fail("a digit expected in the exponent");
  }
  out = {start, static_cast<size_t>(at_ - start)};
  return true;
}

bool JsonScanner::literal(std::string_view word) {
  if (failed_) return false;
  if (std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) {
    at_ += word.size();
    return true;
  }
  return false;
}

bool JsonScanner::boolean(bool& out) {
  const char c = peek();
  if (c == 't' && literal("true")) {
    out = true;
    return true;
  }
  if (c == 'f' && literal("false")) {
    out = false;
    return true;
  }
  return fail("true or false must stand here");
}

bool JsonScanner::null() {
  if (peek() != 'n') return false;
  return literal("null") || fail("unknown word");
}

void JsonScanner::skip() {
  const int outside = depth_;
  std::string closers;  // of the containers inside, innermost last
  do {
    if (!closers.empty()) {
      const bool object = closers.back() == '}';
      std::string_view key;
      if (object ? !next_key(key) : !next_element()) {
        closers.pop_back();
        continue;
      }
    }
    std::string_view ignored;
    bool flag = false;
    switch (peek()) {
      case '{':
        if (begin_object()) closers += '}';
        break;
      case '[':
        if (begin_array()) closers += ']';
        break;
      case '"':
        string(ignored);
        break;
      case 't':
      case 'f':
        boolean(flag);
        break;
      case 'n':
        null();
        break;
      default:
        number(ignored);
    }
  } while (!failed_ && depth_ > outside);
}

bool JsonScanner::finish() {
  if (failed_) return false;
  space();
  return at_ == end_ || fail("more text behind the value");
}

}  // namespace nuages::wire
