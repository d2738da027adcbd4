// One request to the server: JSON in, typed value or ApiError out. Cancelling a signal rejects with
// the signal's AbortError, which callers ignore; everything else is an ApiError in plain words.

export type ErrorCode =
  | 'unreachable' // no answer at all
  | 'unavailable' // 503: starting, or the store is not ready
  | 'not_found'
  | 'denied' // 401, 403: log in, or somebody else has to
  | 'invalid'
  | 'internal'
  | 'garbled'; // an answer, but not the API's

export class ApiError extends Error {
  readonly code: ErrorCode;
  readonly status: number;

  constructor(code: ErrorCode, status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.status = status;
  }
}

export const PREFIX = '/api/v1';
const TIMEOUT_MS = 30_000;

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

let denied: () => void = () => undefined;
/** Called whenever an answer is 401: the session has ended, or there never was one. */
export function onDenied(listener: () => void): void {
  denied = listener;
}

async function request(
  path: string,
  accept: string,
  signal?: AbortSignal,
  body?: unknown,
): Promise<string> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const both = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let response: Response;
  let text: string;
  try {
    response = await fetch(
      PREFIX + path,
      body === undefined
        ? { headers: { accept }, signal: both }
        : {
            method: 'POST',
            headers: { accept, 'content-type': 'application/json' },
            body: JSON.stringify(body),
            signal: both,
          },
    );
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw new DOMException('The request was cancelled', 'AbortError');
    const why = timeout.aborted
      ? `nuages-server did not answer within ${TIMEOUT_MS / 1000} s`
      : 'nuages-server cannot be reached';
    throw new ApiError('unreachable', 0, error instanceof ApiError ? error.message : why);
  }
  if (response.status === 401 && body === undefined) denied();
  if (!response.ok) throw failure(response.status, text);
  return text;
}

function failure(status: number, text: string): ApiError {
  const byStatus: Record<number, ErrorCode> = {
    400: 'invalid',
    401: 'denied',
    403: 'denied',
    404: 'not_found',
    503: 'unavailable',
  };
  // A proxy in between (Vite's in development) says 502 or 504 when nothing listens behind it.
  if (status === 502 || status === 504) {
    return new ApiError('unreachable', status, 'nuages-server cannot be reached');
  }
  const code = byStatus[status] ?? 'internal';
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown } };
    if (typeof error?.message === 'string') return new ApiError(code, status, error.message);
  } catch {
    // not the API's error body: the status has to do
  }
  return new ApiError(code, status, `nuages-server answered with HTTP status ${status}`);
}

/** Integers beyond 2^53 (fingerprints, ids in attributes) stay exact: they become BigInt. */
export function parseJson(text: string): unknown {
  if (!/[:[,]\s*-?\d{16,}\s*[,}\]]/.test(text)) return JSON.parse(text);
  const exact = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' &&
    !Number.isSafeInteger(value) &&
    context?.source !== undefined &&
    /^-?\d+$/.test(context.source)
      ? BigInt(context.source)
      : value;
  return JSON.parse(text, exact);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return parsed<T>(await request(path, 'application/json', signal));
}

export async function postJson<T>(path: string, body: unknown): Promise<T> {
  return parsed<T>(await request(path, 'application/json', undefined, body));
}

function parsed<T>(text: string): T {
  try {
    return parseJson(text) as T;
  } catch {
    throw new ApiError('garbled', 200, 'The answer is not JSON: is this address a nuages-server?');
  }
}

export function getText(path: string, signal?: AbortSignal): Promise<string> {
  return request(path, 'text/plain', signal);
}
