// Nanosecond times and durations as people read them. Times arrive as decimal strings; all
// arithmetic on them is BigInt, and only differences (which fit a double) become numbers.

export function parseNs(text: string): bigint {
  return /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
}

/** The least of the times; 0 of none. */
export function earliest(times: Iterable<string>): bigint {
  let least: bigint | null = null;
  for (const text of times) {
    const time = parseNs(text);
    if (least === null || time < least) least = time;
  }
  return least ?? 0n;
}

/** Nanoseconds from `base` to `time`, exact below 2^53 ns (104 days). */
export function offsetNs(time: string, base: bigint): number {
  return Number(parseNs(time) - base);
}

export function toDate(time: string): Date {
  return new Date(Number(parseNs(time) / 1_000_000n));
}

/** "850 ns", "12.3 µs", "4.51 ms", "1.2 s", "2 m 03 s", "1 h 04 m": three significant digits. */
export function formatDuration(ns: number): string {
  if (!Number.isFinite(ns)) return '?';
  if (ns < 0) return `-${formatDuration(-ns)}`;
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  if (ns < 999.5e3) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${threeDigits(ns / 1e6)} ms`;
  if (ns < 59.995e9) return `${threeDigits(ns / 1e9)} s`;
  const seconds = Math.round(ns / 1e9);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
}

function threeDigits(value: number): string {
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return String(Number(value.toFixed(digits)));
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** Milliseconds from "250", "250ms", "1.5s", "80 us", "2m"; null where it is no duration. */
export function parseDurationMs(text: string): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|)\s*$/i.exec(text);
  if (!match) return null;
  const factor: Record<string, number> = {
    ns: 1e-6,
    us: 1e-3,
    µs: 1e-3,
    ms: 1,
    '': 1,
    s: 1e3,
    m: 6e4,
  };
  return Number(match[1]) * (factor[(match[2] ?? '').toLowerCase()] ?? 1);
}

/** Clock time in the local zone, with the date when it is not `now`'s day. */
export function formatClock(time: string, now: Date = new Date()): string {
  const date = toDate(time);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
  if (date.toDateString() === now.toDateString()) return clock;
  const day = date.toLocaleDateString(undefined, { day: '2-digit', month: 'short' });
  return date.getFullYear() === now.getFullYear()
    ? `${day} ${clock}`
    : `${day} ${date.getFullYear()} ${clock}`;
}

/** Every digit the server sent, in the local zone: "2026-11-24 14:03:12.345678901 +01:00". */
export function formatPrecise(time: string): string {
  const date = toDate(time);
  const fraction = String(parseNs(time) % 1_000_000_000n).padStart(9, '0');
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${fraction} ${zone}`;
}

/** "just now", "12 s ago", "3 min ago", "2 h ago", "5 d ago". */
export function formatAgo(time: string, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - toDate(time).getTime()) / 1000));
  if (seconds < 2) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

export function formatCount(value: number): string {
  return value.toLocaleString('en').replaceAll(',', '\u202f');
}

export function formatBytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 1024 ** 2) return `${threeDigits(value / 1024)} KiB`;
  if (value < 1024 ** 3) return `${threeDigits(value / 1024 ** 2)} MiB`;
  return `${threeDigits(value / 1024 ** 3)} GiB`;
}
