// A stand-in for nuages-server's API while the UI is developed: `npm run mock`, then
// `NUAGES_API=http://127.0.0.1:4320 npm run dev`. With --dist it also serves ui/dist. Never shipped.
// Options by environment: MOCK_PORT (4320), MOCK_STATE=starting makes every call answer 503.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const port = Number(process.env.MOCK_PORT ?? 4320);
const dist = join(dirname(fileURLToPath(import.meta.url)), '../dist');
let seed = 7;
const random = () => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
};
const hex = (length) => randomBytes(length / 2).toString('hex');
const MS = 1e6;
// As nuages-server sends it, so that a violation shows while developing.
const POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const resources = [
  {
    attributes: {
      'service.name': 'django-order-service',
      'service.version': '1.0.0',
      'deployment.environment': 'development',
      'host.name': 'laptop',
      'process.pid': 4711,
      'nuages.version': '0.1.0',
      'telemetry.sdk.language': 'python',
    },
  },
  {
    attributes: {
      'service.name': 'django-order-service-celery',
      'service.version': '1.0.0',
      'host.name': 'laptop',
      'nuages.version': '0.1.0',
    },
  },
];

class Builder {
  constructor(at, service = 'django-order-service', resource = 0) {
    Object.assign(this, { trace_id: hex(32), at, service, resource, spans: [] });
  }
  span(parent, name, kind, from, ms, attributes = {}, more = {}) {
    const span = {
      trace_id: this.trace_id,
      span_id: hex(16),
      parent_span_id: parent?.span_id ?? '',
      name,
      label: name,
      kind,
      status: 'unset',
      status_message: '',
      start: String(this.at + BigInt(Math.round(from * MS))),
      duration: Math.round(ms * MS),
      self_duration: 0,
      service: this.service,
      scope: 'nuages',
      attributes,
      events: [],
      links: [],
      resource: this.resource,
      ...more,
    };
    this.spans.push(span);
    return span;
  }
  sql(parent, label, statement, from, ms, more = {}) {
    let fingerprint = 0n;
    for (const char of statement)
      fingerprint = (fingerprint * 1099511628211n + BigInt(char.charCodeAt(0))) % (1n << 62n);
    const [operation] = statement.split(' ');
    return this.span(parent, label, 'client', from, ms, {
      'db.system': 'sqlite',
      'db.name': 'db.sqlite3',
      'db.statement': statement,
      'db.operation': operation,
      'db.sql.table': label.split(/FROM |INTO |UPDATE /)[1]?.split(' ')[0] ?? '',
      'nuages.kind': 'db',
      'nuages.db.label': label,
      'nuages.db.alias': 'default',
      'nuages.db.fingerprint': fingerprint,
      ...more,
    });
  }
  middleware(parent, total) {
    [
      'SecurityMiddleware',
      'SessionMiddleware',
      'CommonMiddleware',
      'CsrfViewMiddleware',
      'AuthenticationMiddleware',
    ].forEach((name, index) => {
      this.span(parent, `${name}.process_request`, 'internal', 0.05 + index * 0.12, 0.08, {
        'nuages.kind': 'middleware',
      });
    });
    this.span(parent, 'CommonMiddleware.process_response', 'internal', total - 0.4, 0.1, {
      'nuages.kind': 'middleware',
    });
  }
  request(method, route, ms, status = 200, extra = {}) {
    return this.span(
      null,
      `${method} ${route}`,
      'server',
      0,
      ms,
      {
        'http.method': method,
        'http.target': route,
        'http.route': route,
        'http.host': '127.0.0.1:8000',
        'http.scheme': 'http',
        'http.status_code': status,
        'nuages.sampling.ratio': 1,
        ...extra,
      },
      status >= 500 ? { status: 'error' } : {},
    );
  }
}
const USER =
  'SELECT "auth_user"."id", "auth_user"."username", "auth_user"."email" FROM "auth_user" WHERE "auth_user"."id" = ? LIMIT ?';
