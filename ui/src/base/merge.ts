// Live mode: the newest page laid over the rows already shown.
import type { TraceRow } from './model';
import { parseNs } from './time';

export function rowKey(row: TraceRow): string {
  return `${row.trace_id}:${row.span_id}`;
}

/**
 * Newest first; known rows are replaced by their newer version, unknown ones are `fresh`. Null where
 * the page does not touch the shown rows: there may be a gap between them, so the caller starts over.
 */
export function mergeNewest(
  shown: TraceRow[],
  page: TraceRow[],
): { rows: TraceRow[]; fresh: Set<string> } | null {
  if (shown.length === 0) return null;
  const known = new Map(shown.map((row) => [rowKey(row), row]));
  const fresh = new Set(page.map(rowKey).filter((key) => !known.has(key)));
  if (fresh.size === page.length) return page.length === 0 ? { rows: shown, fresh } : null;
  for (const row of page) known.set(rowKey(row), row);
  const rows = [...known.values()].sort((a, b) => {
    const order = parseNs(b.start) - parseNs(a.start);
    return order > 0n ? 1 : order < 0n ? -1 : 0;
  });
  return { rows, fresh };
}
