import { describe, expect, it } from 'vitest';
import {
  earliest,
  formatAgo,
  formatBytes,
  formatClock,
  formatCount,
  formatDuration,
  formatPrecise,
  offsetNs,
  parseDurationMs,
  parseNs,
} from './time';

describe('durations', () => {
  it.each([
    [0, '0 ns'],
    [999, '999 ns'],
    [999.6, '1 µs'],
    [1_000, '1 µs'],
    [12_345, '12.3 µs'],
    [999_499, '999 µs'],
    [999_500, '1 ms'],
    [4_512_000, '4.51 ms'],
    [9_996_000, '10 ms'],
    [250_000_000, '250 ms'],
    [1_240_000_000, '1.24 s'],
    [59_999_000_000, '1 m 00 s'],
    [123_000_000_000, '2 m 03 s'],
    [3_599_600_000_000, '1 h 00 m'],
    [3_840_000_000_000, '1 h 04 m'],
    [-5_000, '-5 µs'],
    [Number.NaN, '?'],
  ])('%d ns is %s', (ns, text) => {
    expect(formatDuration(ns)).toBe(text);
  });

  it.each([
    ['250', 250],
    [' 250 ms ', 250],
    ['1.5s', 1500],
    ['80us', 0.08],
    ['80 µs', 0.08],
    ['2m', 120_000],
    ['5 S', 5000],
  ])('reads %s', (text, ms) => {
    expect(parseDurationMs(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', 'fast', '-5', '5 h', '1e3', '1,5s', 'NaN'])('refuses "%s"', (text) => {
    expect(parseDurationMs(text)).toBeNull();
  });
});

describe('times', () => {
  const time = '1795592073113456789';

  it('keeps every nanosecond of a difference', () => {
    expect(offsetNs('1795592073113456789', parseNs('1795592073113456788'))).toBe(1);
    expect(offsetNs('1795592073113456788', parseNs('1795592073113456789'))).toBe(-1);
  });

  it('takes hostile text as zero instead of throwing', () => {
    for (const text of ['', '-1', '1e9', '0x10', 'abc', '9'.repeat(40)])
      expect(parseNs(text)).toBe(0n);
  });

  it('finds the earliest beyond what a double can tell apart', () => {
    expect(earliest([time, '1795592073113456788', '1795592073113456790'])).toBe(
      1795592073113456788n,
    );
    expect(earliest([])).toBe(0n);
  });

  it('shows all nine digits in the local zone', () => {
    const date = new Date(1795592073113);
    const text = formatPrecise(time);
    expect(text).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.113456789 [+-]\d\d:\d\d$/);
    expect(new Date(text.replace(/(\.\d{3})\d{6} /, '$1').replace(' ', 'T')).getTime()).toBe(
      date.getTime(),
    );
  });

  it('leaves the date out today and adds it otherwise', () => {
    const date = new Date(1795592073113);
    expect(formatClock(time, date)).toMatch(/^\d\d:\d\d:\d\d\.113$/);
    expect(formatClock(time, new Date(date.getTime() + 86_400_000 * 2))).toMatch(
      / \d\d:\d\d:\d\d\.113$/,
    );
    expect(formatClock(time, new Date(date.getTime() + 86_400_000 * 400))).toMatch(
      / 20\d\d \d\d:\d\d:\d\d\.113$/,
    );
  });

  it.each([
    [0, 'just now'],
    [-5000, 'just now'],
    [12_000, '12 s ago'],
    [180_000, '3 min ago'],
    [7_200_000, '2 h ago'],
    [432_000_000, '5 d ago'],
  ])('%d ms later', (later, text) => {
    expect(formatAgo(time, 1795592073113 + later)).toBe(text);
  });
});

it('shows counts and bytes', () => {
  expect(formatCount(10001)).toBe('10\u202f001');
  expect([formatBytes(12), formatBytes(45_120), formatBytes(3 * 1024 ** 2)]).toEqual([
    '12 B',
    '44.1 KiB',
    '3 MiB',
  ]);
});