const ORDERS =
  'SELECT "orders"."id", "orders"."user_id", "orders"."product_name", "orders"."amount", "orders"."status", "orders"."created_at" FROM "orders" ORDER BY "orders"."created_at" DESC LIMIT ?';

function create(at) {
  const b = new Builder(at);
  const root = b.request('POST', '/api/orders/', 38.4, 201, { 'db.query_count': 2, 'user.id': 1 });
  b.middleware(root, 38.4);
  const view = b.span(root, 'OrderViewSet.create', 'internal', 1.1, 36.6, {
    'nuages.kind': 'view',
    'code.function': 'create',
    'code.namespace': 'orders.views.OrderViewSet',
    'code.filepath': 'orders/views.py',
    'code.lineno': 88,
  });
  b.span(view, 'serializer.is_valid', 'internal', 1.6, 1.9, { 'nuages.kind': 'serializer' });
  b.sql(view, 'SELECT FROM auth_user WHERE id = ?', USER, 3.9, 2.2);
  const atomic = b.span(view, 'transaction.atomic', 'internal', 6.4, 19, {
    'nuages.kind': 'transaction',
  });
  const save = b.span(atomic, 'serializer.save', 'internal', 6.6, 14.2, {
    'nuages.kind': 'serializer',
  });
  b.sql(
    save,
    'INSERT INTO orders (...) VALUES (...)',
    'INSERT INTO "orders" ("user_id", "product_name", "amount", "status", "created_at", "updated_at") VALUES (?, ?, ?, ?, ?, ?) RETURNING "orders"."id"',
    8.8,
    9.1,
  );
  b.sql(atomic, 'COMMIT', 'COMMIT', 21.2, 4);
  const publish = b.span(view, 'celery.apply_async: process_order', 'producer', 26.1, 7.7, {
    'celery.task_name': 'orders.tasks.process_order',
    'messaging.destination': 'celery',
    'messaging.message.id': 'a1b2c3',
  });
  b.span(view, 'serializer.data', 'internal', 34.3, 1.2, { 'nuages.kind': 'serializer' });
  const t = new Builder(at + BigInt(96 * MS), 'django-order-service-celery', 1);
  const task = t.span(
    null,
    'orders.tasks.process_order',
    'consumer',
    0,
    152,
    {
      'celery.task_name': 'orders.tasks.process_order',
      'celery.state': 'SUCCESS',
      'messaging.destination': 'celery',
    },
    {
      links: [
        { trace_id: b.trace_id, span_id: publish.span_id, attributes: { 'nuages.link': 'celery' } },
      ],
    },
  );
  t.sql(
    task,
    'SELECT FROM orders WHERE id = ?',
    'SELECT "orders"."id", "orders"."amount" FROM "orders" WHERE "orders"."id" = ? LIMIT ?',
    1.4,
    2.2,
  );
  t.span(
    task,
    'validate_high_value_order',
    'internal',
    4.4,
    61.2,
    { 'order.amount': 1500.0 },
    {
      events: [
        { time: String(t.at + 9000000n), name: 'high value order', attributes: { 'order.id': 12 } },
      ],
    },
  );
  t.sql(
    task,
    'UPDATE orders SET status = ? WHERE id = ?',
    'UPDATE "orders" SET "status" = ? WHERE "orders"."id" = ?',
    67.1,
    5.8,
  );
  t.span(task, 'send_confirmation_email', 'internal', 74, 76, { 'email.recipient': '***' });
  return [b, t];
}
function list(at, count, ms) {
  const b = new Builder(at);
  const root = b.request('GET', '/orders/', ms, 200, {
    'db.query_count': count + 1,
    'db.potential_n_plus_one': true,
    'db.max_query_repetitions': count,
  });
  b.middleware(root, ms);
  const view = b.span(root, 'orders.views.get_all_orders_with_users', 'internal', 1, ms - 2, {
    'nuages.kind': 'view',
    'code.function': 'get_all_orders_with_users',
    'code.namespace': 'orders.views',
    'code.filepath': 'orders/views.py',
    'code.lineno': 41,
  });
  b.sql(view, 'SELECT FROM orders', ORDERS, 1.6, 3.1, { 'db.response.returned_rows': count });
  const step = (ms - 9) / count;
  const ids = [];
  for (let i = 0; i < count; i++)
    ids.push(
      b.sql(
        view,
        'SELECT FROM auth_user WHERE id = ?',
        USER,
        5 + i * step,
        step * (0.3 + random() * 0.3),
        { 'code.filepath': 'orders/views.py', 'code.lineno': 47 },
      ).span_id,
    );
  b.span(view, 'orders/list.html', 'internal', ms - 3.4, 2, {
    'nuages.kind': 'template',
    'django.template.name': 'orders/list.html',
  });
  b.findings = [
    {
      kind: 'n_plus_one',
      title: `${count} queries for Order.user, one per row`,
      statement: USER,
      label: 'SELECT FROM auth_user WHERE id = ?',
      count,
      total_duration: Math.round(count * step * 0.45 * MS),
      file: 'orders/views.py',
      line: 47,
      function: 'get_all_orders_with_users',
      relation: 'Order.user',
      suggestion: 'select_related("user")',
      span_ids: ids,
      parent_span_id: view.span_id,
    },
  ];
  return [b];
}
function failing(at) {
  const b = new Builder(at);
  const root = b.request('GET', '/orders/{order_id}/', 12.5, 500, { 'db.query_count': 1 });
  b.middleware(root, 12.5);
  const view = b.span(
    root,
    'orders.views.order_detail',
    'internal',
    1,
    9,
    { 'nuages.kind': 'view', 'code.filepath': 'orders/views.py', 'code.lineno': 61 },
    { status: 'error', status_message: 'ZeroDivisionError: division by zero' },
  );
  b.sql(
    view,
    'SELECT FROM orders WHERE id = ?',
    'SELECT "orders"."id" FROM "orders" WHERE "orders"."id" = ?',
    1.5,
    1.2,
  );
  view.events.push({
    time: String(at + 9000000n),
    name: 'exception',
    attributes: {
      'exception.type': 'ZeroDivisionError',
      'exception.message': 'division by zero',
      'exception.stacktrace':
        'Traceback (most recent call last):\n  File "orders/views.py", line 64, in order_detail\n    return total / count\n           ~~~~~~^~~~~~~\nZeroDivisionError: division by zero\n',
      'exception.escaped': true,
    },
  });
  root.status_message = 'division by zero';
  return [b];
}
function slow(at) {
  const b = new Builder(at);
  const root = b.request('GET', '/orders/slow/', 1240, 200, { 'db.query_count': 3 });
  b.middleware(root, 1240);
  const view = b.span(root, 'orders.views.slow_orders', 'internal', 1, 1236, {
    'nuages.kind': 'view',
  });
  b.sql(view, 'SELECT FROM orders', ORDERS, 3, 420);
  b.sql(
    view,
    'SELECT FROM order_items WHERE order_id IN (?)',
    'SELECT * FROM "order_items" WHERE "order_items"."order_id" IN (?, ?, ?)',
    430,
    610,
  );
  b.span(view, 'orders/slow.html', 'internal', 1060, 170, { 'nuages.kind': 'template' });
  return [b];
}
function huge(at) {
  const b = new Builder(at);
  const root = b.request('GET', '/admin/report/', 9000, 200, { 'db.query_count': 9000 });
  for (let i = 0; i < 1000; i++) {
    const part = b.span(root, `build_row ${i}`, 'internal', 1 + i * 8.9, 8.5, { row: i });
    for (let j = 0; j < 9; j++)
      b.sql(
        part,
        `SELECT FROM table_${j} WHERE id = ?`,
        `SELECT * FROM "table_${j}" WHERE "id" = ?`,
        1.2 + i * 8.9 + j * 0.9,
        0.6,
      );
  }
  return [b];
}

