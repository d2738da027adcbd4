import { afterEach, describe, expect, it, vi } from 'vitest';
import { NO_FILTERS } from '../base/filters';
import { ApiError, getJson, isAbort, onDenied, parseJson, postJson } from './http';
import { getRoutes, getTrace, getTree, rawTreeUrl, tracesPath } from './traces';

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: string): ReturnType<typeof vi.fn> {
  const fetch = vi.fn(async () => new Response(body, { status }));
  vi.stubGlobal('fetch', fetch);
  return fetch;
}

describe('errors', () => {
  it.each([
    [400, 'invalid'],
    [401, 'denied'],
    [403, 'denied'],
    [404, 'not_found'],
    [503, 'unavailable'],
    [500, 'internal'],
    [418, 'internal'],
  ])('status %d is %s, in the words of the server', async (status, code) => {
    answer(status, '{"error":{"code":"x","message":"the limit 900 is above 500"}}');
    await expect(getJson('/x')).rejects.toMatchObject({
      code,
      status,
      message: 'the limit 900 is above 500',
    });
  });

  it('has words of its own where the body is not the API', async () => {
    answer(500, '<html>oops</html>');
    await expect(getJson('/x')).rejects.toMatchObject({
      code: 'internal',
      message: /HTTP status 500/,
    });
    answer(200, '<!doctype html>');
    await expect(getJson('/x')).rejects.toMatchObject({ code: 'garbled' });
  });

  it('tells an absent server from a failing one, also behind a proxy', async () => {
    vi.stubGlobal(
      'fetch',
      vi.fn(async () => Promise.reject(new TypeError('Failed to fetch'))),
    );
    await expect(getJson('/x')).rejects.toMatchObject({ code: 'unreachable', status: 0 });
    answer(502, '');
    await expect(getJson('/x')).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('tells whoever listens that a session has ended, but not that a login failed', async () => {
    const listener = vi.fn();
    onDenied(listener);
    const fetch = answer(401, '{"error":{"message":"log in"}}');
    await expect(getJson('/x')).rejects.toMatchObject({ code: 'denied', message: 'log in' });
    expect(listener).toHaveBeenCalledTimes(1);
    await expect(postJson('/login', { user: 'a' })).rejects.toMatchObject({ code: 'denied' });
    expect(listener).toHaveBeenCalledTimes(1);
    expect(fetch.mock.calls[1]?.[1]).toMatchObject({ method: 'POST', body: '{"user":"a"}' });
    onDenied(() => undefined);
  });

  it('rejects with AbortError when cancelled, and not with an ApiError', async () => {
    vi.stubGlobal(
      'fetch',
      vi.fn(
        (_url: string, { signal }: { signal: AbortSignal }) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason));
          }),
      ),
    );
    const controller = new AbortController();
    const pending = getJson('/x', controller.signal).catch((error: unknown) => error);
    controller.abort();
    const error = await pending;
    expect(isAbort(error)).toBe(true);
    expect(error).not.toBeInstanceOf(ApiError);
  });
});

describe('parseJson', () => {
  it('keeps 64-bit integers exact and leaves everything else alone', () => {
    expect(
      parseJson(
        '{"a":12345678901234567890,"b":[-9223372036854775808],"c":1.5,"d":"12345678901234567890","e":42}',
      ),
    ).toEqual({
      a: 12345678901234567890n,
      b: [-9223372036854775808n],
      c: 1.5,
      d: '12345678901234567890',
      e: 42,
    });
  });
});

describe('paths', () => {
  const NOW = 1_795_592_073_113;

  it('asks for the range, the cursor and only the filters that are set', () => {
    expect(tracesPath(NO_FILTERS, NOW)).toBe('/traces?start=1795505673113000000&limit=50');
    expect(tracesPath({ ...NO_FILTERS, range: 'all' }, NOW, '17')).toBe(
      '/traces?limit=50&before=17',
    );
  });

  it('sends a search with a slash as route, else as name; durations in milliseconds', () => {
    const path = tracesPath(
      {
        ...NO_FILTERS,
        range: 'all',
        search: ' /orders/{order_id}/ ',
        min: '1.5s',
        max: 'nonsense',
        status: 'error',
        n_plus_one: true,
        kind: 'server',
        service: 'a b',
      },
      NOW,
    );
    expect(Object.fromEntries(new URLSearchParams(path.split('?')[1]))).toEqual({
      service: 'a b',
      route: '/orders/{order_id}/',
      status: 'error',
      min_duration_ms: '1500',
      kind: 'server',
      n_plus_one: 'true',
      limit: '50',
    });
    expect(tracesPath({ ...NO_FILTERS, search: 'process_order' }, NOW)).toContain(
      'name=process_order',
    );
  });

  it('escapes ids', async () => {
    const fetch = answer(200, '{"routes":[]}');
    await getTrace('../../x?y', true, new AbortController().signal);
    expect(fetch.mock.calls[0]?.[0]).toBe('/api/v1/traces/..%2F..%2Fx%3Fy?follow=true');
    await getRoutes('a&b');
    expect(fetch.mock.calls[1]?.[0]).toBe('/api/v1/routes?service=a%26b');
    await getTree('ab', 'guide', true, new AbortController().signal);
    expect(fetch.mock.calls[2]?.[0]).toBe(rawTreeUrl('ab', 'guide', true));
  });
});
