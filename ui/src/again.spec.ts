import { Again } from './again';

let isNeeded: boolean;
let isHidden: boolean;
let again: Again;
const act = jest.fn<Promise<void>, []>();
const later = (milliseconds: number) => jest.advanceTimersByTimeAsync(milliseconds);
const show = (isShown: boolean) => {
  isHidden = !isShown;
  document.dispatchEvent(new Event('visibilitychange'));
};

beforeEach(() => {
  jest.useFakeTimers();
  act.mockImplementation(async () => undefined);
  isNeeded = true;
  isHidden = false;
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  again = new Again(act, () => isNeeded, { first: 2000, longest: 60_000 });
});

afterEach(() => {
  again.dispose();
  jest.useRealTimers();
});

it('is done after ever longer pauses, but never seldomer than the longest', async () => {
  again.check();
  again.check();
  const times: number[] = [];
  const start = Date.now();
  act.mockImplementation(async () => {
    times.push((Date.now() - start) / 1000);
  });
  await later(200_000);
  expect(times).toEqual([2, 6, 14, 30, 62, 122, 182]);
});

it('ends when it is needed no more, and begins anew', async () => {
  again.check();
  await later(7000);
  expect(act).toHaveBeenCalledTimes(2);
  isNeeded = false;
  await later(600_000);
  expect(act).toHaveBeenCalledTimes(2);
  expect(jest.getTimerCount()).toBe(0);
  isNeeded = true;
  again.check();
  await later(2000);
  expect(act).toHaveBeenCalledTimes(3);
});

it('waits for the end of what it does', async () => {
  let end: () => void = () => undefined;
  act.mockImplementation(() => new Promise(resolve => (end = resolve)));
  again.check();
  await later(60_000);
  again.check();
  again.restart();
  await later(60_000);
  expect(act).toHaveBeenCalledTimes(1);
  end();
  await later(2000);
  expect(act).toHaveBeenCalledTimes(2);
});

it('is not done while nobody sees it, and at once when somebody does', async () => {
  again.check();
  isHidden = true;
  await later(600_000);
  expect(act).not.toHaveBeenCalled();
  show(true);
  expect(act).toHaveBeenCalledTimes(1);
  show(false);
  show(true);
  expect(act).toHaveBeenCalledTimes(1);
});

it('is not done for somebody who comes when it is needed no more', async () => {
  again.check();
  isHidden = true;
  await later(3000);
  isNeeded = false;
  show(true);
  expect(act).not.toHaveBeenCalled();
});

it('does nothing once it is disposed', async () => {
  again.check();
  again.dispose();
  again.check();
  show(true);
  await later(600_000);
  expect(act).not.toHaveBeenCalled();
  expect(again.isDisposed).toBe(true);
});