const now = BigInt(Date.now()) * 1000000n;
const ago = (seconds) => now - BigInt(Math.round(seconds * 1e9));
const built = [
  ...create(ago(4)),
  ...list(ago(3), 25, 84),
  ...failing(ago(7)),
  ...slow(ago(11)),
  ...huge(ago(30)),
];
for (let i = 0; i < 180; i++) {
  const at = ago(40 + i * (2 + random() * 60));
  const pick = random();
  built.push(
    ...(pick < 0.35
      ? create(at)
      : pick < 0.6
        ? list(at, 6 + Math.floor(random() * 60), 20 + random() * 260)
        : pick < 0.9
          ? slow(at)
          : failing(at)),
  );
}
for (const b of built) {
  const below = new Map();
  for (const s of b.spans) {
    below.set(s.parent_span_id, (below.get(s.parent_span_id) ?? 0) + s.duration);
  }
  for (const s of b.spans) s.self_duration = Math.max(0, s.duration - (below.get(s.span_id) ?? 0));
}
const traces = new Map(built.map((b) => [b.trace_id, b]));
const row = (b) => {
  const [root] = b.spans;
  const attributes = root.attributes;
  return {
    trace_id: b.trace_id,
    span_id: root.span_id,
    name: root.name,
    service: root.service,
    route: attributes['http.route'] ?? '',
    method: attributes['http.method'] ?? '',
    kind: root.kind,
    http_status: attributes['http.status_code'] ?? null,
    status: root.status,
    start: root.start,
    duration: root.duration,
    span_count: b.spans.length,
    error_count: b.spans.filter((s) => s.status === 'error').length,
    services: [b.service],
    query_count: attributes['db.query_count'] ?? null,
    n_plus_one: attributes['db.potential_n_plus_one'] ?? false,
    max_repetitions: attributes['db.max_query_repetitions'] ?? null,
    task: attributes['celery.task_name'] ?? '',
  };
};
const rows = built.map(row).sort((a, b) => (BigInt(b.start) > BigInt(a.start) ? 1 : -1));

