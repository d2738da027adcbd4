#include "export/pipeline.h"

#include "base/clock.h"
#include "export/exporter.h"
#include "trace/scope.h"

namespace nuages::exporter {
namespace {

uint64_t deadline(uint32_t timeout_ms) noexcept {
  return steady_now() + uint64_t{timeout_ms} * 1'000'000;
}

}  // namespace

std::shared_ptr<Pipeline> Pipeline::create(PipelineConfig config) {
  return std::shared_ptr<Pipeline>(new Pipeline(std::make_shared<Exporter>(std::move(config))));
}

Pipeline::Pipeline(std::shared_ptr<Exporter> exporter) noexcept : exporter_(std::move(exporter)) {}

Pipeline::~Pipeline() { exporter_->abandon(); }

void Pipeline::set_resource(std::span<const trace::AttributeView> attributes,
                            std::string_view schema_url) {
  exporter_->set_resource(trace::describe({{}, {}, schema_url}, attributes));
}

void Pipeline::publish(std::string_view record) noexcept { exporter_->publish(record); }

bool Pipeline::force_flush(uint32_t timeout_ms) noexcept {
  return exporter_->force_flush(deadline(timeout_ms));
}

bool Pipeline::shutdown(uint32_t timeout_ms) noexcept {
  return exporter_->shutdown(deadline(timeout_ms));
}

bool Pipeline::pause(uint32_t timeout_ms) noexcept {
  return exporter_->pause(deadline(timeout_ms));
}

void Pipeline::resume() noexcept { exporter_->resume(); }

Counters Pipeline::counters() const { return exporter_->counters(); }

const PipelineConfig& Pipeline::config() const noexcept { return exporter_->config(); }

}  // namespace nuages::exporter
