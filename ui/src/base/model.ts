// The domain model: what a trace is to the UI. Shapes as the server's JSON carries them: times are
// unix nanoseconds as decimal strings (they do not fit a double), durations are numbers of
// nanoseconds, ids are lower-case hex.

export type Value = string | number | boolean | null | bigint | Value[] | { [key: string]: Value };
export type Attributes = Record<string, Value>;
export type Status = 'unset' | 'ok' | 'error';

export interface SpanEvent {
  time: string;
  name: string;
  attributes: Attributes;
}

export interface SpanLink {
  trace_id: string;
  span_id: string;
  attributes: Attributes;
}

export interface Span {
  trace_id: string;
  span_id: string;
  parent_span_id: string;
  name: string;
  label: string;
  kind: string;
  status: Status;
  status_message: string;
  start: string;
  duration: number;
  self_duration: number;
  service: string;
  scope: string;
  attributes: Attributes;
  events: SpanEvent[];
  links: SpanLink[];
  resource: number;
}

export interface LinkedTrace {
  trace_id: string;
  span_id: string;
  direction: 'task' | 'producer';
  via_span_id: string;
  name: string;
  service: string;
  status: Status;
  start: string;
  duration: number;
  stored: boolean; // false: known by its link only
}

export interface Finding {
  trace_id: string;
  kind: string;
  title: string;
  statement: string;
  label: string;
  count: number;
  total_duration: number;
  file: string;
  line: number;
  function: string;
  relation: string;
  suggestion: string;
  span_ids: string[];
  parent_span_id: string;
}

export interface Trace {
  trace_id: string;
  start: string;
  duration: number;
  services: string[];
  spans: Span[];
  resources: { attributes: Attributes }[];
  linked: LinkedTrace[];
  findings: Finding[];
  complete: boolean;
}

export interface TraceRow {
  trace_id: string;
  span_id: string;
  name: string;
  service: string;
  route: string;
  method: string;
  kind: string;
  http_status: number | null;
  status: Status;
  start: string;
  duration: number;
  span_count: number;
  error_count: number;
  services: string[];
  query_count: number | null;
  n_plus_one: boolean;
  max_repetitions: number | null;
  task: string;
}

export interface TracePage {
  traces: TraceRow[];
  next_before: string | null;
  truncated: boolean;
}

export interface Service {
  name: string;
  span_count: number;
  entry_count: number;
  error_count: number;
  last_seen: string;
}

export interface Route {
  service: string;
  route: string;
  name: string;
  count: number;
}

export interface ServerStatus {
  version: string;
  store: { kind: string; version: string; ready: boolean };
  received: { spans: number; rejected: number; repeated: number };
  wal: { segments: number; bytes: number };
  start_time: string;
  uptime_seconds: number;
}
