import type { Event } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import type { BookstoreApi } from './api';
import { ApiError } from './api';
import type { IAbout, IArchiveEvent } from './interfaces';
import { ArchiveMonitor } from './monitor';
import { makeAbout } from './testing/doubles';

const about = jest.fn<Promise<IAbout>, []>();
const stream = new Signal<object, Event.Emission>({});
let monitor: ArchiveMonitor;

const emit = (schema: string, other: object = {}) => stream.emit({ schema_id: schema, ...other });
const archived = 'https://events.jupyter.org/bookstore/archived/v1';
const later = (milliseconds: number) => jest.advanceTimersByTimeAsync(milliseconds);

beforeEach(() => {
  jest.useFakeTimers();
  about.mockImplementation(async () => makeAbout());
  monitor = new ArchiveMonitor({ about } as unknown as BookstoreApi);
  monitor.listen({ stream } as unknown as Event.IManager);
});

afterEach(() => {
  monitor.dispose();
  jest.useRealTimers();
});

describe('the first answer', () => {
  it('is asked for once, and is there when it is ready', async () => {
    expect([monitor.state, monitor.status, monitor.features, monitor.bucket]).toEqual([
      'unknown',
      null,
      null,
      ''
    ]);
    const ready = monitor.ready;
    expect(monitor.ready).toBe(ready);
    await ready;
    expect(about).toHaveBeenCalledTimes(1);
    expect([monitor.state, monitor.bucket, monitor.features?.archive_valid]).toEqual([
      'ok',
      'bucket',
      true
    ]);
  });
});

describe('events', () => {
  it('are told one by one, and lead to few requests', async () => {
    const told: IArchiveEvent[] = [];
    monitor.happened.connect((_, event) => told.push(event));
    for (let count = 0; count < 100; count += 1) {
      emit(archived, {
        path: `${count}.ipynb`,
        version_id: `v${count}`,
        saved_at: '2026-11-20T10:00:00Z'
      });
    }
    await later(1000);
    expect(told.length).toBe(100);
    expect(told[7]).toEqual({
      name: 'archived',
      path: '7.ipynb',
      version_id: 'v7',
      saved_at: '2026-11-20T10:00:00Z'
    });
    expect(about).toHaveBeenCalledTimes(1);
  });

  it('that go on and on are followed by no more than four requests a second', async () => {
    for (let count = 0; count < 100; count += 1) {
      emit(archived);
      await later(20);
    }
    await later(1000);
    expect(about.mock.calls.length).toBeGreaterThanOrEqual(7);
    expect(about.mock.calls.length).toBeLessThanOrEqual(10);
  });

  it('after the last of which it is always asked once more', async () => {
    emit(archived);
    await later(10);
    about.mockImplementation(async () => makeAbout({ state: 'waiting', waiting: 1 }));
    emit(archived);
    await later(249);
    expect(monitor.state).toBe('waiting');
  });

  it('of others are none of its business', async () => {
    const told = jest.fn();
    monitor.happened.connect(told);
    emit('https://events.jupyter.org/jupyter_server/contents_service/v1', { path: 'a' });
    emit('https://example.org/https://events.jupyter.org/bookstore/archived/v1', { path: 'a' });
    await later(1000);
    expect(told).not.toHaveBeenCalled();
    expect(about).not.toHaveBeenCalled();
  });

  it('without a path are events too', () => {
    const told: IArchiveEvent[] = [];
    monitor.happened.connect((_, event) => told.push(event));
    emit(archived, { path: 5, version_id: null, saved_at: null });
    expect(told).toEqual([{ name: 'archived', path: '', version_id: null, saved_at: '' }]);
  });
});

describe('asking', () => {
  it('while it is asked means: once more after it, whoever asks', async () => {
    const answers: ((said: IAbout) => void)[] = [];
    about.mockImplementation(() => new Promise(resolve => answers.push(resolve)));
    const all = [monitor.refresh(), monitor.refresh(), monitor.refresh()];
    expect(answers.length).toBe(1);
    answers[0](makeAbout({ waiting: 1, state: 'waiting' }));
    await later(0);
    expect(answers.length).toBe(2);
    answers[1](makeAbout());
    await Promise.all(all);
    expect(about).toHaveBeenCalledTimes(2);
    expect(monitor.state).toBe('ok');
    const again = monitor.refresh();
    answers[2](makeAbout());
    await again;
  });

  it('goes on after an error that is none of the server’s', async () => {
    about.mockRejectedValueOnce(new Error('a fault'));
    await expect(monitor.refresh()).rejects.toThrow('a fault');
    await monitor.refresh();
    expect(monitor.state).toBe('ok');
  });

  it('is not repeated while all is well', async () => {
    await monitor.refresh();
    await later(10 * 60_000);
    expect(about).toHaveBeenCalledTimes(1);
  });

  it.each(['waiting', 'trouble'] as const)(
    'is repeated while the state is %s, until it is over',
    async state => {
      about.mockImplementation(async () => makeAbout({ state }));
      await monitor.refresh();
      await later(90_000);
      const count = about.mock.calls.length;
      expect(count).toBeGreaterThanOrEqual(3);
      expect(count).toBeLessThanOrEqual(7);
      about.mockImplementation(async () => makeAbout());
      await later(60_000);
      expect(monitor.state).toBe('ok');
      const ended = about.mock.calls.length;
      await later(10 * 60_000);
      expect(about).toHaveBeenCalledTimes(ended);
    }
  );
});

