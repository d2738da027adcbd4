import { describe, expect, it } from 'vitest';
import { bar, clamp, firstWindow, pan, ruler, zoom } from './timeline';

const all = { from: 0, to: 1000 };

describe('bar', () => {
  it('cuts at the window', () => {
    expect(bar({ from: 100, to: 300 }, { from: 200, to: 400 })).toEqual({
      left: 0,
      width: 50,
      outside: '',
    });
    expect(bar({ from: 0, to: 1000 }, { from: 200, to: 400 })).toEqual({
      left: 0,
      width: 100,
      outside: '',
    });
  });

  it('says on which side something lies outside', () => {
    expect(bar({ from: 0, to: 10 }, { from: 20, to: 40 }).outside).toBe('before');
    expect(bar({ from: 50, to: 60 }, { from: 20, to: 40 }).outside).toBe('after');
  });
});

describe('ruler', () => {
  it('marks round times from the start of the trace', () => {
    expect(ruler({ from: 0, to: 84e6 }, 0).map((mark) => mark.text)).toEqual([
      '0',
      '20 ms',
      '40 ms',
      '60 ms',
      '80 ms',
    ]);
    expect(ruler({ from: 1.5e6, to: 2.5e6 }, 0, 5).map((mark) => mark.text)).toEqual([
      '1.6 ms',
      '1.8 ms',
      '2 ms',
      '2.2 ms',
      '2.4 ms',
    ]);
  });

  it('never makes many marks', () => {
    for (const length of [1, 7, 999, 12_345, 1e9, 8.64e13]) {
      expect(ruler({ from: 3, to: 3 + length }, 0, 6).length).toBeLessThanOrEqual(7);
    }
  });
});

describe('moving the window', () => {
  it('pans to the ends and not beyond', () => {
    expect(pan({ from: 0, to: 100 }, all, -0.5)).toEqual({ from: 0, to: 100 });
    expect(pan({ from: 950, to: 1000 }, all, 0.5)).toEqual({ from: 950, to: 1000 });
    expect(pan({ from: 100, to: 200 }, all, 0.5)).toEqual({ from: 150, to: 250 });
  });

  it('zooms out to everything at most', () => {
    expect(zoom({ from: 100, to: 900 }, all, 10)).toEqual(all);
    expect(zoom({ from: 0, to: 1e6 }, { from: 0, to: 1e6 }, 0.5)).toEqual({
      from: 250_000,
      to: 750_000,
    });
    expect(clamp({ from: 5000, to: 6000 }, all)).toEqual(all);
  });

  it('starts with everything unless a late task would squeeze the opened trace', () => {
    expect(firstWindow(all, { from: 0, to: 100 })).toEqual(all);
    expect(firstWindow({ from: 0, to: 600e9 }, { from: 0, to: 40e6 })).toEqual({
      from: 0,
      to: 42e6,
    });
  });
});
