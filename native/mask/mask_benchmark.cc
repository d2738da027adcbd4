// The cost of looking for personal data: in texts that hold none (nearly all), and in texts that
// do.
#include <benchmark/benchmark.h>

#include <string>
#include <string_view>

#include "mask/redact.h"

namespace nuages::mask {
namespace {

void look(benchmark::State& state, std::string_view text) {
  std::string out;
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(redact(Rules::guide(), text, out));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

const std::string& stack_trace() {
  static const std::string text = [] {
    std::string lines = "Traceback (most recent call last):\n";
    for (int i = 0; i < 30; ++i) {
      lines +=
          "  File \"/app/venv/lib/python3.11/site-packages/django/core/handlers/base.py\", line " +
          std::to_string(100 + i) + ", in _get_response\n    response = callback(request)\n";
    }
    return lines;
  }();
  return text;
}

void BM_SpanName(benchmark::State& state) { look(state, "GET /orders/{order_id}/"); }
void BM_Url(benchmark::State& state) {
  look(state, "http://127.0.0.1:8000/orders/1234567/?page=2");
}
void BM_StackTrace(benchmark::State& state) { look(state, stack_trace()); }
void BM_OneAddress(benchmark::State& state) {
  look(state, "ValueError: no user jane.doe@example.com in this tenant");
}
void BM_EverythingToMask(benchmark::State& state) {
  look(state, "jane@example.com 555-123-4567 123-45-6789 john@example.org 5551234567");
}

BENCHMARK(BM_SpanName);
BENCHMARK(BM_Url);
BENCHMARK(BM_StackTrace);
BENCHMARK(BM_OneAddress);
BENCHMARK(BM_EverythingToMask);

}  // namespace
}  // namespace nuages::mask

BENCHMARK_MAIN();
