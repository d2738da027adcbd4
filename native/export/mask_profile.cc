#include "export/mask_profile.h"

#include <string>
#include <string_view>
#include <utility>

#include "sql/statement.h"

namespace nuages::exporter {

MaskProfile MaskProfile::of(const mask::Policy& policy) noexcept {
  const mask::Rules& rules = policy.rules;
  const uint32_t user = policy.user != nullptr ? policy.user->id & kMostUser : 0;
  return MaskProfile((rules.email ? kEmail : 0) | (rules.phone ? kPhone : 0) |
                     (rules.bare_phone ? kBarePhone : 0) | (rules.ssn ? kSsn : 0) |
                     (policy.statements ? kStatements : 0) | (rules.card ? kCard : 0) |
                     (rules.address ? kAddress : 0) | (policy.urls ? kUrls : 0) |
                     (policy.private_data ? kPrivate : 0) | user << kUserShift);
}

bool MaskProfile::known() const noexcept {
  if ((bits_ & ~kKnown) != 0) return false;
  const uint32_t user = bits_ >> kUserShift;
  if (user == 0) return true;
  const mask::UserRules* rules = mask::process_policy().user;
  return rules != nullptr && (rules->id & kMostUser) == user;
}

mask::Policy MaskProfile::policy() const {
  mask::Policy policy;
  policy.rules.email = (bits_ & kEmail) != 0;
  policy.rules.phone = (bits_ & kPhone) != 0;
  policy.rules.bare_phone = (bits_ & kBarePhone) != 0;
  policy.rules.ssn = (bits_ & kSsn) != 0;
  policy.rules.card = (bits_ & kCard) != 0;
  policy.rules.address = (bits_ & kAddress) != 0;
  policy.urls = (bits_ & kUrls) != 0;
  policy.private_data = (bits_ & kPrivate) != 0;
  policy.statements = (bits_ & kStatements) != 0;
  if (bits_ >> kUserShift != 0) policy.user = mask::process_policy().user;
  return policy;
}

Filters filters_of(const mask::Policy& policy) {
  Filters filters;
  if (policy.statements) {
    filters.sql = [](std::string_view system, std::string_view text, std::string& out) {
      out = sql::sanitize(text, sql::dialect_from_system(system));
      return out != text;
    };
  }
  if (!policy.any()) return filters;
  filters.mask = [policy](std::string_view text, std::string& out) {
    return policy.text(text, out);
  };
  filters.attribute = [policy](std::string_view key, const wire::Value& value, std::string& out) {
    return value.type == wire::ValueType::kString ? policy.attribute(key, value.text, out)
                                                  : policy.key(key);
  };
  return filters;
}

Filters process_filters() {
  Filters filters;
  filters.sql = [](std::string_view system, std::string_view text, std::string& out) {
    if (!mask::process_policy().statements) return false;
    out = sql::sanitize(text, sql::dialect_from_system(system));
    return out != text;
  };
  filters.mask = [](std::string_view text, std::string& out) {
    return mask::process_policy().text(text, out);
  };
  filters.attribute = [](std::string_view key, const wire::Value& value, std::string& out) {
    const mask::Policy& policy = mask::process_policy();
    return value.type == wire::ValueType::kString ? policy.attribute(key, value.text, out)
                                                  : policy.key(key);
  };
  return filters;
}

}  // namespace nuages::exporter
