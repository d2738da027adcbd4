// Windowed rendering with one fixed row height: which rows exist in the DOM, and where to scroll
// so that a row is seen.

export interface Viewport {
  scrollTop: number;
  height: number;
  rowHeight: number;
  count: number;
}

/** Half-open range [first, last) of the rows to render, `overscan` more on either side. */
export function renderedRange(view: Viewport, overscan = 8): { first: number; last: number } {
  const top = Math.min(Math.max(0, view.scrollTop), maxScroll(view));
  const first = Math.max(0, Math.floor(top / view.rowHeight) - overscan);
  const last = Math.min(view.count, Math.ceil((top + view.height) / view.rowHeight) + overscan);
  return { first, last: Math.max(first, last) };
}

export function maxScroll(view: Viewport): number {
  return Math.max(0, view.count * view.rowHeight - view.height);
}

/** The nearest scroll position that shows row `index` with `margin` rows around it. */
export function scrollToShow(view: Viewport, index: number, margin = 2): number {
  const top = (index - margin) * view.rowHeight;
  const bottom = (index + 1 + margin) * view.rowHeight - view.height;
  const wanted =
    bottom > top ? index * view.rowHeight : Math.min(Math.max(view.scrollTop, bottom), top);
  return Math.min(Math.max(0, wanted), maxScroll(view));
}