function find(query) {
  const get = (name) => query.get(name) ?? '';
  const limit = Number(get('limit') || 20);
  const hits = rows.filter(
    (r) =>
      (!get('service') || r.service === get('service')) &&
      (!get('route') || r.route === get('route')) &&
      (!get('name') || r.name.includes(get('name'))) &&
      (!get('status') || (get('status') === 'error') === (r.status === 'error')) &&
      (!get('http_status') || String(r.http_status) === get('http_status')) &&
      (!get('min_duration_ms') || r.duration >= Number(get('min_duration_ms')) * MS) &&
      (!get('max_duration_ms') || r.duration <= Number(get('max_duration_ms')) * MS) &&
      (!get('start') || BigInt(r.start) >= BigInt(get('start'))) &&
      (!get('before') || BigInt(r.start) < BigInt(get('before'))) &&
      (!get('kind') || r.kind === get('kind')) &&
      (get('n_plus_one') !== 'true' || r.n_plus_one),
  );
  const page = hits.slice(0, limit);
  return {
    traces: page,
    next_before: hits.length > limit ? page.at(-1).start : null,
    truncated: false,
  };
}
function partners(b) {
  const found = [];
  for (const other of built) {
    for (const s of other.spans)
      for (const link of s.links) {
        if (link.trace_id === b.trace_id)
          found.push([
            other,
            {
              direction: 'task',
              span_id: s.span_id,
              via_span_id: link.span_id,
              root: other.spans[0],
            },
          ]);
        if (other === b && traces.has(link.trace_id))
          found.push([
            traces.get(link.trace_id),
            {
              direction: 'producer',
              span_id: link.span_id,
              via_span_id: s.span_id,
              root: traces.get(link.trace_id).spans[0],
            },
          ]);
      }
  }
  return found;
}
function trace(b, follow) {
  const linked = partners(b);
  const spans = follow ? [...b.spans, ...linked.flatMap(([other]) => other.spans)] : b.spans;
  return {
    trace_id: b.trace_id,
    start: b.spans[0].start,
    duration: b.spans[0].duration,
    services: [...new Set(spans.map((s) => s.service))],
    spans,
    resources,
    linked: linked.map(([other, { root, ...rest }]) => ({
      trace_id: other.trace_id,
      name: root.name,
      service: root.service,
      status: root.status,
      start: root.start,
      duration: root.duration,
      stored: true,
      ...rest,
    })),
    findings: b.findings ?? [],
    complete: true,
  };
}
function tree(b) {
  const lines = [];
  const walk = (span, indent, last, top) => {
    lines.push(
      `${top ? '' : indent + (last ? '└─ ' : '├─ ')}${span.name} (${Math.round(span.duration / MS)}ms)`,
    );
    const below = b.spans.filter((s) => s.parent_span_id === span.span_id);
    below.slice(0, 30).forEach((child, i) => {
      walk(child, top ? '' : indent + (last ? '   ' : '│  '), i === below.length - 1, false);
    });
  };
  walk(b.spans[0], '', true, true);
  return `${lines.join('\n')}\n`;
}
const json = (value) =>
  JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `@@${v}@@` : v)).replace(
    /"@@(\d+)@@"/g,
    '$1',
  );

