#include "gateway/pipelines.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "wire/otlp_check.h"

namespace nuages::gateway {

// Waits for all the places a request goes to and then answers its sender.
class Answer {
 public:
  explicit Answer(Pipelines::Done done) : done_(std::move(done)) {}

  // One more part must end.
  void expect() {
    const std::lock_guard lock(mutex_);
    ++open_;
  }
  void refused(const store::Accepted& accepted) {
    const std::lock_guard lock(mutex_);
    if (accepted.rejected < result_.rejected || accepted.rejected == 0) return;
    result_.rejected = accepted.rejected;
    result_.message = accepted.message;
  }
  void end(const Status& status) {
    Pipelines::Done done;
    {
      const std::lock_guard lock(mutex_);
      if (!status.ok() && error_.ok()) error_ = status;
      if (--open_ > 0) return;
      done = std::move(done_);
    }
    if (!error_.ok()) return done(error_.error());
    done(std::move(result_));
  }

 private:
  std::mutex mutex_;
  Pipelines::Done done_;
  int open_ = 1;  // whoever made it
  Status error_;
  store::Accepted result_;
};

namespace {

// The exporter debug: one log line a request, or one for each of its first spans.
class DebugTarget final : public Target {
 public:
  DebugTarget(std::string name, bool detailed) : name_(std::move(name)), detailed_(detailed) {}

  void accept(wire::Signal signal, std::string body, uint64_t items, Done done) override {
    log(LogLevel::kInfo, name_,
        std::string(wire::signal_name(signal)) + ": " + std::to_string(items) + " " +
            std::string(wire::item_name(signal)) + (items == 1 ? "" : "s"));
    if (detailed_ && signal == wire::Signal::kTraces) {
      Printer printer{name_};
      const auto read = wire::read_export_trace_request(body, wire::Limits{}, printer);
      if (!read.ok()) log(LogLevel::kWarning, name_, read.error().message);
    }
    done({});
  }

 private:
  struct Printer {
    const std::string& name;
    int left = 20;
    void on_resource(const wire::Resource&) {}
    void on_scope(const wire::Scope&) {}
    void on_span(const wire::Span& span) {
      if (left-- <= 0) return;
      log(LogLevel::kInfo, name,
          "  " + to_hex(span.trace_id) + " " + to_hex(span.span_id) + " " + std::string(span.name));
    }
  };

