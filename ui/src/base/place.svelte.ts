// The page's address as state: path and query, pushed or replaced. Everything a reader may want to
// share lives here; nothing else keeps navigation state.

class Place {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener('popstate', () => this.read());
    document.addEventListener('click', (event) => this.follow(event));
  }

  go(path: string, query: URLSearchParams = new URLSearchParams(), replace = false): void {
    const address = addressOf(path, query);
    if (address === location.pathname + location.search) return;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    const moved = path !== this.path;
    this.read();
    if (moved) scrollTo(0, 0);
  }

  /** Changes some parameters of this page; null removes one. */
  set(changes: Record<string, string | null>, replace = true): void {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) query.delete(name);
      else query.set(name, value);
    }
    this.go(this.path, query, replace);
  }

  private read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  // Plain links stay links (middle click, copy address); only a plain click is taken over.
  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (link === null) return;
    if (link.target !== '' || link.hasAttribute('download')) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin) return;
    event.preventDefault();
    this.go(url.pathname, url.searchParams);
  }
}

export function addressOf(path: string, query: URLSearchParams): string {
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

export const place = new Place();

export function traceHref(trace_id: string, span_id = ''): string {
  return `/trace/${encodeURIComponent(trace_id)}${span_id ? `?span=${encodeURIComponent(span_id)}` : ''}`;
}

/** The id of /trace/ID; null on any other page. Undecodable escapes are kept as they are. */
export function traceIdOf(path: string): string | null {
  const part = /^\/trace\/([^/]+)\/?$/.exec(path)?.[1];
  if (part === undefined) return null;
  try {
    return decodeURIComponent(part).toLowerCase();
  } catch {
    return part;
  }
}
