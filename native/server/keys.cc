#include "server/keys.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "base/log.h"
#include "server/secret_file.h"

namespace nuages::server {
namespace {

constexpr std::string_view kComponent = "keys";
constexpr std::string_view kAnonymous = "none";
constexpr double kBurstSeconds = 2;
constexpr size_t kShortestKey = 16;

constexpr std::pair<std::string_view, Scope> kScopes[] = {
    {"ingest", Scope::kIngest}, {"read", Scope::kRead}, {"admin", Scope::kAdmin}};

// The password of "user:password" in base64.
std::string basic_password(std::string_view encoded) {
  std::string out(encoded.size(), '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(encoded.data()),
                                   static_cast<int>(encoded.size()));
  if (size < 0) return {};
  out.resize(static_cast<size_t>(size));
  while (!out.empty() && out.back() == '\0') out.pop_back();  // the padding
  const size_t colon = out.find(':');
  return colon == std::string::npos ? std::string() : out.substr(colon + 1);
}

std::string key_of(std::string_view authorization, std::string_view api_key) {
  constexpr std::string_view kBearer = "bearer ", kBasic = "basic ";
  const auto starts = [&](std::string_view word) {
    return authorization.size() > word.size() &&
           std::equal(word.begin(), word.end(), authorization.begin(), [](char a, char b) {
             return a == (b >= 'A' && b <= 'Z' ? b + ('a' - 'A') : b);
           });
  };
  if (starts(kBearer)) return std::string(authorization.substr(kBearer.size()));
  if (starts(kBasic)) return basic_password(authorization.substr(kBasic.size()));
  return std::string(api_key);
}

}  // namespace

std::string_view name_of(Refusal refusal) {
  constexpr std::string_view kNames[] = {"key",       "rate",        "malformed",
                                         "exhausted", "unavailable", "other"};
  return kNames[static_cast<size_t>(refusal)];
}

bool KeyUse::may_send(uint64_t now_ns) {
  if (spans_per_second_ == 0) return true;
  const std::lock_guard lock(mutex_);
  const auto rate = static_cast<double>(spans_per_second_.load());
  if (filled_ns_ == 0) tokens_ = rate * kBurstSeconds;
  if (filled_ns_ != 0) tokens_ += static_cast<double>(now_ns - filled_ns_) * rate / 1e9;
  filled_ns_ = now_ns;
  tokens_ = std::min(tokens_, rate * kBurstSeconds);
  return tokens_ > 0;
}

void KeyUse::count(const Result<store::Accepted>& result) {
  if (result.ok()) {
    (result->repeated ? repeated : received) += result->spans;
    for (size_t i = 0; i < rejected.size(); ++i) rejected[i] += result->reasons[i];
    if (spans_per_second_ != 0) {
      const std::lock_guard lock(mutex_);
      tokens_ -= static_cast<double>(result->spans);
    }
    return;
  }
  switch (result.error().code) {
    case ErrorCode::kInvalid:
      return count(Refusal::kMalformed);
    case ErrorCode::kExhausted:
      return count(Refusal::kExhausted);
    case ErrorCode::kUnavailable:
      return count(Refusal::kUnavailable);
    default:
      return count(Refusal::kOther);
  }
}

std::string Keys::make_key() {
  unsigned char bytes[32];
  if (RAND_bytes(bytes, sizeof bytes) != 1) std::abort();  // no randomness: no key
  unsigned char text[48];
  EVP_EncodeBlock(text, bytes, sizeof bytes);
  std::string key(reinterpret_cast<const char*>(text), 43);
  std::replace(key.begin(), key.end(), '+', '-');
  std::replace(key.begin(), key.end(), '/', '_');
  return "nk_" + key;
}

std::string Keys::hash(std::string_view key) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
  return hex(digest, sizeof digest);
}

Result<uint8_t> Keys::parse_scopes(std::string_view words) {
  uint8_t scopes = 0;
  for (std::string_view rest = words; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    const auto found = std::find_if(std::begin(kScopes), std::end(kScopes),
                                    [&](const auto& scope) { return scope.first == word; });
    if (found == std::end(kScopes)) {
      return Error{ErrorCode::kInvalid,
                   "the scope '" + std::string(word) + "' is not one of ingest, read, admin"};
    }
    scopes |= static_cast<uint8_t>(found->second);
  }
  if (scopes == 0) return Error{ErrorCode::kInvalid, "a key needs a scope: ingest, read or admin"};
  return scopes;
}

