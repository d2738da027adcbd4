// What a span is for the eye: one of a dozen categories, each with a colour token (app.css) and a
// word. Reads our attributes first and falls back to what any OpenTelemetry SDK sends.
import type { Span } from './model';

export const CATEGORIES = {
  request: 'Request',
  task: 'Task',
  publish: 'Task publish',
  middleware: 'Middleware',
  view: 'View',
  serializer: 'Serializer',
  template: 'Template',
  sql: 'SQL',
  transaction: 'Transaction',
  cache: 'Cache',
  http: 'HTTP call',
  internal: 'Internal',
} as const;

export type Category = keyof typeof CATEGORIES;

export function category(span: Span): Category {
  const { attributes } = span;
  const own = attributes['nuages.kind'];
  if (own === 'middleware' || own === 'view' || own === 'template') return own;
  if (own === 'serializer' || own === 'transaction' || own === 'cache') return own;
  const system = String(attributes['db.system'] ?? attributes['db.system.name'] ?? '');
  if (system === 'redis' || system === 'memcached') return 'cache';
  if (/^(COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b/.test(span.name)) return 'transaction';
  if (system !== '') return 'sql';
  switch (span.kind) {
    case 'server':
      return 'request';
    case 'consumer':
      return 'task';
    case 'producer':
      return 'publish';
    case 'client':
      return 'http';
    default:
      return 'internal';
  }
}

export function statement(span: Span): string {
  const text = span.attributes['db.statement'] ?? span.attributes['db.query.text'];
  return typeof text === 'string' ? text : '';
}

/** Shown name: tasks as the text tree shows them, everything else as the span is named. */
export function title(span: Span): string {
  const task = span.attributes['celery.task_name'];
  if (span.kind === 'consumer' && typeof task === 'string') {
    return `Celery Task: ${task.slice(task.lastIndexOf('.') + 1)}`;
  }
  return span.label || span.name;
}

const HUES = [255, 165, 315, 205, 120, 285, 185, 335]; // no red or amber: they mean errors and N+1
const hues = new Map<string, number>();

/** A service's hue: by order of appearance, so that the first few contrast; the same on every page. */
export function serviceHue(service: string): number {
  let hue = hues.get(service);
  if (hue === undefined) {
    hue = HUES[hues.size % HUES.length] as number;
    hues.set(service, hue);
  }
  return hue;
}

/** Self time by category, largest first. */
export function selfTimes(spans: Iterable<Span>): { name: Category; time: number }[] {
  const times = new Map<Category, number>();
  for (const span of spans) {
    const name = category(span);
    times.set(name, (times.get(name) ?? 0) + Math.max(0, span.self_duration));
  }
  return [...times].map(([name, time]) => ({ name, time })).sort((a, b) => b.time - a.time);
}
