import { expect, it } from 'vitest';
import { Loaded } from './resource.svelte';

it('keeps the newest question: a slow older answer is dropped and its request cancelled', async () => {
  const loaded = new Loaded<string>();
  let answerFirst = (_value: string) => {};
  let firstSignal: AbortSignal | undefined;
  const first = loaded.load((signal) => {
    firstSignal = signal;
    return new Promise((resolve) => {
      answerFirst = resolve;
    });
  });
  await loaded.load(async () => 'second');
  answerFirst('first');
  expect(await first).toBeNull();
  expect(firstSignal?.aborted).toBe(true);
  expect(loaded.value).toBe('second');
  expect(loaded.loading).toBe(false);
});

it('keeps the value shown when a reload fails, and forgets the error when one works', async () => {
  const loaded = new Loaded<number>();
  await loaded.load(async () => 1);
  await loaded.load(async () => Promise.reject(new Error('down')));
  expect([loaded.value, String(loaded.error)]).toEqual([1, 'Error: down']);
  await loaded.load(async () => 2);
  expect([loaded.value, loaded.error]).toEqual([2, null]);
});

it('stays silent about a cancelled request', async () => {
  const loaded = new Loaded<number>();
  const pending = loaded.load(
    (signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      }),
  );
  loaded.cancel();
  await pending;
  expect([loaded.value, loaded.error, loaded.loading]).toEqual([null, null, false]);
});