std::string Keys::scope_words(uint8_t scopes) {
  std::string out;
  for (const auto& [word, scope] : kScopes) {
    if ((scopes & static_cast<uint8_t>(scope)) == 0) continue;
    if (!out.empty()) out += ',';
    out += word;
  }
  return out;
}

Result<std::vector<KeyEntry>> Keys::read_file(const std::string& file) {
  std::vector<KeyEntry> entries;
  const Status read = read_secret_file(file, "keys", [&](std::istringstream& words) -> Status {
    KeyEntry entry;
    std::string scopes;
    constexpr size_t kDigits = 64;
    if (!(words >> entry.id >> scopes >> entry.hash >> entry.spans_per_second) ||
        entry.hash.size() != kDigits) {
      return Error{ErrorCode::kInvalid, "not a line of `nuages-server keys add`"};
    }
    const auto parsed = parse_scopes(scopes);
    if (!parsed.ok()) return parsed.error();
    entry.scopes = *parsed;
    std::getline(words >> std::ws, entry.name);
    entries.push_back(std::move(entry));
    return {};
  });
  if (!read.ok()) return read.error();
  return entries;
}

Status Keys::write_file(const std::string& file, const std::vector<KeyEntry>& entries) {
  std::string text = "# id, scopes, SHA-256 of the key, spans a second (0: any), name\n";
  for (const KeyEntry& entry : entries) {
    text.append(entry.id).append(" ").append(scope_words(entry.scopes)).append(" ");
    text.append(entry.hash).append(" ").append(std::to_string(entry.spans_per_second));
    text.append(" ").append(entry.name).append("\n");
  }
  return write_secret_file(file, text);
}

Result<Keys::Environment> Keys::read_environment() {
  Environment out;
  for (auto [name, key] :
       {std::pair{"NUAGES_INGEST_KEY", &out.ingest}, std::pair{"NUAGES_ADMIN_KEY", &out.admin}}) {
    Result<std::string> found =
        secret_from_environment(name, kShortestKey, "make one with `nuages-server keys make`");
    if (!found.ok()) return found.error();
    *key = std::move(found).value();
  }
  return out;
}

Result<std::unique_ptr<Keys>> Keys::open(const std::string& file, const Environment& environment) {
  std::unique_ptr<Keys> keys(new Keys(file));
  if (!environment.ingest.empty()) {
    keys->from_environment_.push_back(
        {"env-ingest", static_cast<uint8_t>(Scope::kIngest), hash(environment.ingest), 0, ""});
  }
  if (!environment.admin.empty()) {
    keys->from_environment_.push_back(
        {"env-admin", static_cast<uint8_t>(Scope::kAdmin), hash(environment.admin), 0, ""});
  }
  keys->uses_[std::string(kAnonymous)] = std::make_shared<KeyUse>(std::string(kAnonymous), 0);
  if (Status status = keys->load(); !status.ok()) return status.error();
  return keys;
}

Status Keys::load() {
  const bool before = file_.seen();
  const auto there = file_.mark();
  if (!there.ok()) return there.error();
  std::vector<KeyEntry> entries;
  if (*there) {
    auto read = read_file(file_.path());
    if (!read.ok()) return read.error();
    entries = std::move(read).value();
  } else if (before) {
    return Error{ErrorCode::kUnavailable, "the file of keys '" + file_.path() +
                                              "' is gone; its keys stay valid until a restart"};
  }
  entries.insert(entries.end(), from_environment_.begin(), from_environment_.end());
  by_hash_.clear();
  for (const KeyEntry& entry : entries) {
    by_hash_[entry.hash] = entry;
    auto& use = uses_[entry.id];  // counters stay over a reload
    if (use == nullptr) use = std::make_shared<KeyUse>(entry.id, entry.spans_per_second);
    use->set_rate(entry.spans_per_second);
  }
  required_ = *there || !from_environment_.empty();
  return {};
}

void Keys::refresh() {
  if (!file_.changed()) return;
  if (Status status = load(); !status.ok()) {
    log(LogLevel::kError, kComponent, status.error().message);
  } else {
    log(LogLevel::kInfo, kComponent,
        "keys read again: " + std::to_string(by_hash_.size()) + " are valid");
  }
}

