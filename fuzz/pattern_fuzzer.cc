// mask/: a user's pattern (up to the first zero byte) over any text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mask/pattern.h"
#include "mask/policy.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nuages::mask;  // NOLINT(google-build-using-namespace)
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  if (zero == std::string_view::npos) return 0;
  const std::string_view text = input.substr(zero + 1);
  std::string out = "untouched";
  if (!redact_url(text, true, out)) require(out == "untouched");
  const auto pattern = Pattern::compile(input.substr(0, zero));
  if (!pattern.ok()) {
    require(!pattern.error().message.empty());
    return 0;
  }
  out = "untouched";
  const Pattern::Match match = pattern->search(text);
  require(match.end <= text.size() && match.begin <= match.end);
  const bool replaced = pattern->replace_all(text, "", out);
  require(replaced == match.found());
  require(replaced ? out.size() < text.size() : out == "untouched");
  return 0;
}
