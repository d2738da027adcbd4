import { describe, expect, it } from 'vitest';
import { category, serviceHue, title } from './category';
import { filtersFromQuery, filtersToQuery, findTraceId, isFiltered, NO_FILTERS } from './filters';
import { mergeNewest } from './merge';
import type { TraceRow } from './model';
import { formatSql, sqlTokens } from './sql';
import { span } from './test_spans';
import { shortPath, valueText } from './value';

describe('SQL', () => {
  it('puts outer clauses on lines of their own', () => {
    expect(
      formatSql(
        'SELECT "a"."id" FROM "a" LEFT OUTER JOIN "b" ON ("a"."x" = "b"."x") WHERE "a"."id" IN (SELECT "id" FROM "c" WHERE 1) ORDER BY 1 LIMIT ?',
      ),
    ).toBe(
      'SELECT "a"."id"\nFROM "a"\nLEFT OUTER JOIN "b" ON ("a"."x" = "b"."x")\nWHERE "a"."id" IN (SELECT "id" FROM "c" WHERE 1)\nORDER BY 1\nLIMIT ?',
    );
  });

  it('never changes a statement but for white space', () => {
    for (const text of [
      "INSERT INTO t VALUES ('a FROM b', 'it''s WHERE') RETURNING id",
      'SELECT `from` FROM x -- where it ends',
      "SELECT 'unclosed FROM here",
      'SELECT ((( FROM ))) WHERE ) LIMIT 1',
      'UPDATE orders SET status = ? WHERE id = ?',
      'é FROM 表 WHERE "ß" = ?',
    ]) {
      expect(formatSql(text).replace(/\s+/g, ' ')).toBe(text.replace(/\s+/g, ' '));
      expect(
        sqlTokens(text)
          .map((token) => token.text)
          .join(''),
      ).toBe(text);
    }
  });

  it('keeps words in quotes from being keywords', () => {
    const keywords = sqlTokens(`SELECT "from" FROM t WHERE s = 'select'`).filter(
      (token) => token.kind === 'keyword',
    );
    expect(keywords.map((token) => token.text)).toEqual(['SELECT', 'FROM', 'WHERE']);
  });
});

describe('filters', () => {
  it('survive the address', () => {
    const filters = {
      ...NO_FILTERS,
      service: 'a&b=c',
      search: '/orders/{order_id}/',
      min: '1.5s',
      n_plus_one: true,
      live: true,
      range: 'all' as const,
    };
    expect(filtersFromQuery(filtersToQuery(filters))).toEqual(filters);
    expect(filtersToQuery(NO_FILTERS).toString()).toBe('');
  });

  it('ignore what they do not know', () => {
    expect(filtersFromQuery(new URLSearchParams('status=weird&range=9y&kind=x&junk=1'))).toEqual(
      NO_FILTERS,
    );
  });

  it('know whether they narrow the list', () => {
    expect(isFiltered({ ...NO_FILTERS, range: 'all', live: true })).toBe(false);
    expect(isFiltered({ ...NO_FILTERS, n_plus_one: true })).toBe(true);
  });

  it('find trace ids in what people paste', () => {
    const id = '0af7651916cd43dd8448eb211c80319c';
    expect(findTraceId(` ${id.toUpperCase()}\n`)).toBe(id);
    expect(findTraceId(`00-${id}-b7ad6b7169203331-01`)).toBe(id);
    expect(findTraceId('0af76519-16cd-43dd-8448-eb211c80319c')).toBe(id);
    for (const text of ['', 'GET /orders/', id.slice(1), `${id}0`, '0'.repeat(32)]) {
      expect(findTraceId(text)).toBeNull();
    }
  });
});

describe('categories', () => {
  const of = (kind: string, attributes = {}, name = 'x') =>
    category(span('s', '', 0, 1, { kind, attributes, name }));

  it('come from our attribute first, then from what any SDK sends', () => {
    expect(of('internal', { 'nuages.kind': 'serializer' })).toBe('serializer');
    expect(of('internal', { 'nuages.kind': 'cache' })).toBe('cache');
    expect(of('client', { 'db.system': 'postgresql' })).toBe('sql');
    expect(of('client', { 'db.system.name': 'redis' })).toBe('cache');
    expect(of('client', { 'db.system': 'sqlite' }, 'COMMIT')).toBe('transaction');
    expect(of('server')).toBe('request');
    expect(of('client')).toBe('http');
    expect(of('strange')).toBe('internal');
  });

  it('give services hues of their own', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const hues = names.map(serviceHue);
    expect(new Set(hues).size).toBe(8);
    expect(names.map(serviceHue)).toEqual(hues);
    expect(hues).toContain(serviceHue('ninth'));
  });

  it('show tasks as the text tree does', () => {
    const task = span('t', '', 0, 1, {
      kind: 'consumer',
      attributes: { 'celery.task_name': 'orders.tasks.process_order' },
    });
    expect(title(task)).toBe('Celery Task: process_order');
  });
});

describe('live merge', () => {
  const row = (id: string, start: number, span_count = 1) =>
    ({ trace_id: id, span_id: 's', start: String(start), span_count }) as TraceRow;

  it('lays newer rows on top and updates known ones', () => {
    const merged = mergeNewest([row('b', 2), row('a', 1)], [row('c', 3), row('b', 2, 9)]);
    expect(merged?.rows.map((r) => [r.trace_id, r.span_count])).toEqual([
      ['c', 1],
      ['b', 9],
      ['a', 1],
    ]);
    expect(merged?.fresh).toEqual(new Set(['c:s']));
  });

  it('starts over rather than hide a gap', () => {
    expect(mergeNewest([row('a', 1)], [row('z', 99)])).toBeNull();
    expect(mergeNewest([], [row('z', 99)])).toBeNull();
  });
});

it('shortens paths between folders', () => {
  expect(shortPath('orders/views.py')).toBe('orders/views.py');
  expect(shortPath('/srv/app/releases/2026-11-24/django-order-service/orders/views.py')).toBe(
    '…/django-order-service/orders/views.py',
  );
  expect(shortPath(`/${'x'.repeat(60)}.py`)).toBe(`…/${'x'.repeat(60)}.py`);
});

it('shows values exactly', () => {
  expect(valueText(12345678901234567890n)).toBe('12345678901234567890');
  expect(valueText(['a', 1, null, 9007199254740993n])).toBe('["a",1,null,"9007199254740993"]');
  expect(valueText(false)).toBe('false');
});
