#include "mask/policy.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

namespace nuages::mask {
namespace {

constexpr std::string_view kHidden = "***";

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == y; });
}

// Names whose value is a credential wherever they stand: query parameter or attribute key.
constexpr std::array<std::string_view, 29> kSecretWords = {"password",
                                                           "passwd",
                                                           "pwd",
                                                           "passphrase",
                                                           "secret",
                                                           "client_secret",
                                                           "authorization",
                                                           "proxy-authorization",
                                                           "cookie",
                                                           "set-cookie",
                                                           "api_key",
                                                           "apikey",
                                                           "api-key",
                                                           "x-api-key",
                                                           "access_token",
                                                           "refresh_token",
                                                           "id_token",
                                                           "auth_token",
                                                           "session_key",
                                                           "sessionid",
                                                           "csrftoken",
                                                           "csrfmiddlewaretoken",
                                                           "x-csrftoken",
                                                           "credit_card",
                                                           "card_number",
                                                           "cvv",
                                                           "private_key",

                                                           "awsaccesskeyid",
                                                           "x-goog-signature"};
// In a URL also these, which as attribute keys are ordinary words.
constexpr std::array<std::string_view, 7> kSecretParameters = {"ssn",  "token", "sig", "signature",
                                                               "code", "auth",  "key"};

// Most keys are none of them: a look at length and last letter tells.
constexpr size_t word_slot(size_t size, char last) {
  return (size * 7 + static_cast<unsigned char>(last)) % 256;
}
constexpr std::array<bool, 256> make_slots() {
  std::array<bool, 256> slots{};
  for (const std::string_view word : kSecretWords)
    slots[word_slot(word.size(), word.back())] = true;
  return slots;
}
constexpr std::array<bool, 256> kSlots = make_slots();

bool secret_word(std::string_view name) {
  if (name.empty() || !kSlots[word_slot(name.size(), lower(name.back()))]) return false;
  return std::any_of(kSecretWords.begin(), kSecretWords.end(),
                     [&](std::string_view word) { return equal(name, word); });
}

bool secret_parameter(std::string_view name) {
  return secret_word(name) || std::any_of(kSecretParameters.begin(), kSecretParameters.end(),
                                          [&](std::string_view word) { return equal(name, word); });
}

// http.request.header.authorization, app.user.password: the last part decides.
bool secret_key(std::string_view key) {
  const size_t dot = key.rfind('.');
  return secret_word(dot == std::string_view::npos ? key : key.substr(dot + 1));
}

bool url_key(std::string_view key) {
  if (key.size() < 7 || key.size() > 40) return false;
  if (key == "db.url") return true;
  if (key.starts_with("http.")) {
    return key == "http.url" || key == "http.target" || key == "http.query_string" ||
           key == "http.referer" || key == "http.request.header.referer" ||
           key == "http.response.header.location";
  }
  return key == "url.full" || key == "url.query" || key == "url.original" || key == "db.url";
}

// What names a person or a client.
bool private_key(std::string_view key) {
  for (const std::string_view prefix :
       {"user.", "enduser.", "session.", "django.user", "http.request.header.x-forwarded",
        "http.request.header.forwarded", "http.request.header.x-real-ip"}) {
    if (key.starts_with(prefix)) return true;
  }
  for (const std::string_view name :
       {"http.client_ip", "client.address", "client.port", "client.socket.address", "net.peer.ip",
        "net.sock.peer.addr", "net.sock.peer.name", "network.peer.address", "source.address",
        "http.request.method_original", "user_id", "user", "username", "email", "session_id"}) {
    if (key == name) return true;
  }
  return false;
}

bool user_key(const UserRules* user, std::string_view key) {
  return user != nullptr &&
         std::any_of(user->keys.begin(), user->keys.end(), [&](const std::string& pattern) {
           return matches_shell_pattern(pattern, key);
         });
}

// Writers are rare and take turns; readers see a whole policy, old or new.
std::mutex g_writers;
constexpr Policy kNothing = {Rules::none(), false, false, false, nullptr};
std::atomic<const Policy*> g_policy{&kNothing};

void put_in_force(const Policy& policy) {
  // Readers may hold the old ones, so all are kept, where leak checkers find them.
  static auto* const all = new std::vector<const Policy*>;
  all->push_back(new Policy(policy));
  g_policy.store(all->back(), std::memory_order_release);
}

}  // namespace

const Policy& process_policy() { return *g_policy.load(std::memory_order_acquire); }

bool set_process_profile(std::string_view profile, bool statements) {
  const std::lock_guard guard(g_writers);
  Policy policy;
  if (!Policy::of_profile(profile, policy)) return false;
  policy.statements = statements;
  policy.user = process_policy().user;
  if (policy == process_policy()) return true;
  put_in_force(policy);
  return true;
}

void set_process_rules(UserRules rules) {
  const std::lock_guard guard(g_writers);
  Policy policy = process_policy();
  if (policy.user != nullptr && policy.user->id == rules.id) return;
  const bool none = rules.patterns.empty() && rules.keys.empty();
  policy.user = none ? nullptr : new UserRules(std::move(rules));
  put_in_force(policy);
}

bool Policy::of_profile(std::string_view name, Policy& out) {
  const auto rules = rules_from_profile(name == "on" ? "default" : name);
  if (!rules) return false;
  out = {};
  out.rules = *rules;
  out.urls = name != "off";
  out.private_data = name == "gdpr" || name == "hipaa";
  return true;
}

