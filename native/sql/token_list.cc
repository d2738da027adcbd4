#include "sql/token_list.h"

#include "sql/words.h"

namespace nuages::sql {
namespace {

constexpr std::string_view kValueWords[] = {"null", "true", "false", "default"};
constexpr std::string_view kValuesWords[] = {"values", "value"};
constexpr std::string_view kRollbackWords[] = {"work", "transaction"};
constexpr size_t kNone = static_cast<size_t>(-1);

bool is_value(const Token& token) {
  return token.kind == TokenKind::kLiteral || token.kind == TokenKind::kPlaceholder ||
         (token.kind == TokenKind::kWord && word_in(token.text, kValueWords));
}

bool same_token(const Token& a, const Token& b) {
  if (a.kind == b.kind && a.kind == TokenKind::kPunctuation) return a.text == b.text;
  if (is_value(a)) return is_value(b);
  return a.kind == b.kind && same_word(a.text, b.text);
}

class Reader {
 public:
  Reader(std::string_view sql, Dialect dialect) : lexer_(sql, dialect) {
    list_.tokens.reserve(sql.size() / 8 + 8 < 1024 ? sql.size() / 8 + 8 : 1024);
    frames_.emplace_back();
  }

  TokenList run() {
    for (;;) {
      Token token = lexer_.next();
      list_.has_comments |= token.comment_before;
      if (token.kind == TokenKind::kEnd) break;
      list_.has_literals |= token.kind == TokenKind::kLiteral;
      if (!savepoint_name(token)) add(token);
    }
    auto& tokens = list_.tokens;
    while (!tokens.empty() && tokens.back().kind == TokenKind::kPunctuation &&
           tokens.back().text == ";") {
      tokens.pop_back();
    }
    return std::move(list_);
  }

 private:
  // One for the statement and one for each open bracket.
  struct Frame {
    enum Mode : uint8_t { kPlain, kItems, kRows } mode = kPlain;
    size_t item = 0;            // where the current item starts
    size_t kept_begin = kNone;  // the last item that stayed
    size_t kept_end = kNone;
  };

  void add(const Token& token) {
    auto& tokens = list_.tokens;
    const char mark = token.kind == TokenKind::kPunctuation ? token.text[0] : '\0';
    if (frames_.back().mode == Frame::kRows && mark != '(' && mark != ',' && mark != ')') {
      frames_.back().mode = Frame::kPlain;  // what follows the last row
    }
    switch (mark) {
      case '(':
      case '[': {
        if (frames_.back().mode == Frame::kRows) frames_.back().item = tokens.size();
        Frame frame;
        if (follows_word(mark == '(' ? "in" : "array")) frame.mode = Frame::kItems;
        frame.item = tokens.size() + 1;
        tokens.push_back(token);
        frames_.push_back(frame);
        return;
      }
      case ')':
      case ']':
        if (frames_.back().mode == Frame::kItems) end_item(frames_.back());
        tokens.push_back(token);
        if (frames_.size() > 1) frames_.pop_back();
        if (frames_.back().mode == Frame::kRows) end_item(frames_.back());
        return;
      case ',':
        if (frames_.back().mode == Frame::kItems) {
          end_item(frames_.back());
          frames_.back().item = tokens.size() + 1;
        }
        tokens.push_back(token);
        return;
      default:
        tokens.push_back(token);
        if (token.kind == TokenKind::kWord && word_in(token.text, kValuesWords)) {
          frames_.back().mode = Frame::kRows;
          frames_.back().kept_begin = kNone;
        }
    }
  }

  bool follows_word(std::string_view lower) const {
    const auto& tokens = list_.tokens;
    return !tokens.empty() && tokens.back().kind == TokenKind::kWord &&
           word_is(tokens.back().text, lower);
  }