bool Keys::required() {
  const std::lock_guard lock(mutex_);
  refresh();
  return required_;
}

Result<std::shared_ptr<KeyUse>> Keys::check(Scope scope, std::string_view authorization,
                                            std::string_view api_key) {
  const std::lock_guard lock(mutex_);
  refresh();
  const std::shared_ptr<KeyUse>& none = uses_.find(kAnonymous)->second;
  if (!required_) return none;
  const std::string key = key_of(authorization, api_key);
  const auto found = key.empty() ? by_hash_.end() : by_hash_.find(hash(key));
  if (found == by_hash_.end()) {
    none->count(Refusal::kKey);
    return Error{ErrorCode::kDenied,
                 key.empty() ? "this server wants a key: send the header Authorization: Bearer KEY"
                             : "the key is not valid: it was revoked, or mistyped"};
  }
  uint8_t wanted = static_cast<uint8_t>(scope);
  if (scope == Scope::kRead) wanted |= static_cast<uint8_t>(Scope::kAdmin);
  const auto use = uses_.find(found->second.id);
  if ((found->second.scopes & wanted) == 0) {
    use->second->count(Refusal::kKey);
    return Error{ErrorCode::kDenied, "the key " + found->second.id + " has the scope " +
                                         scope_words(found->second.scopes) + ", not " +
                                         scope_words(static_cast<uint8_t>(scope))};
  }
  return use->second;
}

std::optional<KeyEntry> Keys::find(std::string_view key) {
  const std::lock_guard lock(mutex_);
  refresh();
  const auto found = by_hash_.find(hash(key));
  if (found == by_hash_.end()) return std::nullopt;
  return found->second;
}

std::optional<KeyEntry> Keys::find_id(std::string_view id) {
  const std::lock_guard lock(mutex_);
  refresh();
  for (const auto& [hash, entry] : by_hash_) {
    if (entry.id == id) return entry;
  }
  return std::nullopt;
}

std::vector<std::shared_ptr<KeyUse>> Keys::uses() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<KeyUse>> out;
  out.reserve(uses_.size());
  for (const auto& [id, use] : uses_) out.push_back(use);
  return out;
}

std::string metrics_text(const std::vector<std::shared_ptr<KeyUse>>& uses) {
  std::string out;
  const auto head = [&](const char* name, const char* help) {
    out.append("# HELP ").append(name).append(" ").append(help);
    out.append("\n# TYPE ").append(name).append(" counter\n");
  };
  const auto line = [&](const char* name, const std::string& id, const std::string& reason,
                        uint64_t value) {
    out.append(name).append("{key=\"").append(id).append("\"");
    if (!reason.empty()) out.append(",reason=\"").append(reason).append("\"");
    out.append("} ").append(std::to_string(value)).append("\n");
  };
  constexpr const char* kReceived = "nuages_key_received_spans_total";
  head(kReceived, "Spans acknowledged, by key.");
  for (const auto& use : uses) line(kReceived, use->id(), "", use->received);
  constexpr const char* kRepeated = "nuages_key_repeated_spans_total";
  head(kRepeated, "Spans sent again and not stored again, by key.");
  for (const auto& use : uses) line(kRepeated, use->id(), "", use->repeated);
  constexpr const char* kReasons[] = {"trace_id", "span_id", "parent_id", "utf8", "time", "depth"};
  static_assert(std::size(kReasons) == wire::kRejectReasons);
  constexpr const char* kRejected = "nuages_key_rejected_spans_total";
  head(kRejected, "Spans refused as malformed, by key and what is wrong with them.");
  for (const auto& use : uses) {
    for (size_t i = 0; i < std::size(kReasons); ++i) {
      if (use->rejected[i] > 0) line(kRejected, use->id(), kReasons[i], use->rejected[i]);
    }
  }
  constexpr const char* kRefused = "nuages_key_refused_requests_total";
  head(kRefused, "Requests not taken, by key and reason.");
  for (const auto& use : uses) {
    for (size_t i = 0; i < kRefusals; ++i) {
      const uint64_t count = use->refused[i];
      if (count > 0) line(kRefused, use->id(), std::string(name_of(Refusal(i))), count);
    }
  }
  return out;
}

}  // namespace nuages::server
