// The horizontal axis: a window [from, to] in ns, bars in percent of it, round ruler marks.
import { formatDuration } from './time';

export interface Window {
  from: number;
  to: number;
}

export interface Bar {
  left: number; // percent
  width: number;
  outside: '' | 'before' | 'after';
}

export function bar(span: Window, view: Window): Bar {
  const length = view.to - view.from;
  if (span.to < view.from) return { left: 0, width: 0, outside: 'before' };
  if (span.from > view.to) return { left: 100, width: 0, outside: 'after' };
  const left = ((Math.max(span.from, view.from) - view.from) / length) * 100;
  const right = ((Math.min(span.to, view.to) - view.from) / length) * 100;
  return { left, width: Math.max(0, right - left), outside: '' };
}

/** Marks at 1, 2 or 5 times a power of ten, at most `most` of them, relative to `origin`. */
export function ruler(view: Window, origin: number, most = 6): { at: number; text: string }[] {
  const length = view.to - view.from;
  const raw = length / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  const marks: { at: number; text: string }[] = [];
  for (let index = Math.ceil((view.from - origin) / step); ; index++) {
    const time = origin + index * step;
    const at = ((time - view.from) / length) * 100;
    if (at > 99.999 || marks.length > most * 2) return marks;
    marks.push({ at, text: index === 0 ? '0' : formatDuration(index * step) });
  }
}

export function pan(view: Window, limit: Window, share: number): Window {
  const length = view.to - view.from;
  const from = Math.min(Math.max(limit.from, view.from + length * share), limit.to - length);
  return { from, to: from + length };
}

export function zoom(view: Window, limit: Window, factor: number): Window {
  const middle = (view.from + view.to) / 2;
  const half = Math.max(((view.to - view.from) * factor) / 2, 500);
  return clamp({ from: middle - half, to: middle + half }, limit);
}

export function clamp(view: Window, limit: Window): Window {
  const from = Math.min(Math.max(limit.from, view.from), limit.to);
  const to = Math.max(Math.min(limit.to, view.to), limit.from);
  return to - from < 1 ? limit : { from, to };
}

/**
 * The first window of a trace with linked tasks: everything, unless a late task would squeeze the
 * opened trace below a twelfth of the width.
 */
export function firstWindow(all: Window, own: Window): Window {
  if (own.to - own.from >= (all.to - all.from) / 12) return all;
  const margin = (own.to - own.from) * 0.05;
  return clamp({ from: own.from - margin, to: own.to + margin }, all);
}
