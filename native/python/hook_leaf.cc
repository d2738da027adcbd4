#include "python/hook_leaf.h"

#include "base/clock.h"
#include "python/convert.h"
#include "python/hook_span.h"
#include "python/provider.h"

namespace nuages::python {
namespace {

void record_as_span(Hooks& hooks, TracerObject& tracer, const LeafCall& call) noexcept {
  SpanSpec spec;
  spec.name = call.name;
  spec.kind = wire::SpanKind::kClient;
  spec.attributes = call.attributes;
  spec.start_ns = call.start_ns;
  const Ref span = start_span(tracer, spec);
  if (!span) {
    hook_failed(hooks, "recording a query");
    return;
  }
  auto* object = reinterpret_cast<SpanObject*>(span.get());
  if (object->span != nullptr) object->span->mark_sql_clean();
  if (call.exception != nullptr) record_exception(object, call.exception, true, true);
  end_span(object, call.end_ns);
}

}  // namespace

uint64_t leaf_now(const Parent& parent) noexcept {
  return parent.kind == ParentKind::kOurs ? parent.span()->span->local_root()->now() : wall_now();
}

void record_call(Hooks& hooks, const Parent& parent, const LeafCall& call) noexcept {
  TracerObject* tracer = hook_tracer(hooks.module, call.scope);
  if (tracer == nullptr) return;
  if (parent.kind != ParentKind::kOurs || call.exception != nullptr) {
    return record_as_span(hooks, *tracer, call);
  }
  trace::LeafOptions leaf;
  leaf.name = call.name;
  leaf.scope = tracer->scope;
  leaf.kind = wire::SpanKind::kClient;
  leaf.start_ns = call.start_ns;
  leaf.end_ns = call.end_ns;
  leaf.attributes = call.attributes;
  leaf.sql_clean = true;
  record_leaf(parent.span(), leaf);
}

}  // namespace nuages::python
