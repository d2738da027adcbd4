// The trace list's filters and their form in the page's address. Defaults are left out, so that a
// shared link says only what it means.

export const RANGES = { '15m': 15 * 60, '1h': 3600, '24h': 86_400, all: 0 } as const;
export type Range = keyof typeof RANGES;

export const RANGE_WORDS: Record<Range, string> = {
  '15m': 'Last 15 minutes',
  '1h': 'Last hour',
  '24h': 'Last 24 hours',
  all: 'All time',
};

export interface Filters {
  service: string;
  search: string; // route when it starts with a slash, else span name
  status: '' | 'ok' | 'error';
  http_status: string;
  min: string; // durations as typed: "250ms", "1.5s"
  max: string;
  kind: '' | 'server' | 'consumer';
  n_plus_one: boolean;
  range: Range;
  live: boolean;
}

export const NO_FILTERS: Filters = {
  service: '',
  search: '',
  status: '',
  http_status: '',
  min: '',
  max: '',
  kind: '',
  n_plus_one: false,
  range: '24h',
  live: false,
};

export function filtersFromQuery(query: URLSearchParams): Filters {
  const oneOf = <T extends string>(value: string | null, allowed: readonly T[], otherwise: T): T =>
    allowed.find((candidate) => candidate === value) ?? otherwise;
  return {
    service: query.get('service') ?? '',
    search: query.get('search') ?? '',
    status: oneOf(query.get('status'), ['', 'ok', 'error'], ''),
    http_status: query.get('http_status') ?? '',
    min: query.get('min') ?? '',
    max: query.get('max') ?? '',
    kind: oneOf(query.get('kind'), ['', 'server', 'consumer'], ''),
    n_plus_one: query.get('n_plus_one') === 'true',
    range: oneOf(query.get('range'), Object.keys(RANGES) as Range[], NO_FILTERS.range),
    live: query.get('live') === 'true',
  };
}

export function filtersToQuery(filters: Filters): URLSearchParams {
  const query = new URLSearchParams();
  for (const name of Object.keys(NO_FILTERS) as (keyof Filters)[]) {
    if (filters[name] !== NO_FILTERS[name]) query.set(name, String(filters[name]));
  }
  return query;
}

/** True when something besides the time range and live mode narrows the list. */
export function isFiltered(filters: Filters): boolean {
  return (Object.keys(NO_FILTERS) as (keyof Filters)[]).some(
    (name) => name !== 'range' && name !== 'live' && filters[name] !== NO_FILTERS[name],
  );
}

/** The trace id in pasted text: bare, with dashes, or inside a traceparent header. */
export function findTraceId(text: string): string | null {
  const trimmed = text.trim().toLowerCase();
  const parent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(trimmed);
  const id = parent?.[1] ?? trimmed.replaceAll('-', '');
  return /^[0-9a-f]{32}$/.test(id) && !/^0+$/.test(id) ? id : null;
}