  const std::string name_;
  const bool detailed_;
};

// A folder name that no two exporters share.
std::string folder_name(const std::string& exporter) {
  std::string out;
  for (const char c : exporter) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.';
    if (plain) {
      out += c;
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      out += '_';
      out += kDigits[static_cast<uint8_t>(c) >> 4];
      out += kDigits[static_cast<uint8_t>(c) & 15];
    }
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<Pipelines>> Pipelines::open(const Config& config, store::Ingest* ingest,
                                                   const std::string& data,
                                                   SignalCounters& counters,
                                                   const Pipelines* former) {
  std::shared_ptr<Pipelines> out(new Pipelines(ingest, counters));
  for (const PipelineConfig& pipeline : config.pipelines) {
    if (Status status = out->add(config, pipeline, data, former); !status.ok()) {
      out->stop(0, former);  // what it opened anew
      return status.error();
    }
  }
  for (const auto& change : std::exchange(out->changes_, {})) change();
  return out;
}

Status Pipelines::add(const Config& config, const PipelineConfig& pipeline, const std::string& data,
                      const Pipelines* former) {
  Route route;
  route.name = pipeline.name;
  std::vector<ProcessorConfig> steps;
  steps.reserve(pipeline.processors.size());
  for (const std::string& name : pipeline.processors) steps.push_back(config.processors.at(name));
  route.processing = std::make_shared<const Processing>(pipeline.signal, std::move(steps));
  for (const std::string& name : pipeline.exporters) {
    if (config.exporters.at(name).kind == ExporterConfig::Kind::kNuages) {
      route.to_store = stores_ = true;
      continue;
    }
    auto made = target(config, pipeline, name, data, former);
    if (!made.ok()) return made.error();
    route.targets.push_back(std::move(made).value());
  }
  routes_[static_cast<size_t>(pipeline.signal)].push_back(std::move(route));
  return {};
}

Result<std::shared_ptr<Target>> Pipelines::target(const Config& config,
                                                  const PipelineConfig& pipeline,
                                                  const std::string& name, const std::string& data,
                                                  const Pipelines* former) {
  const ExporterConfig& exporter = config.exporters.at(name);
  if (exporter.kind == ExporterConfig::Kind::kDebug) {
    return std::shared_ptr<Target>(std::make_shared<DebugTarget>(name, exporter.detailed));
  }
  for (const NamedForwarder& known : forwarders_) {  // of another pipeline
    if (known.name == name) return std::shared_ptr<Target>(known.forwarder);
  }
  std::optional<BatchConfig> batch;
  std::string source = exporter.source;
  for (const std::string& step : pipeline.processors) {
    const ProcessorConfig& processor = config.processors.at(step);
    if (processor.kind != ProcessorConfig::Kind::kBatch) continue;
    batch = processor.batch;
    source += "\nbatch " + std::to_string(batch->timeout_ns) + " " + std::to_string(batch->size) +
              " " + std::to_string(batch->max_size);
  }
  const std::string& own = exporter.forward.queue_folder;
  const std::string folder = (own.empty() ? data + "/queue" : own) + "/" + folder_name(name);
  if (former != nullptr) {
    // A queue cannot be open twice, so it is the same forwarder, perhaps with other settings.
    for (const NamedForwarder& known : former->forwarders_) {
      if (known.folder != folder) continue;
      if (known.source != source) {
        changes_.push_back([forwarder = known.forwarder, config = exporter.forward, batch] {
          forwarder->configure(config, batch);
        });
      }
      forwarders_.push_back({name, folder, std::move(source), known.forwarder});
      return std::shared_ptr<Target>(known.forwarder);
    }
  }
  auto made = Forwarder::open(name, exporter.forward, batch, folder);
  if (!made.ok()) return made.error();
  forwarders_.push_back({name, folder, std::move(source), std::move(made).value()});
  return std::shared_ptr<Target>(forwarders_.back().forwarder);
}

void Pipelines::accept(wire::Signal signal, std::string body, Done done) const {
  const std::vector<Route>& routes = routes_[static_cast<size_t>(signal)];
  if (routes.size() == 1 && routes[0].to_store && routes[0].targets.empty() &&
      routes[0].processing->idle()) {
    return ingest_->accept(std::move(body), std::move(done));
  }
  if (routes.empty()) {
    const Result<uint64_t> items = wire::check_export_request(body, signal);
    if (!items.ok()) return done(items.error());
    if (*items == 0) return done(store::Accepted{});
    counters_.unrouted[static_cast<size_t>(signal)] += *items;
    store::Accepted none;
    none.rejected = *items;
    none.message = "no pipeline of this server takes ";
    none.message.append(wire::signal_name(signal)).append(": they were dropped");
    return done(std::move(none));
  }
  const auto answer = std::make_shared<Answer>(std::move(done));
  for (size_t i = 0; i + 1 < routes.size(); ++i) pass(routes[i], signal, body, answer);
  pass(routes.back(), signal, std::move(body), answer);
  answer->end({});
}

void Pipelines::pass(const Route& route, wire::Signal signal, std::string body,
                     const std::shared_ptr<Answer>& answer) const {
  answer->expect();
  Result<Processed> processed = route.processing->apply(std::move(body));
  if (!processed.ok()) return answer->end(processed.error());
  counters_.filtered[static_cast<size_t>(signal)] += processed->dropped;
  if (processed->refused.rejected > 0) {
    answer->refused({0, processed->refused.rejected, processed->refused.message()});
  }
  if (processed->items > 0) {
    for (const auto& target : route.targets) {
      answer->expect();
      target->accept(signal, processed->body, processed->items,
                     [answer](const Status& status) { answer->end(status); });
    }
    if (route.to_store) {
      answer->expect();
      ingest_->accept(std::move(processed->body), [answer](const Result<store::Accepted>& result) {
        answer->end(result.ok() ? Status() : Status(result.error()));
      });
    }
  }
  answer->end({});
}

std::vector<ExporterCounters> Pipelines::exporters() const {
  std::vector<ExporterCounters> out;
  out.reserve(forwarders_.size());
  for (const NamedForwarder& one : forwarders_)
    out.push_back({one.name, one.forwarder->counters()});
  return out;
}

bool Pipelines::stop(uint64_t deadline_ns, const Pipelines* successor) const {
  bool sent = true;
  for (const NamedForwarder& one : forwarders_) {
    const bool kept =
        successor != nullptr &&
        std::any_of(successor->forwarders_.begin(), successor->forwarders_.end(),
                    [&](const NamedForwarder& other) { return other.forwarder == one.forwarder; });
    if (!kept) sent &= one.forwarder->stop(deadline_ns);
  }
  return sent;
}

}  // namespace nuages::gateway
