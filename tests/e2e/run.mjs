// The UI in a real browser: node tests/e2e/run.mjs [part of a test's name].
//
// NUAGES_UI_URL   the server (default http://127.0.0.1:4319), holding the demo's traces or those of
//                 make_traces.py
// NUAGES_UI_SEND  a command that sends another round of traces: adds the live test
// NUAGES_UI_MADE  set when make_traces.py --rounds 12 --long 10000 filled the store: adds the tests that need
//                 its failing request, its long trace and its number of traces
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { check, runAll, shot, test, until } from './harness.mjs';

const base = (process.env.NUAGES_UI_URL ?? 'http://127.0.0.1:4319').replace(/\/$/, '');
const send = process.env.NUAGES_UI_SEND;
const made = process.env.NUAGES_UI_MADE !== undefined;

const table = (page) => page.getByRole('table', { name: 'Traces' });
const links = (page) => table(page).locator('tbody').getByRole('link');
const grid = (page) => page.getByRole('treegrid', { name: 'Waterfall' });
const row = (page, name) => grid(page).getByRole('row', { name });
const details = (page) => page.getByRole('complementary', { name: 'Span details' });
const query = (page) => new URL(page.url()).searchParams;

async function openList(page, address = '/traces') {
  await page.goto(address);
  await links(page).first().waitFor();
}

/** Waits until the rows are those of the filter: every row satisfies `good`. */
async function everyRow(page, what, good) {
  await until(async () => {
    const texts = await table(page).locator('tbody tr').allInnerTexts();
    const stale = await page.locator('.stale').count();
    return stale === 0 && texts.length > 0 && texts.every(good);
  }, `not every row is ${what}`);
}

