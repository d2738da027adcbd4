import { describe, expect, it } from 'vitest';
import { foldChildren, isFold, mergeTicks } from './fold';
import {
  collapseAll,
  expandAll,
  FoldIndex,
  find,
  type Openness,
  reveal,
  visibleRows,
} from './rows';
import { span, sql, trace } from './test_spans';
import { buildForest } from './tree';

const OPEN: Openness = { collapsed: new Set(), unfolded: new Set() };
const USER = 'SELECT * FROM auth_user WHERE id = ?';
const ITEM = 'SELECT * FROM order_items WHERE order_id = ?';

function loop(count: number, statements: string[]) {
  const spans = [span('r', '', 0, 10_000), span('v', 'r', 1, 9_999)];
  for (let i = 0; i < count; i++) {
    statements.forEach((statement, n) => {
      spans.push(sql(`q${i}.${n}`, 'v', 100 * i + 20 * n, statement));
    });
  }
  return buildForest(trace(spans));
}

function text(forest: ReturnType<typeof loop>, open: Openness): string[] {
  return visibleRows(forest, new FoldIndex(forest), open).map(
    (row) =>
      '  '.repeat(row.depth) + (row.fold ? `${row.fold.nodes.length} x ` : '') + row.node.span.name,
  );
}

describe('folding', () => {
  it('folds a loop of two alternating statements into two rows', () => {
    expect(text(loop(25, [USER, ITEM]), OPEN)).toEqual([
      'r',
      '  v',
      `    25 x ${USER}`,
      `    25 x ${ITEM}`,
    ]);
  });

  it('leaves fewer than four alone', () => {
    expect(text(loop(3, [USER]), OPEN)).toHaveLength(5);
    expect(text(loop(4, [USER]), OPEN)).toHaveLength(3);
  });

  it('adds up time and errors and keeps the order', () => {
    const spans = [span('r', '', 0, 999), sql('first', 'r', 1, 'BEGIN')];
    for (let i = 0; i < 5; i++) {
      spans.push(sql(`q${i}`, 'r', 50 + i * 20, USER, i === 2 ? { status: 'error' } : {}));
    }
    spans.push(sql('last', 'r', 500, 'COMMIT'));
    const items = foldChildren(buildForest(trace(spans)).roots[0]?.children ?? []);
    expect(items.map((item) => (isFold(item) ? 'fold' : item.span.span_id))).toEqual([
      'first',
      'fold',
      'last',
    ]);
    expect(items[1]).toMatchObject({ from: 50, to: 140, total: 50, errors: 1 });
  });

  it('does not fold spans with children, nor different databases', () => {
    const spans = [span('r', '', 0, 999)];
    for (let i = 0; i < 4; i++) {
      spans.push(
        span(`p${i}`, 'r', i * 10, i * 10 + 9, { name: 'render' }),
        span(`c${i}`, `p${i}`, i * 10, i * 10 + 1),
      );
      spans.push(
        sql(`q${i}`, 'r', 100 + i, USER, {
          attributes: {
            'db.system': 'sqlite',
            'db.statement': USER,
            'nuages.db.alias': i < 2 ? 'default' : 'replica',
          },
        }),
      );
    }
    expect(foldChildren(buildForest(trace(spans)).roots[0]?.children ?? []).some(isFold)).toBe(
      false,
    );
  });

  it('folds runs of middleware around the view', () => {
    const hook = (id: string, from: number) =>
      span(id, 'r', from, from + 1, { attributes: { 'nuages.kind': 'middleware' } });
    const spans = [
      span('r', '', 0, 99),
      hook('a', 1),
      hook('b', 2),
      hook('c', 3),
      span('v', 'r', 5, 50),
    ];
    spans.push(hook('d', 60), hook('e', 61));
    const items = foldChildren(buildForest(trace(spans)).roots[0]?.children ?? []);
    expect(
      items.map((item) => (isFold(item) ? `${item.title} ${item.nodes.length}` : item.span.name)),
    ).toEqual(['Middleware 3', 'v', 'd', 'e']);
  });

  it('draws ten thousand ticks as few shapes that cover the same time', () => {
    const nodes = Array.from({ length: 10_000 }, (_, i) => ({ from: i * 10, to: i * 10 + 5 }));
    const merged = mergeTicks(nodes.reverse(), 6);
    expect(merged).toEqual([{ from: 0, to: 99_995 }]);
    expect(mergeTicks(nodes, 4)).toHaveLength(10_000);
  });
});

describe('opening and closing', () => {
  it('shows members under an open fold and hides what is collapsed', () => {
    const forest = loop(25, [USER]);
    const folds = new FoldIndex(forest);
    expect(visibleRows(forest, folds, expandAll(forest, folds))).toHaveLength(2 + 1 + 25);
    expect(text(forest, collapseAll(forest))).toEqual(['r']);
  });

  it('reveals a member through collapsed parents and its fold', () => {
    const forest = loop(25, [USER]);
    const folds = new FoldIndex(forest);
    const node = forest.nodes.get('a:q7.0');
    if (!node) throw new Error('no such node');
    const rows = visibleRows(forest, folds, reveal(node, folds, collapseAll(forest)));
    expect(rows.map((row) => row.key)).toContain('a:q7.0');
  });
});

describe('find', () => {
  const forest = buildForest(
    trace([
      span('r', '', 0, 99, { attributes: { 'http.route': '/Orders/' } }),
      sql('q', 'r', 1, USER),
      span('e', 'r', 5, 6, {
        events: [
          { time: '1', name: 'exception', attributes: { 'exception.message': 'division by zero' } },
        ],
      }),
    ]),
  );
  const ids = (needle: string) => find(forest, needle).map((node) => node.span.span_id);

  it('looks into names, attributes and events, without case, all words', () => {
    expect(ids('AUTH_USER')).toEqual(['q']);
    expect(ids('http.route=/orders/')).toEqual(['r']);
    expect(ids('zero exception')).toEqual(['e']);
    expect(ids('zero auth_user')).toEqual([]);
  });

  it('takes a span id only as a whole', () => {
    const other = buildForest(trace([span('00f067aa0ba902b7', '', 0, 9, { name: 'x' })]));
    expect(find(other, '00f067aa0ba902b7')).toHaveLength(1);
    expect(find(other, '067')).toHaveLength(0);
  });

  it('finds nothing for blank text', () => {
    expect(ids('   ')).toEqual([]);
  });
});
