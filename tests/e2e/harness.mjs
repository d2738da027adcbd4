// A small test runner for Playwright on Debian's Chromium: one page per test, which fails on a
// console error, an exception in the page or a request that leaves the server.
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const manifest = resolve(root, 'ui/package.json');
if (!existsSync(resolve(root, 'ui/node_modules/playwright-core'))) {
  console.error('playwright-core is missing: run `npm ci` in ui/');
  process.exit(2);
}
const { chromium } = createRequire(manifest)('playwright-core');

export const results = resolve(root, 'test-results');
const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const TIMEOUT = Number(process.env.NUAGES_UI_TIMEOUT ?? 15_000);

const tests = [];
/** `expected`: console messages the test provokes on purpose. */
export function test(name, run, { expected = null } = {}) {
  tests.push({ name, run, expected });
}

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** Waits until `probe` gives a truthy value; browsers and servers take their time, a clock does not decide. */
export async function until(probe, message) {
  const end = Date.now() + TIMEOUT;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${message} (not within ${TIMEOUT / 1000} s)`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export async function shot(page, name) {
  await page.screenshot({ path: resolve(results, `${name}.png`) });
}

export async function runAll(base, filter = '') {
  mkdirSync(results, { recursive: true });
  const executablePath = process.env.NUAGES_CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    console.error(`${executablePath} is missing: apt-get install chromium`);
    process.exit(2);
  }
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS });
  let failed = 0;
  for (const { name, run, expected } of tests.filter((one) => one.name.includes(filter))) {
    const context = await browser.newContext({
      baseURL: base,
      viewport: { width: 1440, height: 860 },
      colorScheme: 'light',
    });
    context.setDefaultTimeout(TIMEOUT);
    const page = await context.newPage();
    const faults = [];
    page.on('console', (message) => {
      if (message.type() !== 'error' && message.type() !== 'warning') return;
      if (!expected?.test(message.text())) faults.push(`console ${message.type()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => faults.push(`exception in the page: ${error.stack ?? error}`));
    page.on('dialog', (dialog) => {
      faults.push(`a dialog opened: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(base) && !request.url().startsWith('data:')) {
        faults.push(`a request left the server: ${request.url()}`);
      }
    });
    try {
      await run(page);
      if (faults.length > 0) throw new Error(faults.join('\n'));
      console.log(`ok    ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL  ${name}\n      ${String(error.stack ?? error).replaceAll('\n', '\n      ')}`);
      if (faults.length > 0) console.log(`      also: ${faults.join('; ')}`);
      await shot(page, `failed-${name.replaceAll(/\W+/g, '-')}`).catch(() => {});
    }
    await context.close();
  }
  await browser.close();
  return failed;
}
