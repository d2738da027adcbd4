// The login page, on a server whose only user is anna with the password in NUAGES_UI_PASSWORD.
import { check, runAll, shot, test } from './harness.mjs';

const password = process.env.NUAGES_UI_PASSWORD;
const DENIED = { expected: /status of 401/ };

test(
  'a stranger gets the login page, a wrong password a reason, the right one the page asked for',
  async (page) => {
    await page.goto('/traces?status=error');
    const form = page.getByRole('form', { name: 'Log in' });
    await form.waitFor();
    check((await page.getByRole('link', { name: 'Nuages, home' }).count()) === 1, 'no top bar');
    check((await page.getByRole('button', { name: 'Log out' }).count()) === 0, 'a stranger can log out');
    await shot(page, 'login');
    await page.keyboard.type('anna');
    await page.keyboard.press('Tab');
    await page.keyboard.type('a wrong password');
    await page.keyboard.press('Enter');
    await form.getByRole('alert').getByText('the name or the password is wrong').waitFor();
    await form.getByLabel('Password').fill(password);
    await form.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('button', { name: 'Refresh' }).or(page.getByLabel('Any status')).first().waitFor();
    check(new URL(page.url()).search === '?status=error', `the address is ${page.url()}`);
    await page.reload();
    await page.getByRole('button', { name: 'Log out' }).click();
    await form.waitFor();
    const status = await page.evaluate(async () => (await fetch('/api/v1/traces')).status);
    check(status === 401, `after logging out the API answers ${status}`);
    check((await page.evaluate(() => document.cookie)) === '', 'the page can read its cookie');
  },
  DENIED,
);

test(
  'a session that ends under way asks again, and goes on where it was',
  async (page) => {
    await page.goto('/traces');
    const form = page.getByRole('form', { name: 'Log in' });
    await form.getByLabel('User').fill('anna');
    await form.getByLabel('Password').fill(password);
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Log out' }).waitFor();
    await page.context().clearCookies();
    await form.waitFor(); // the status line asks every five seconds
    check(new URL(page.url()).pathname === '/traces', `the address is ${page.url()}`);
  },
  DENIED,
);

const failed = await runAll(process.env.NUAGES_UI_URL);
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
