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
  if (own === 'serializer' || own === 'transaction') return own;
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

/** Stable hue for a service: the first ones get well-spread hues, in the order given. */
export function serviceHue(service: string, services: readonly string[]): number {
  const index = Math.max(0, services.indexOf(service));
  return Math.round((212 + index * 137.5) % 360);
}
