import { describe, expect, it } from 'vitest';
import { maxScroll, renderedRange, scrollToShow } from './virtual';

const view = { scrollTop: 0, height: 260, rowHeight: 26, count: 10_000 };

describe('renderedRange', () => {
  it('covers the viewport and the overscan only', () => {
    expect(renderedRange(view)).toEqual({ first: 0, last: 18 });
    expect(renderedRange({ ...view, scrollTop: 26 * 500 + 13 })).toEqual({ first: 492, last: 519 });
  });

  it('always covers every visible row', () => {
    for (let scrollTop = 0; scrollTop <= maxScroll(view); scrollTop += 977) {
      const { first, last } = renderedRange({ ...view, scrollTop }, 0);
      expect(first * 26).toBeLessThanOrEqual(scrollTop);
      expect(last * 26).toBeGreaterThanOrEqual(scrollTop + 260);
    }
  });

  it('stays inside after rows have gone (a collapse while scrolled down)', () => {
    expect(renderedRange({ ...view, scrollTop: 200_000, count: 5 })).toEqual({ first: 0, last: 5 });
    expect(renderedRange({ ...view, count: 0 })).toEqual({ first: 0, last: 0 });
  });
});

describe('scrollToShow', () => {
  it('does not move when the row is seen', () => {
    expect(scrollToShow({ ...view, scrollTop: 2600 }, 105)).toBe(2600);
  });

  it('moves just enough, with two rows around', () => {
    expect(scrollToShow({ ...view, scrollTop: 0 }, 50)).toBe((50 + 3) * 26 - 260);
    expect(scrollToShow({ ...view, scrollTop: 2600 }, 50)).toBe(48 * 26);
  });

  it('respects both ends', () => {
    expect(scrollToShow({ ...view, scrollTop: 900 }, 0)).toBe(0);
    expect(scrollToShow(view, 9_999)).toBe(maxScroll(view));
  });
});
