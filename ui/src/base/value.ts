// Attribute values as text: exact, copyable, and one way everywhere.
import type { Value } from './model';

export function valueText(value: Value | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  if (value !== null && typeof value === 'object') {
    return JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'bigint' ? inner.toString() : inner,
    );
  }
  return String(value);
}

/** The end of a long path, cut between folders: ".../orders/views.py". */
export function shortPath(path: string, most = 44): string {
  if (path.length <= most) return path;
  const parts = path.split('/');
  let kept = parts.pop() ?? '';
  while (parts.length > 0 && kept.length + (parts.at(-1) as string).length + 3 <= most) {
    kept = `${parts.pop()}/${kept}`;
  }
  return `…/${kept}`;
}