describe('a server that does not answer', () => {
  it.each([
    [0, 'away'],
    [424, 'away'],
    [429, 'away'],
    [502, 'away'],
    [503, 'away'],
    [504, 'away'],
    [404, 'unknown'],
    [403, 'unknown']
  ])('with the status %d is %s', async (status, state) => {
    about.mockRejectedValue(new ApiError(status, 'no'));
    await monitor.refresh();
    expect([monitor.state, monitor.error?.message]).toEqual([state, 'no']);
  });

  it('keeps what was known, is asked again, and comes back by itself', async () => {
    await monitor.refresh();
    about.mockRejectedValue(new ApiError(0, 'no answer'));
    await monitor.refresh();
    expect([monitor.state, monitor.features?.archive_valid, monitor.bucket]).toEqual([
      'away',
      true,
      'bucket'
    ]);
    about.mockImplementation(async () => makeAbout());
    await later(60_000);
    expect([monitor.state, monitor.error]).toEqual(['ok', null]);
  });

  it.each([403, 404])('is asked seldom while it says %d, until that is over', async status => {
    about.mockRejectedValue(new ApiError(status, 'no such page'));
    await monitor.refresh();
    await later(60_000);
    expect(about).toHaveBeenCalledTimes(1);
    await later(9 * 60_000);
    expect(about.mock.calls.length).toBeGreaterThanOrEqual(3);
    expect(about.mock.calls.length).toBeLessThanOrEqual(6);
    about.mockImplementation(async () => makeAbout());
    await later(3 * 60_000);
    expect(monitor.state).toBe('ok');
  });

  it('is asked often as soon as it is known that something waits', async () => {
    about.mockRejectedValue(new ApiError(403, 'no'));
    await monitor.refresh();
    about.mockImplementation(async () => makeAbout({ state: 'waiting', waiting: 1 }));
    await monitor.refresh();
    await later(1000);
    about.mockImplementation(async () => makeAbout());
    await later(25_000);
    expect(monitor.state).toBe('ok');
  });
});

describe('a save of this window', () => {
  it('is followed without events until nothing waits any more', async () => {
    about.mockImplementation(async () => makeAbout({ state: 'waiting', waiting: 1 }));
    await monitor.followSave();
    expect(about).toHaveBeenCalledTimes(1);
    await later(600);
    expect(about).toHaveBeenCalledTimes(2);
    about.mockImplementation(async () => makeAbout());
    await later(1100);
    expect(monitor.state).toBe('ok');
    const count = about.mock.calls.length;
    await later(10 * 60_000);
    expect(about).toHaveBeenCalledTimes(count);
  });

  it('is asked for a few times only, each later than the one before', async () => {
    about.mockImplementation(async () => makeAbout({ state: 'waiting', waiting: 1 }));
    await monitor.followSave();
    const counts: number[] = [];
    for (const wait of [600, 1000, 2000, 4000, 8000]) {
      await later(wait);
      counts.push(about.mock.calls.length);
    }
    expect(counts).toEqual([2, 3, 4, 5, 6]);
    await later(60_000);
    expect(about.mock.calls.length).toBeLessThanOrEqual(10);
  });

  it('that does not wait is asked for once', async () => {
    await monitor.followSave();
    await later(10 * 60_000);
    expect(about).toHaveBeenCalledTimes(1);
  });
});

describe('disposing', () => {
  it('ends all of it: timers, events and answers that are under way', async () => {
    const changed = jest.fn();
    monitor.changed.connect(changed);
    about.mockImplementation(async () => makeAbout({ state: 'trouble' }));
    const asked = monitor.followSave();
    emit(archived);
    monitor.dispose();
    monitor.dispose();
    await asked;
    monitor.notice();
    emit(archived);
    await later(10 * 60_000);
    expect(about).toHaveBeenCalledTimes(1);
    expect(changed).not.toHaveBeenCalled();
    expect(monitor.isDisposed).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });
});