createServer((request, response) => {
  const url = new URL(request.url, 'http://mock');
  const send = (code, body, type = 'application/json') =>
    response
      .writeHead(code, { 'content-type': type })
      .end(typeof body === 'string' ? body : json(body));
  const fail = (code, name, message) => send(code, { error: { code: name, message } });
  const path = url.pathname.replace(/^\/api\/v1/, '');
  if (path === url.pathname) {
    if (!process.argv.includes('--dist')) return fail(404, 'not_found', 'no such path');
    const file = normalize(
      url.pathname === '/' || extname(path) === '' ? '/index.html' : url.pathname,
    );
    const type = {
      '.js': 'text/javascript',
      '.css': 'text/css',
      '.svg': 'image/svg+xml',
      '.html': 'text/html',
      '.woff2': 'font/woff2',
    }[extname(file)];
    try {
      return void response
        .writeHead(200, { 'content-type': type, 'content-security-policy': POLICY })
        .end(readFileSync(join(dist, file)));
    } catch {
      return fail(404, 'not_found', file);
    }
  }
  if (process.env.MOCK_STATE === 'starting')
    return fail(503, 'unavailable', 'The store is opening.');
  const [, id, sub] = /^\/traces\/([^/]+)(\/tree)?$/.exec(path) ?? [];
  if (path === '/status')
    return send(200, {
      version: '0.1.0',
      store: { kind: 'chdb', version: '26.7.2', ready: true },
      received: { spans: 18234, rejected: 0, repeated: 0 },
      wal: { segments: 1, bytes: 45120 },
      start_time: String(ago(3700)),
      uptime_seconds: 3700,
    });
  if (path === '/services')
    return send(200, {
      services: resources.map((r) => ({
        name: r.attributes['service.name'],
        span_count: 100,
        entry_count: 10,
        error_count: 1,
        last_seen: String(now),
      })),
    });
  if (path === '/routes') {
    const seen = new Map();
    for (const r of rows) {
      if (url.searchParams.get('service') && r.service !== url.searchParams.get('service'))
        continue;
      const e = seen.get(r.name) ?? { service: r.service, route: r.route, name: r.name, count: 0 };
      e.count++;
      seen.set(r.name, e);
    }
    return send(200, { routes: [...seen.values()] });
  }
  if (path === '/traces') return send(200, find(url.searchParams));
  if (id && !traces.has(id)) return fail(404, 'not_found', `No trace ${id} is stored.`);
  if (id && sub) return send(200, tree(traces.get(id)), 'text/plain; charset=utf-8');
  if (id) return send(200, trace(traces.get(id), url.searchParams.get('follow') === 'true'));
  return fail(404, 'not_found', `No route ${path}`);
}).listen(port, '127.0.0.1', () => console.log(`mock on http://127.0.0.1:${port}`));
