// mask/: any bytes under any set of rules (the first byte chooses it).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "mask/redact.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nuages::mask;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const Rules rules{.email = (data[0] & 1) != 0,
                    .phone = (data[0] & 2) != 0,
                    .bare_phone = (data[0] & 4) != 0,
                    .ssn = (data[0] & 8) != 0};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);

  std::string out = "untouched";
  if (!redact(rules, text, out)) {
    require(out == "untouched");
    return 0;
  }
  require(rules.any());
  require(out != text);
  // Masks are no matches themselves and join nothing into one.
  std::string more;
  require(!redact(rules, out, more));
  return 0;
}
