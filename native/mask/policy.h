// Policy: everything that one process hides in what it sends: built-in rules, URLs, private
// attributes, and the rules of the user.
//
//   text()       any string: the built-in patterns (redact.h), then the user's patterns in order
//   attribute()  a string attribute: dropped or hidden by its key, or URL and text rules
//
// Profiles: "on" hides the patterns, the values of query parameters and attributes whose names say
// that they are secret, and user:password in URLs. "guide" also masks ten bare digits. "gdpr" and
// "hipaa" besides hide IPv4 addresses and card numbers, hide the value of every query parameter and
// drop the attributes that name a person or a client (user.*, enduser.*, client.address,
// session.id, ...).
//
// A process has one policy at a time, which its exporters read for each batch: settings may come
// after the first exporter (Django's do). Policies and rules that were in force once are never
// freed. The id of the user's rules goes with the queue's file, so that a neighbour with other
// rules leaves those spans alone. Any thread, linear in the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mask/pattern.h"
#include "mask/redact.h"

namespace nuages::mask {

struct UserRules {
  struct Replacement {
    Pattern pattern;
    std::string with;
  };
  std::vector<Replacement> patterns;  // applied in order
  std::vector<std::string> keys;      // shell patterns ("customer.*"): those values become ***
  uint32_t id = 0;                    // of their text; 0: there are none
};

enum class Verdict : uint8_t { kKeep, kChanged, kDrop };

struct Policy {
  Rules rules;
  bool urls = false;                // secrets in URLs and in attributes whose key says so
  bool private_data = false;        // the GDPR and HIPAA profiles
  bool statements = true;           // literals are taken out of SQL (done by export)
  const UserRules* user = nullptr;  // not owned

  // Of a profile: "on" (also "default"), "off", "guide", "gdpr", "hipaa"; false for others.
  static bool of_profile(std::string_view name, Policy& out);

  friend bool operator==(const Policy&, const Policy&) = default;
  bool any() const { return rules.any() || urls || private_data || user != nullptr; }
  // As redact(): true when `out` holds the changed text.
  bool text(std::string_view in, std::string& out) const;
  // For attributes that hold text. What the key alone decides (kDrop) holds for values of any type.
  Verdict attribute(std::string_view key, std::string_view in, std::string& out) const;
  Verdict key(std::string_view key) const;  // kKeep, kChanged (the value is hidden) or kDrop
};

// The policy of this process: nothing is hidden until somebody sets one.
const Policy& process_policy();
// A profile's policy with the rules in force; false for an unknown profile, and nothing changes.
bool set_process_profile(std::string_view profile, bool statements);
void set_process_rules(UserRules rules);  // without patterns and keys: none

// Hides in a URL, a path with query or a bare query: user:password, and the values of parameters
// whose name says that they are secret, or of all of them. True when `out` holds the changed text.
bool redact_url(std::string_view in, bool all_values, std::string& out);

// fnmatch with * and ?, case-insensitive for ASCII. Linear but for the number of stars.
bool matches_shell_pattern(std::string_view pattern, std::string_view text);

}  // namespace nuages::mask
