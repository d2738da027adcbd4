import { describe, expect, it } from 'vitest';
import { span, trace } from './test_spans';
import { ancestors, buildForest, type Forest } from './tree';

/** "root(child grandchild())" so that a test reads as the tree it expects. */
function shape(forest: Forest): string {
  const text = (node: Forest['roots'][number]): string =>
    node.children.length > 0
      ? `${node.span.span_id}(${node.children.map(text).join(' ')})`
      : node.span.span_id;
  return forest.roots.map(text).join(' ');
}

describe('buildForest', () => {
  it('orders children by start and counts descendants', () => {
    const forest = buildForest(
      trace([
        span('c', 'r', 30, 40),
        span('b', 'r', 10, 20),
        span('r', '', 0, 100),
        span('d', 'b', 12, 13),
      ]),
    );
    expect(shape(forest)).toBe('r(b(d) c)');
    expect(forest.order.map((node) => [node.span.span_id, node.descendants])).toEqual([
      ['r', 3],
      ['b', 1],
      ['d', 0],
      ['c', 0],
    ]);
    expect([forest.from, forest.to]).toEqual([0, 100]);
  });

  it('keeps a span whose parent is missing, and says so', () => {
    const forest = buildForest(trace([span('r', '', 0, 9), span('x', 'gone', 1, 2)]));
    expect(shape(forest)).toBe('r x');
    expect(forest.roots[1]?.orphan).toBe(true);
  });

  it('hangs a linked task under the span its link names, from either side', () => {
    const task = span('t', '', 500, 900, {
      trace_id: 'b',
      kind: 'consumer',
      links: [{ trace_id: 'a', span_id: 'p', attributes: { 'nuages.link': 'celery' } }],
    });
    const spans = [
      span('r', '', 0, 100),
      span('p', 'r', 50, 60),
      task,
      span('w', 't', 510, 520, { trace_id: 'b' }),
    ];
    const fromRequest = buildForest(trace(spans));
    expect(shape(fromRequest)).toBe('r(p(t(w)))');
    expect(fromRequest.order.map((node) => node.linked)).toEqual([false, false, true, false]);
    expect(fromRequest.order.map((node) => node.foreign)).toEqual([false, false, true, true]);
    expect(fromRequest.own).toEqual({ from: 0, to: 100 });
    expect([fromRequest.from, fromRequest.to]).toEqual([0, 900]);
    const fromTask = buildForest(trace(spans, { trace_id: 'b' }));
    expect(shape(fromTask)).toBe('r(p(t(w)))');
    expect(fromTask.own).toEqual({ from: 500, to: 900 });
  });

  it('tells equal span ids of two traces apart', () => {
    const forest = buildForest(
      trace([span('r', '', 0, 9), span('r', '', 3, 5, { trace_id: 'b' })]),
    );
    expect(forest.roots).toHaveLength(2);
  });

  it('shows every span once whatever the parents say: cycles, self-parents, repeats', () => {
    const forest = buildForest(
      trace([
        span('a', 'b', 0, 5),
        span('b', 'a', 1, 4),
        span('s', 's', 2, 3),
        span('s', '', 7, 8),
        span('c', 'b', 3, 4),
      ]),
    );
    expect(forest.order.map((node) => node.span.span_id).sort()).toEqual(['a', 'b', 'c', 's']);
  });

  it('does not let two traces that link to each other vanish', () => {
    const link = (trace_id: string, span_id: string) => [{ trace_id, span_id, attributes: {} }];
    const forest = buildForest(
      trace([
        span('x', '', 0, 5, { links: link('b', 'y') }),
        span('y', '', 1, 4, { trace_id: 'b', links: link('a', 'x') }),
      ]),
    );
    expect(forest.order).toHaveLength(2);
    expect(forest.roots).toHaveLength(1);
  });

  it('survives a chain of 20,000 spans', () => {
    const spans = Array.from({ length: 20_000 }, (_, i) =>
      span(`s${i}`, i === 0 ? '' : `s${i - 1}`, i, 50_000),
    );
    const forest = buildForest(trace(spans));
    const last = forest.order[19_999];
    expect(last && ancestors(last)).toHaveLength(19_999);
    expect(forest.roots[0]?.descendants).toBe(19_999);
  });

  it('gives an empty trace an extent to divide by', () => {
    const forest = buildForest(trace([]));
    expect(forest.to - forest.from).toBeGreaterThan(0);
  });
});