/** Opens the newest POST /api/orders/ whose task validated a high value. */
async function openCreate(page) {
  await page.goto(`/traces?search=${encodeURIComponent('/api/orders/')}&range=all`);
  const posts = table(page).getByRole('link', { name: /POST\s*\/api\/orders\// });
  await posts.first().waitFor();
  const addresses = await posts.evaluateAll((found) => found.map((link) => link.getAttribute('href')));
  for (const address of addresses.slice(0, 10)) {
    await page.goto(address);
    await grid(page).waitFor();
    const task = row(page, /Celery Task: process_order/);
    const validation = row(page, /validate_high_value_order/);
    if ((await task.count()) > 0 && (await validation.count()) > 0) return address;
  }
  throw new Error(`none of ${addresses.length} POST /api/orders/ traces shows its task with validate_high_value_order`);
}

test('the list shows the traces', async (page) => {
  await openList(page, '/');
  await table(page).getByRole('link', { name: /POST\s*\/api\/orders\// }).first().waitFor();
  await table(page).getByRole('link', { name: /GET\s*\/orders\// }).first().waitFor();
  await table(page).getByRole('link', { name: /process_order/ }).first().waitFor();
  await page.getByRole('contentinfo', { name: 'Server status' }).getByText('store ready').waitFor();
  check((await page.title()) === 'Traces · Nuages', `the title is ${await page.title()}`);
  await shot(page, 'traces');
});

test('filters narrow the list and live in the address', async (page) => {
  await openList(page);
  await page.getByRole('combobox', { name: 'Kind' }).selectOption('Tasks');
  await everyRow(page, 'a task', (text) => text.includes('process_order'));
  check(query(page).get('kind') === 'consumer', `the address is ${page.url()}`);
  await page.reload();
  await everyRow(page, 'a task after a reload', (text) => text.includes('process_order'));
  await page.getByRole('button', { name: 'Clear', exact: true }).click();
  await until(async () => (await table(page).getByText('GET').count()) > 0, 'clearing did not bring requests back');

  const service = page.getByRole('combobox', { name: 'Service' });
  const names = await until(async () => {
    const found = await service.getByRole('option').allTextContents();
    return found.length > 1 && found.slice(1);
  }, 'no services to choose from');
  await service.selectOption(names[0]);
  await everyRow(page, `of ${names[0]}`, (text) => text.includes(names[0]));
  await page.getByRole('button', { name: 'Clear', exact: true }).click();

  await page.getByRole('button', { name: 'N+1 only' }).click();
  await everyRow(page, 'an N+1', (text) => text.includes('N+1 ×'));

  await page.goto('/traces?search=no-such-span-name');
  await page.getByText('No trace matches').waitFor();
  await page.getByRole('button', { name: 'Clear the filters' }).click();
  await links(page).first().waitFor();
});

test('durations narrow the list, and what is no duration is said to be ignored', async (page) => {
  await openList(page);
  const ms = (text) => {
    const match = /([\d.]+) (ns|µs|ms|s|m)\b[^\n]*$/.exec(text.trim());
    return match ? Number(match[1]) * { ns: 1e-6, µs: 1e-3, ms: 1, s: 1e3, m: 6e4 }[match[2]] : Number.NaN;
  };
  const all = await table(page).locator('tbody tr').allInnerTexts();
  const middle = all.map(ms).sort((a, b) => a - b)[Math.floor(all.length / 2)];
  check(middle > 0, `durations cannot be read from ${JSON.stringify(all[0])}`);
  await page.getByRole('textbox', { name: 'Minimum duration' }).fill(`${middle * 0.99}ms`);
  await page.getByRole('textbox', { name: 'Minimum duration' }).press('Enter');
  await everyRow(page, `at least ${middle} ms`, (text) => ms(text) >= middle * 0.98);
  await page.getByRole('textbox', { name: 'Maximum duration' }).fill('soon');
  await page.getByRole('textbox', { name: 'Maximum duration' }).press('Enter');
  await page.getByRole('alert').getByText('“soon” is not a duration').waitFor();
});

test('the search suggests routes, and keys walk the list', async (page) => {
  await openList(page);
  await page.keyboard.press('/');
  await page.getByRole('option', { name: /\/api\/orders\// }).first().waitFor();
  await page.keyboard.type('api/ord');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await everyRow(page, 'of /api/orders/', (text) => text.includes('/api/orders/'));
  check(query(page).get('search') === '/api/orders/', `the address is ${page.url()}`);
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  const href = await links(page).first().getAttribute('href');
  check(
    (await page.evaluate(() => document.activeElement?.getAttribute('href'))) === href,
    'j did not go to the first trace',
  );
  await page.keyboard.press('Enter');
  await grid(page).waitFor();
  check(page.url().includes(href), `Enter opened ${page.url()} instead of ${href}`);
  await page.goBack();
  await everyRow(page, 'of /api/orders/ after going back', (text) => text.includes('/api/orders/'));
});

test('the trace of POST /api/orders/ holds the nodes of the guide', async (page) => {
  await openCreate(page);
  const nodes = [
    'POST /api/orders/',
    'OrderViewSet.create',
    'SELECT FROM auth_user WHERE id = ?',
    'INSERT INTO orders (...) VALUES (...)',
    'celery.apply_async: process_order',
    'serializer.save',
    'Celery Task: process_order',
    'SELECT FROM orders WHERE id = ?',
    'validate_high_value_order',
    'UPDATE orders SET status = ? WHERE id = ?',
    'send_confirmation_email',
  ];
  await page.keyboard.press('[');
  for (const node of nodes) {
    const found = grid(page).getByRole('row').filter({ has: page.getByText(node, { exact: true }) });
    check((await found.count()) > 0, `the waterfall lacks ${node}`);
  }
  const level = async (name) => Number(await row(page, name).first().getAttribute('aria-level'));
  const [view, publish, task] = [
    await level(/OrderViewSet\.create/),
    await level(/celery\.apply_async: process_order/),
    await level(/Celery Task: process_order/),
  ];
  check(view > 1 && publish > view && task > publish, `levels: view ${view}, publish ${publish}, task ${task}`);
  await row(page, /Celery Task: process_order/).getByText('separate trace, linked').waitFor();
  await shot(page, 'trace');

  await page.getByRole('tab', { name: 'Tree' }).click();
  const tree = page.getByLabel('Text tree');
  await tree.waitFor();
  const text = await tree.innerText();
  for (const node of nodes) check(text.includes(node), `the text tree lacks ${node}:\n${text}`);
  check(/[├└]/.test(text) && /\(\d+(\.\d+)?\s?(ms|µs|us|s)\)/.test(text), `no box characters or durations:\n${text}`);
  check(text.includes('[separate trace, linked]'), `the task is not marked:\n${text}`);
  await shot(page, 'tree');
});

test('span details show SQL, attributes and code', async (page) => {
  await openCreate(page);
  await row(page, /INSERT INTO orders/).first().click();
  const panel = details(page);
  await panel.getByRole('heading', { name: 'INSERT INTO orders (...) VALUES (...)' }).waitFor();
  await panel.getByText('INSERT INTO').first().waitFor();
  await panel.getByRole('table', { name: 'Attributes' }).getByRole('rowheader', { name: 'db.system' }).waitFor();
  const id = await until(() => query(page).get('span'), 'the selected span is not in the address');
  await page.reload();
  await panel.getByText(id).waitFor();
  await panel.getByText('Resource').click();
  await panel.getByRole('table', { name: 'Resource' }).getByRole('rowheader', { name: 'service.name' }).waitFor();
  await shot(page, 'span');
  await page.keyboard.press('Escape');
  await panel.waitFor({ state: 'detached' });
});

test('linked traces lead both ways', async (page) => {
  const address = await openCreate(page);
  await page.getByRole('checkbox', { name: 'Show linked traces here' }).uncheck();
  await row(page, /validate_high_value_order/).waitFor({ state: 'detached' });
  await page.getByRole('main').getByRole('link', { name: /process_order/ }).first().click();
  await page.getByRole('heading', { level: 1, name: /Celery Task: process_order/ }).waitFor();
  await row(page, /validate_high_value_order/).waitFor();
  await row(page, /OrderViewSet\.create/).waitFor();
  check(!page.url().includes(address), 'the task has the trace id of its request');
  await page.getByRole('main').getByRole('link', { name: /POST \/api\/orders\// }).first().click();
  await page.getByRole('heading', { level: 1, name: 'POST /api/orders/' }).waitFor();
  check(page.url().includes(address), `back at ${page.url()} instead of ${address}`);
});

test('the N+1 finding names statement, count, place and fix', async (page) => {
  await openList(page, '/traces?n_plus_one=true&range=all');
  await links(page).first().click();
  const finding = page.getByRole('article', { name: 'N+1 finding' }).first();
  await finding.waitFor();
  const text = await finding.innerText();
  check(/SELECT\s+FROM\s+\S+/.test(text), `no statement in ${text}`);
  check(/\d+×/.test(text), `no count in ${text}`);
  check(/\S+\.py:\d+/.test(text), `no file:line in ${text}`);
  check(/select_related|prefetch_related|in_bulk|annotate|bulk_create/.test(text), `no fix in ${text}`);
  await finding.getByRole('button', { name: 'Show spans' }).click();
  const folded = grid(page).getByRole('row', { selected: true });
  await folded.getByText(/×\d+ N\+1/).waitFor();
  await shot(page, 'n-plus-one');
  const before = Number(await grid(page).getAttribute('aria-rowcount'));
  await page.keyboard.press('Enter');
  await until(async () => Number(await grid(page).getAttribute('aria-rowcount')) > before + 5, 'the fold did not open');
});

test('keys walk, fold and find in a trace as in Jaeger', async (page) => {
  await openCreate(page);
  const selected = () => grid(page).getByRole('row', { selected: true }).innerText();
  await page.keyboard.press('s');
  check((await selected()).includes('POST /api/orders/'), `s selected ${await selected()}`);
  await page.keyboard.press('s');
  await page.keyboard.press('w');
  check((await selected()).includes('POST /api/orders/'), `w selected ${await selected()}`);
  await page.keyboard.press(']');
  await until(async () => (await grid(page).getAttribute('aria-rowcount')) === '1', '] did not collapse all');
  await page.keyboard.press('Control+b');
  await page.keyboard.type('validate_high');
  await page.getByRole('search', { name: 'Find in trace' }).getByText(/^1$/).waitFor();
  await page.keyboard.press('Enter');
  await until(async () => (await grid(page).getByRole('row', { selected: true }).count()) === 1, 'nothing was found');
  check((await selected()).includes('validate_high_value_order'), `found ${await selected()}`);
  await page.keyboard.press('Escape');
  await until(
    async () => (await page.getByRole('textbox', { name: 'Find in trace' }).inputValue()) === '',
    'Escape did not clear the search',
  );
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).getByText('Expand all').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

test('a pasted trace id or traceparent opens its trace', async (page) => {
  await openList(page);
  const href = await links(page).first().getAttribute('href');
  const id = href.split('/').pop();
  const box = page.getByRole('textbox', { name: 'Trace id' });
  await box.fill('hello');
  await box.press('Enter');
  await page.getByRole('alert').getByText('32 hexadecimal digits').waitFor();
  await box.fill(`00-${id}-b7ad6b7169203331-01`);
  await box.press('Enter');
  await grid(page).waitFor();
  check(page.url().endsWith(href), `opened ${page.url()}`);
});

test('light and dark', async (page) => {
  await openList(page);
  const colour = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await colour();
  await page.getByRole('button', { name: /Theme/ }).click();
  await page.getByRole('button', { name: /Theme/ }).click();
  await until(async () => (await colour()) !== light, 'the dark theme looks like the light one');
  await page.reload();
  check((await colour()) !== light, 'the theme is forgotten after a reload');
  await links(page).first().waitFor();
  await shot(page, 'traces-dark');
});

test('pages and traces that are not there say so', async (page) => {
  await page.goto('/no/such/page');
  await page.getByText('There is no such page').waitFor();
  await page.goto('/trace/000000000000000000000000000000ab');
  await page.getByText('This trace is not in the store').waitFor();
  await page.getByRole('link', { name: 'See the traces' }).click();
  await links(page).first().waitFor();
}, { expected: /status of 404/ });

test('a server that is away or starting is told in words, and the page recovers by itself', async (page) => {
  await page.route('**/api/**', (route) => route.abort('connectionrefused'));
  await page.goto('/traces');
  await page.getByText('The server cannot be reached').waitFor();
  await page.getByRole('contentinfo', { name: 'Server status' }).getByText('not reachable').waitFor();
  await page.unroute('**/api/**');
  await page.route('**/api/**', (route) =>
    route.fulfill({ status: 503, json: { error: { code: 'unavailable', message: 'The store is opening.' } } }),
  );
  await page.getByText('The server is still starting').waitFor();
  await page.unroute('**/api/**');
  await links(page).first().waitFor();
}, { expected: /Failed to load resource/ });

if (made) {
  test('an exception shows its stack trace, and markup in data stays text', async (page) => {
    await openList(page, '/traces?status=error');
    await links(page).first().click();
    await row(page, /order_detail/).click();
    const panel = details(page);
    await panel.getByLabel('Stack trace').getByText('line 64, in order_detail').waitFor();
    await panel.getByText('<script>alert(1)</script>').waitFor();
    await shot(page, 'exception');
  });

  test('ten thousand spans: few rows in the document, and the last one is a key away', async (page) => {
    await openList(page, `/traces?search=${encodeURIComponent('/reports/long/')}`);
    await links(page).first().click();
    await grid(page).waitFor();
    const count = Number(await grid(page).getAttribute('aria-rowcount'));
    check(count > 10_000, `${count} rows`);
    const inDocument = await grid(page).getByRole('row').count();
    check(inDocument < 100, `${inDocument} rows are in the document`);
    await page.keyboard.press('End');
    const last = grid(page).getByRole('row', { selected: true });
    await last.waitFor();
    check((await last.getAttribute('aria-rowindex')) === String(count), 'End did not select the last row');
    check(await last.isVisible(), 'the last row is not in sight');
    await page.keyboard.press('/');
    await page.keyboard.type('build_row 777');
    await page.keyboard.press('Enter');
    await row(page, /build_row 777\b/).waitFor();
    await shot(page, 'long');
  });

  test('older traces load by and by', async (page) => {
    await openList(page, '/traces?range=all');
    const before = await links(page).count();
    await page.getByRole('button', { name: 'Load older' }).click();
    await until(async () => (await links(page).count()) > before, 'no older traces came');
    const all = await links(page).evaluateAll((found) => found.map((link) => link.getAttribute('href')));
    check(new Set(all).size === all.length, 'a trace is listed twice');
  });
}

if (send) {
  test('live mode brings new traces by itself', async (page) => {
    await openList(page);
    await page.getByRole('button', { name: 'Live' }).click();
    check(query(page).get('live') === 'true', `the address is ${page.url()}`);
    const known = new Set(await links(page).evaluateAll((found) => found.map((link) => link.getAttribute('href'))));
    await promisify(execFile)('/bin/sh', ['-c', send]);
    await until(async () => {
      const now = await links(page).evaluateAll((found) => found.map((link) => link.getAttribute('href')));
      return now.some((href) => !known.has(href));
    }, 'no new trace appeared');
  });
}

const failed = await runAll(base, process.argv[2] ?? '');
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