  // Drops the item that ends here, with its comma, if it repeats the one before.
  void end_item(Frame& frame) {
    auto& tokens = list_.tokens;
    const size_t end = tokens.size();
    if (frame.item > end) return;
    const bool after_comma = frame.item > 0 && frame.kept_begin != kNone &&
                             frame.kept_end + 1 == frame.item &&
                             tokens[frame.item - 1].kind == TokenKind::kPunctuation &&
                             tokens[frame.item - 1].text == ",";
    if (after_comma && end - frame.item == frame.kept_end - frame.kept_begin && end > frame.item) {
      size_t i = 0;
      while (frame.item + i < end &&
             same_token(tokens[frame.kept_begin + i], tokens[frame.item + i])) {
        ++i;
      }
      if (frame.item + i == end) {
        tokens.resize(frame.item - 1);
        return;
      }
    }
    frame.kept_begin = frame.item;
    frame.kept_end = end;
  }

  // SAVEPOINT x, RELEASE [SAVEPOINT] x, ROLLBACK [WORK|TRANSACTION] TO [SAVEPOINT] x: from where
  // the name stands to the semicolon nothing is kept.
  bool savepoint_name(const Token& token) {
    if (token.kind == TokenKind::kPunctuation && token.text == ";") {
      verb_ = Verb::kStart;
      return false;
    }
    const bool word = token.kind == TokenKind::kWord;
    const bool savepoint = word && word_is(token.text, "savepoint");
    switch (verb_) {
      case Verb::kStart:
        verb_ = Verb::kOther;
        if (savepoint) verb_ = Verb::kName;
        if (word && word_is(token.text, "release")) verb_ = Verb::kMaybeSavepoint;
        if (word && word_is(token.text, "rollback")) verb_ = Verb::kRollback;
        return false;
      case Verb::kRollback:
        if (word && word_is(token.text, "to")) {
          verb_ = Verb::kMaybeSavepoint;
        } else if (!word || !word_in(token.text, kRollbackWords)) {
          verb_ = Verb::kOther;
        }
        return false;
      case Verb::kMaybeSavepoint:
        verb_ = Verb::kName;
        return !savepoint;
      case Verb::kName:
        return true;
      case Verb::kOther:
        return false;
    }
    return false;
  }

  enum class Verb : uint8_t { kStart, kRollback, kMaybeSavepoint, kName, kOther };

  Lexer lexer_;
  TokenList list_;
  std::vector<Frame> frames_;
  Verb verb_ = Verb::kStart;
};

}  // namespace

TokenList read_tokens(std::string_view sql, Dialect dialect) { return Reader(sql, dialect).run(); }

std::string normalized_text(const TokenList& list) {
  size_t size = 0;
  for (const Token& token : list.tokens) size += token.text.size() + 1;
  std::string out;
  out.reserve(size);
  for (const Token& token : list.tokens) {
    if (token.space_before && !out.empty()) out += ' ';
    if (token.kind == TokenKind::kLiteral || token.kind == TokenKind::kPlaceholder) {
      out += '?';
    } else {
      out += token.text;
    }
  }
  return out;
}

std::string canonical_text(const TokenList& list, Dialect dialect) {
  constexpr char kSeparator = '\x1f';
  std::string out;
  size_t size = 0;
  for (const Token& token : list.tokens) size += token.text.size() + 1;
  out.reserve(size);
  for (const Token& token : list.tokens) {
    switch (token.kind) {
      case TokenKind::kLiteral:
      case TokenKind::kPlaceholder:
        out += '?';
        break;
      case TokenKind::kQuoted:
        // PostgreSQL alone tells "Orders" from orders.
        if (dialect == Dialect::kPostgreSql) {
          out += unquoted(token);
        } else {
          append_lower(out, unquoted(token));
        }
        break;
      default:
        append_lower(out, token.text);
    }
    out += kSeparator;
  }
  return out;
}

std::string_view unquoted(const Token& token) {
  if (token.kind != TokenKind::kQuoted) return token.text;
  std::string_view text = token.text;
  if (text.size() >= 4 && text[1] == '&') text.remove_prefix(2);  // U&"name"
  return text.size() < 2 ? text : text.substr(1, text.size() - 2);
}

}  // namespace nuages::sql
