// Spans and traces for the tests of this folder.
import type { Span, Trace } from './model';

export const BASE = 1_795_592_073_000_000_000n;

export function span(
  id: string,
  parent: string,
  from: number,
  to: number,
  more: Partial<Span> = {},
): Span {
  return {
    trace_id: 'a',
    span_id: id,
    parent_span_id: parent,
    name: id,
    label: '',
    kind: 'internal',
    status: 'unset',
    status_message: '',
    start: String(BASE + BigInt(from)),
    duration: to - from,
    self_duration: 0,
    service: 'shop',
    scope: '',
    attributes: {},
    events: [],
    links: [],
    resource: 0,
    ...more,
  };
}

export function sql(
  id: string,
  parent: string,
  from: number,
  statement: string,
  more: Partial<Span> = {},
): Span {
  const attributes = { 'db.system': 'sqlite', 'db.statement': statement };
  return span(id, parent, from, from + 10, {
    name: statement,
    kind: 'client',
    attributes,
    ...more,
  });
}

export function trace(spans: Span[], more: Partial<Trace> = {}): Trace {
  return {
    trace_id: 'a',
    start: String(BASE),
    duration: 0,
    services: ['shop'],
    spans,
    resources: [],
    linked: [],
    findings: [],
    complete: true,
    ...more,
  };
}
