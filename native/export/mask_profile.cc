#include "export/mask_profile.h"

#include <string>
#include <string_view>

#include "sql/statement.h"

namespace nuages::exporter {

MaskProfile MaskProfile::of(const mask::Rules& rules, bool statements) noexcept {
  return MaskProfile((rules.email ? kEmail : 0) | (rules.phone ? kPhone : 0) |
                     (rules.bare_phone ? kBarePhone : 0) | (rules.ssn ? kSsn : 0) |
                     (statements ? kStatements : 0));
}

TextFilter MaskProfile::text_filter() const {
  mask::Rules rules;
  rules.email = (bits_ & kEmail) != 0;
  rules.phone = (bits_ & kPhone) != 0;
  rules.bare_phone = (bits_ & kBarePhone) != 0;
  rules.ssn = (bits_ & kSsn) != 0;
  if (!rules.any()) return {};
  return
      [rules](std::string_view text, std::string& out) { return mask::redact(rules, text, out); };
}

StatementFilter MaskProfile::statement_filter() const {
  if ((bits_ & kStatements) == 0) return {};
  return [](std::string_view system, std::string_view text, std::string& out) {
    out = sql::sanitize(text, sql::dialect_from_system(system));
    return out != text;
  };
}

}  // namespace nuages::exporter