bool Policy::text(std::string_view in, std::string& out) const {
  bool changed = redact(rules, in, out);
  if (user == nullptr) return changed;
  std::string next;
  for (const UserRules::Replacement& rule : user->patterns) {
    if (!rule.pattern.replace_all(changed ? std::string_view(out) : in, rule.with, next)) continue;
    out.swap(next);
    changed = true;
  }
  return changed;
}

namespace {

struct KeyFacts {
  Verdict verdict = Verdict::kKeep;
  bool url = false;
};

KeyFacts find_facts(const Policy& policy, std::string_view key) {
  if (policy.private_data && private_key(key)) return {Verdict::kDrop, false};
  if ((policy.urls && secret_key(key)) || user_key(policy.user, key)) {
    return {Verdict::kChanged, false};
  }
  return {Verdict::kKeep, policy.urls && url_key(key)};
}

// An application has few keys and uses them with every span: what was found is kept, a few
// kilobytes in each thread that masks.
KeyFacts facts_of(const Policy& policy, std::string_view key) {
  struct Known {
    const UserRules* user;
    uint32_t user_id;
    KeyFacts facts;
    uint8_t policy;
    uint8_t size;  // 0: nothing is known
    char text[46];
  };
  static thread_local std::array<Known, 64> memo;
  if (key.empty() || key.size() > sizeof Known::text) return find_facts(policy, key);
  const auto bits = static_cast<uint8_t>((policy.private_data ? 1 : 0) | (policy.urls ? 2 : 0));
  const uint32_t id = policy.user == nullptr ? 0 : policy.user->id;
  const auto at = [&key](size_t i) { return static_cast<unsigned char>(key[i]); };
  const size_t slot =
      key.size() * 37 + at(key.size() - 1) * size_t{11} + at(key.size() / 2) * size_t{5};
  Known& known = memo[slot % memo.size()];
  if (known.size == key.size() && known.policy == bits && known.user == policy.user &&
      known.user_id == id && std::memcmp(known.text, key.data(), key.size()) == 0) {
    return known.facts;
  }
  const KeyFacts facts = find_facts(policy, key);
  known.user = policy.user;
  known.user_id = id;
  known.facts = facts;
  known.policy = bits;
  known.size = static_cast<uint8_t>(key.size());
  std::memcpy(known.text, key.data(), key.size());
  return facts;
}

}  // namespace

Verdict Policy::key(std::string_view key) const { return facts_of(*this, key).verdict; }

Verdict Policy::attribute(std::string_view name, std::string_view in, std::string& out) const {
  const KeyFacts facts = facts_of(*this, name);
  if (facts.verdict == Verdict::kDrop) return facts.verdict;
  if (facts.verdict == Verdict::kChanged) {
    out = kHidden;
    return facts.verdict;
  }
  if (!facts.url) return text(in, out) ? Verdict::kChanged : Verdict::kKeep;
  std::string url;
  const bool rewritten = redact_url(in, private_data, url);
  if (text(rewritten ? std::string_view(url) : in, out)) return Verdict::kChanged;
  if (!rewritten) return Verdict::kKeep;
  out = std::move(url);
  return Verdict::kChanged;
}

bool redact_url(std::string_view in, bool all_values, std::string& out) {
  std::string made;
  bool changed = false;
  const size_t query = in.find('?');
  const size_t fragment = in.find('#');
  // A query alone has no '?': it starts with its first parameter.
  const bool bare = query == std::string_view::npos && in.find('/') == std::string_view::npos &&
                    in.find('=') != std::string_view::npos;
  size_t at = 0;
  const size_t scheme = in.find("://");
  if (scheme != std::string_view::npos && scheme < std::min(query, fragment)) {
    const size_t host = scheme + 3;
    const size_t end = std::min({in.find('/', host), query, fragment, in.size()});
    const size_t user = in.substr(0, end).rfind('@');
    if (user != std::string_view::npos && user >= host) {
      made.append(in.substr(0, host)).append(kHidden);
      at = user;
      changed = true;
    }
  }
  if (!bare && query == std::string_view::npos) {
    if (!changed) return false;
    out = made.append(in.substr(at));
    return true;
  }
  size_t next = bare ? 0 : query + 1;
  made.append(in.substr(at, next - at));
  const size_t end = fragment != std::string_view::npos && fragment > next ? fragment : in.size();
  while (next < end) {
    const size_t stop = std::min({in.find('&', next), in.find(';', next), end});
    const std::string_view parameter = in.substr(next, stop - next);
    const size_t equals = parameter.find('=');
    // A parameter without '=' is a value as well: ?jane
    const bool hide = equals == std::string_view::npos
                          ? all_values && !parameter.empty()
                          : equals + 1 < parameter.size() &&
                                (all_values || secret_parameter(parameter.substr(0, equals)));
    if (hide) {
      made.append(equals == std::string_view::npos ? "" : parameter.substr(0, equals + 1));
      made.append(kHidden);
      changed = true;
    } else {
      made.append(parameter);
    }
    if (stop < end) made.push_back(in[stop]);
    next = stop + (stop < end ? 1 : 0);
  }
  if (!changed) return false;
  out = made.append(in.substr(end));
  return true;
}

bool matches_shell_pattern(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || lower(pattern[p]) == lower(text[t])) &&
        pattern[p] != '*') {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace nuages::mask
