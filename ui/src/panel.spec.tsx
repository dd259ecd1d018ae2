import { Widget } from '@lumino/widgets';
import { act } from 'react';

import { HistoryModel } from './history';
import type { IAbout, IVersion } from './interfaces';
import { ArchiveMonitor } from './monitor';
import type { IVersionVerb } from './panel';
import { HistoryPanel, targetOf } from './panel';
import {
  FakeHistory,
  FakeServer,
  Gate,
  makeAbout,
  makeLabel,
  makeVersion,
  makeVersions
} from './testing/doubles';
import { Refusal, SILENCE, trans, until } from './testing/doubles';

/** Sees the end of the list when the test says so. */
class FakeObserver {
  static readonly all = new Set<FakeObserver>();

  constructor(
    private readonly _seen: (entries: { isIntersecting: boolean }[]) => void,
    readonly options: { root: Element | null }
  ) {}

  /** Whether the end is near whenever it is begun to look, as a real one tells once by itself. */
  static isNear = false;

  static see(isIntersecting: boolean): void {
    [...FakeObserver.all].forEach(observer => observer._seen([{ isIntersecting }]));
  }

  observe(): void {
    FakeObserver.all.add(this);
    if (FakeObserver.isNear) {
      setTimeout(() => FakeObserver.all.has(this) && this._seen([{ isIntersecting: true }]));
    }
  }

  disconnect(): void {
    FakeObserver.all.delete(this);
  }
}

let server: FakeServer;
let source: FakeHistory;
let history: HistoryModel;
let monitor: ArchiveMonitor;
let panel: HistoryPanel;
let said: IAbout | Refusal;
const compare = jest.fn();
const executed = jest.fn();

const verbs: IVersionVerb[] = [
  {
    id: 'x:preview',
    label: () => 'Preview',
    isPrimary: true,
    isEnabled: () => true,
    execute: version => executed('preview', version)
  },
  {
    id: 'x:pin',
    label: version => (version.label?.pinned ? 'Unpin' : 'Pin'),
    isPrimary: false,
    isEnabled: () => true,
    execute: version => executed('pin', version)
  },
  {
    id: 'x:never',
    label: () => 'Never',
    isPrimary: false,
    isEnabled: () => false,
    execute: () => undefined
  }
];

const find = (selector: string) => panel.node.querySelector<HTMLElement>(selector);
const findAll = (selector: string) => [...panel.node.querySelectorAll<HTMLElement>(selector)];
const rows = () => findAll('.jp-bookstore-version');
const text = () => panel.node.textContent ?? '';
const state = () => find('.jp-bookstore-state')?.dataset.state;
const reachable = () => rows().flatMap((row, place) => (row.tabIndex === 0 ? [place] : []));
const bodyOf = (row: HTMLElement) =>
  row.parentElement?.querySelector<HTMLElement>('.jp-bookstore-details');
const settle = () => act(async () => new Promise(resolve => setTimeout(resolve, 10)));
/** Wait for rows to be drawn; within `act` nothing is. */
const count = async (rowsThere: number) => {
  for (let turn = 0; turn < 100 && rows().length !== rowsThere; turn += 1) {
    await settle();
  }
  expect(rows().length).toBe(rowsThere);
};
const click = (element: HTMLElement | null | undefined) => act(async () => element!.click());
const press = (element: HTMLElement, key: string) =>
  act(async () => {
    element.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  });
const focus = (element: HTMLElement) => act(async () => element.focus());

async function show(versions: IVersion[] = makeVersions(25, 1), path = 'a.ipynb'): Promise<void> {
  source.versions = versions;
  await act(async () => {
    await monitor.ready;
    await history.open(path);
    await new Promise(resolve => setTimeout(resolve, 10));
  });
}

beforeEach(async () => {
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true, IntersectionObserver: FakeObserver });
  FakeObserver.all.clear();
  FakeObserver.isNear = false;
  server = new FakeServer();
  said = makeAbout();
  server.on('GET', '', () => said);
  source = new FakeHistory(server, []);
  history = new HistoryModel(server.api, 10);
  monitor = new ArchiveMonitor(server.api);
  panel = new HistoryPanel({ history, monitor, verbs, compare, locale: 'en-GB', trans });
  await act(async () => Widget.attach(panel, document.body));
  await settle();
});

afterEach(async () => {
  await act(async () => panel.dispose());
  monitor.dispose();
});

describe('targetOf', () => {
  it.each([
    ['ArrowDown', 0, 1],
    ['ArrowDown', 29, 29],
    ['ArrowUp', 0, 0],
    ['ArrowUp', 5, 4],
    ['PageDown', 3, 13],
    ['PageDown', 25, 29],
    ['PageUp', 25, 15],
    ['PageUp', 3, 0],
    ['Home', 25, 0],
    ['End', 3, 29],
    ['Tab', 3, undefined],
    ['Enter', 3, undefined],
    ['a', 3, undefined]
  ])('with %s leads from row %d to %p', (key, place, target) => {
    expect(targetOf(key, place, 30)).toBe(target);
  });
});

describe('instead of a history it says', () => {
  it('that no document is open', async () => {
    await act(async () => monitor.ready);
    expect(state()).toBe('no-document');
    expect(find('h2')?.textContent).toBe('History');
    expect(find('button')).toBeNull();
  });

  it('that it is loading, to screen readers too', async () => {
    const gate = new Gate();
    source.before = () => gate.passed;
    act(() => void history.open('a.ipynb'));
    expect(state()).toBe('loading');
    expect(find('.jp-bookstore-state')?.getAttribute('role')).toBe('status');
    expect(find('.jp-bookstore-state')?.getAttribute('aria-busy')).toBe('true');
    gate.open();
    await settle();
    expect(state()).toBe('empty');
  });

  it('that there are no versions yet, and how there come to be some', async () => {
    await show([]);
    expect(state()).toBe('empty');
    expect(text()).toContain('Save the document: each save becomes a version.');
  });

  it('that the file is left out, and what would change that', async () => {
    source.isArchived = false;
    await show([]);
    expect(state()).toBe('left-out');
    expect(text()).toContain('This file is not archived');
    expect(text()).toContain('add a pattern that matches its path, and restart Jupyter');
    expect(text()).not.toContain('Save the document');
    expect(find('.jp-bookstore-banner')?.hidden).toBe(true);
  });

  it('that it is not configured, with the server’s next step', async () => {
    const problem = {
      code: 'NotConfigured',
      message: 'No bucket is set.',
      hint: 'Set s3_bucket.',
      since: null
    };
    said = makeAbout({ state: 'off', problems: [problem] }, { archive_valid: false });
    await act(async () => monitor.ready);
    expect(state()).toBe('off');
    expect(text()).toContain('No bucket is set.');
    expect(text()).toContain('Set s3_bucket.');
    expect(text()).toContain('bookstore doctor');
    expect(find('.jp-bookstore-banner')?.hidden).toBe(true);
  });

  it('that the server extension is not there, and how to enable it', async () => {
    said = new Refusal(404, { message: 'Not Found' });
    await act(async () => monitor.ready);
    expect(find('.jp-bookstore-state')?.getAttribute('role')).toBe('alert');
    expect(text()).toContain('jupyter server extension enable bookstore');
  });

  it('that there is no answer, and tries again on a click', async () => {
    said = SILENCE;
    await act(async () => monitor.ready);
    expect(state()).toBe('error');
    expect(text()).toContain('Check your connection');
    said = makeAbout();
    await click(find('.jp-bookstore-state button'));
    await settle();
    expect(state()).toBe('no-document');
  });

  it('why the history cannot be shown, and tries again on a click', async () => {
    source.before = () => new Refusal(503, { message: 'No way to S3.', hint: 'Check it.' });
    await show([makeVersion(1)]);
    expect(state()).toBe('error');
    expect(text()).toContain('No way to S3.Check it.');
    source.before = () => undefined;
    await click(find('.jp-bookstore-state button'));
    await settle();
    expect(rows().length).toBe(1);
  });
});

describe('above a history it says', () => {
  it('nothing while all is well, in a place where screen readers listen', async () => {
    await show();
    expect(find('.jp-bookstore-banner')?.hidden).toBe(true);
    expect(find('.jp-bookstore-banner')?.getAttribute('role')).toBe('status');
  });

  it('what waits, and what is wrong; the list stays', async () => {
    await show();
    const problem = {
      code: 'Unreachable',
      message: 'No way to S3.',
      hint: 'Check it.',
      since: null
    };
    said = makeAbout({ state: 'trouble', waiting: 2, problems: [problem] });
    await act(() => monitor.refresh());
    const banner = find('.jp-bookstore-banner')!;
    expect([banner.hidden, banner.dataset.state]).toEqual([false, 'trouble']);
    expect([...banner.children].map(child => child.textContent)).toEqual([
      '2 saves are safe on the disk and on their way to the archive.',
      'No way to S3.',
      'Check it.'
    ]);
    expect(rows().length).toBe(10);
    said = makeAbout({ state: 'waiting', waiting: 1 });
    await act(() => monitor.refresh());
    expect(banner.textContent).toBe('1 save is safe on the disk and on its way to the archive.');
    expect(banner.dataset.state).toBe('waiting');
  });

  it('that the server is away', async () => {
    await show();
    said = SILENCE;
    await act(() => monitor.refresh());
    expect(find('.jp-bookstore-banner')?.textContent).toContain('The server does not answer.');
    expect(rows().length).toBe(10);
  });

  it('that new saves are left out, while what can be done with old versions stays', async () => {
    source.isArchived = false;
    await show();
    expect([...find('.jp-bookstore-banner')!.children].map(child => child.textContent)).toEqual([
      'New saves of this file do not become versions.',
      expect.stringContaining('archive_globs leaves it out')
    ]);
    await click(rows()[0]);
    expect(findAll('.jp-bookstore-action').length).toBe(2);
    source.isArchived = true;
    await act(() => history.refresh());
    expect(find('.jp-bookstore-banner')?.hidden).toBe(true);
  });

  it('why it could not be refreshed', async () => {
    await show();
    source.before = () => new Refusal(503, { message: 'No way to S3.', hint: '' });
    await click(find('.jp-bookstore-icon-button'));
    await settle();
    expect(find('.jp-bookstore-banner')?.textContent).toBe('No way to S3.');
    expect(rows().length).toBe(10);
  });
});

describe('a row', () => {
  it('tells the time, the author, the size, the name and the reason', async () => {
    const saved_at = new Date(2026, 10, 20, 14, 5, 1).toISOString();
    await show([
      makeVersion(1, { saved_at, reason: 'restore', label: makeLabel({ name: '<b>final</b>' }) })
    ]);
    const parts = [...rows()[0].children].map(child => child.textContent);
    expect(parts).toEqual(['14:05:01', 'ada', '1 kB', '<b>final</b>', 'Restored']);
    expect(find('b')).toBeNull();
    expect(rows()[0].title).toBe('20 Nov 2026, 14:05:01');
  });

  it('reads to a screen reader as what it shows, its parts apart', async () => {
    const saved_at = new Date(2026, 10, 20, 14, 5, 1).toISOString();
    const label = makeLabel({ name: 'sent to the board', pinned: true });
    await show([
      makeVersion(2, { saved_at, label, reason: 'restore' }),
      makeVersion(1, { user: '' })
    ]);
    expect(rows().map(row => row.getAttribute('aria-label'))).toEqual([
      expect.stringMatching(/^20 Nov 2026, 14:05, ada, 1 kB, sent to the board, Restored$/),
      '14:05:01, ada, 1 kB, Pinned, sent to the board, Restored',
      '00:01:00, 1 kB'
    ]);
  });

  it('has what may be cut off as its title', async () => {
    const user = 'somebody.with.a.long.name@a-department.example.org';
    await show([makeVersion(1, { user })]);
    expect(find('.jp-bookstore-user')?.title).toBe(user);
    expect(find('.jp-bookstore-day')?.title).toBe(find('.jp-bookstore-day')?.textContent);
  });

  it('of a marker has no size and nothing to do', async () => {
    await show([makeVersion(2, { is_delete_marker: true, user: '' }), makeVersion(1)]);
    expect(rows()[0].querySelector('.jp-bookstore-size, .jp-bookstore-user')).toBeNull();
    expect(rows()[0].textContent).toContain('Hidden by a delete marker');
    await click(rows()[0]);
    expect(findAll('.jp-bookstore-action')).toEqual([]);
  });

  it('is under its day', async () => {
    await show([
      makeVersion(3, { saved_at: new Date(2020, 0, 2, 10).toISOString() }),
      makeVersion(2, { saved_at: new Date(2020, 0, 2, 9).toISOString() }),
      makeVersion(1, { saved_at: new Date(2020, 0, 1, 9).toISOString() })
    ]);
    const sections = findAll('section');
    expect(sections.map(section => section.getAttribute('aria-label'))).toEqual([
      expect.stringMatching(/^Thursday,? 2 January 2020$/),
      expect.stringMatching(/^Wednesday,? 1 January 2020$/)
    ]);
    expect(sections.map(section => section.querySelectorAll('li').length)).toEqual([2, 1]);
  });

  it('is there once, also where those who saved had clocks that do not agree', async () => {
    const on = (number: number, day: number) =>
      makeVersion(number, { saved_at: new Date(2020, 0, day, 9).toISOString() });
    const complaint = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    await show([on(4, 2), on(3, 1), on(2, 2), on(1, 1)]);
    source.versions = [on(5, 2), ...source.versions];
    await act(() => history.refresh());
    expect(rows().map(row => row.dataset.row?.slice(0, 3))).toEqual(
      [5, 4, 3, 2, 1].map(n => `dv${n}`)
    );
    expect(findAll('section').map(section => section.querySelectorAll('li').length)).toEqual([
      2, 1, 1, 1
    ]);
    expect(complaint).not.toHaveBeenCalled();
    complaint.mockRestore();
  });

  it('is no longer under “Today” after midnight', async () => {
    const saved_at = new Date(2026, 10, 20, 23, 58).toISOString();
    jest.useFakeTimers({
      now: new Date(2026, 10, 20, 23, 59, 50),
      doNotFake: ['setTimeout', 'clearTimeout', 'queueMicrotask', 'nextTick', 'setImmediate']
    });
    try {
      await show([makeVersion(1, { saved_at })]);
      expect(find('.jp-bookstore-day')?.textContent).toBe('Today');
      await act(async () => jest.advanceTimersByTime(60_000));
      expect(find('.jp-bookstore-day')?.textContent).toBe('Yesterday');
    } finally {
      jest.useRealTimers();
    }
  });

  it('unfolds and folds on a click, one at a time, and says so', async () => {
    await show();
    expect(rows()[1].getAttribute('aria-expanded')).toBe('false');
    await click(rows()[1]);
    expect(rows()[1].getAttribute('aria-expanded')).toBe('true');
    expect(bodyOf(rows()[1])?.id).toBe(rows()[1].getAttribute('aria-controls'));
    expect(history.selected).toBe('v24 archive/a.ipynb');
    await click(rows()[2]);
    expect(findAll('.jp-bookstore-details').length).toBe(1);
    await click(rows()[2]);
    expect(findAll('.jp-bookstore-details').length).toBe(0);
  });

  it('unfolded tells all that is known, and nothing that is not', async () => {
    await show([
      makeVersion(2, { path: 'old.ipynb', label: makeLabel({ note: 'a <i>note</i>' }) }),
      makeVersion(1, { user: '', host: '', root_dir: '', sha256: '' })
    ]);
    await click(rows()[0]);
    expect(findAll('dt').map(name => name.textContent)).toEqual([
      'Saved',
      'By',
      'On',
      'Name then',
      'Version',
      'SHA-256',
      'Note'
    ]);
    expect(
      findAll('dd')
        .slice(1)
        .map(value => value.textContent)
    ).toEqual(['ada', 'desk:/home/ada', 'old.ipynb', 'v2', 'abc', 'a <i>note</i>']);
    await click(rows()[1]);
    expect(findAll('dt').map(name => name.textContent)).toEqual(['Saved', 'Version']);
  });

  it('unfolded offers what can be done now, with its version', async () => {
    await show([makeVersion(2, { label: makeLabel({ pinned: true }) }), makeVersion(1)]);
    await click(rows().find(row => row.dataset.row?.startsWith('dv2')));
    const actions = findAll('.jp-bookstore-action');
    expect(actions.map(action => [action.textContent, action.dataset.primary])).toEqual([
      ['Preview', 'true'],
      ['Unpin', 'false']
    ]);
    await click(actions[1]);
    expect(executed).toHaveBeenCalledWith('pin', history.versions[0]);
  });

  it('is chosen by a click of the other button, for the menu', async () => {
    await show();
    await act(async () => {
      rows()[3].dispatchEvent(new MouseEvent('contextmenu', { bubbles: true }));
    });
    expect(history.selected).toBe('v22 archive/a.ipynb');
    expect(findAll('.jp-bookstore-details')).toEqual([]);
  });

  it('stays unfolded and in its place when a new version comes', async () => {
    await show();
    await click(rows()[1]);
    source.versions = makeVersions(26, 1);
    await act(() => history.refresh());
    expect(rows().length).toBe(11);
    expect(rows()[2].getAttribute('aria-expanded')).toBe('true');
    expect(reachable()).toEqual([2]);
  });
});

describe('the keyboard', () => {
  it('reaches one row by Tab: the first, later the one it was at', async () => {
    await show(makeVersions(25, 16));
    expect(reachable()).toEqual([0]);
    await focus(rows()[0]);
    await press(rows()[0], 'ArrowDown');
    expect(document.activeElement).toBe(rows()[1]);
    expect(reachable()).toEqual([1]);
    const last = rows()[9];
    await press(rows()[1], 'End');
    expect(document.activeElement).toBe(last);
    expect(history.selected).toBe('v16 archive/a.ipynb');
    await press(last, 'Home');
    expect(reachable()).toEqual([0]);
  });

  it('takes its own keys only', async () => {
    await show();
    const down = new KeyboardEvent('keydown', {
      key: 'ArrowDown',
      bubbles: true,
      cancelable: true
    });
    const other = new KeyboardEvent('keydown', { key: 'a', bubbles: true, cancelable: true });
    await act(async () => {
      rows()[0].dispatchEvent(down);
      rows()[0].dispatchEvent(other);
    });
    expect([down.defaultPrevented, other.defaultPrevented]).toEqual([true, false]);
  });

  it('does not jump out of the buttons of a version', async () => {
    await show();
    await click(rows()[0]);
    const action = find('.jp-bookstore-action')!;
    await focus(action);
    await press(action, 'ArrowDown');
    expect(document.activeElement).toBe(action);
  });

  it('gets the next page when it comes near the end', async () => {
    await show(makeVersions(60, 1));
    await press(rows()[9], 'ArrowDown');
    await settle();
    expect(rows().length).toBe(20);
    await press(rows()[0], 'ArrowDown');
    await settle();
    expect(rows().length).toBe(20);
  });

  it('folds and ends choosing with Escape', async () => {
    await show();
    await click(rows()[1]);
    await act(async () => {
      history.comparing = history.versions[1];
    });
    await press(rows()[1], 'Escape');
    expect(findAll('.jp-bookstore-details')).toEqual([]);
    expect(history.comparing).toBeNull();
  });

  it('reaches a row also after the one it was at is gone', async () => {
    await show();
    await focus(rows()[5]);
    expect(reachable()).toEqual([5]);
    source.versions = makeVersions(60, 30);
    await act(() => history.refresh());
    expect(reachable().length).toBe(1);
  });

  it('reaches a row also after the pinned one it was at was let go', async () => {
    await show([makeVersion(2), makeVersion(1, { label: makeLabel({ pinned: true }) })]);
    await focus(rows()[0]);
    await act(async () => history.replace('a.ipynb', makeVersion(1)));
    expect(reachable()).toEqual([0]);
  });

  it('reaches a row of the next document', async () => {
    await show();
    await focus(rows()[5]);
    new FakeHistory(server, [makeVersion(99, { key: 'archive/b.ipynb' })], 'versions/b.ipynb');
    await act(() => history.open('b.ipynb'));
    await settle();
    expect(rows().length).toBe(1);
    expect(reachable()).toEqual([0]);
  });
});

describe('comparing with another version', () => {
  beforeEach(async () => {
    await show([
      makeVersion(4),
      makeVersion(3, { is_delete_marker: true }),
      makeVersion(2),
      makeVersion(1)
    ]);
    await act(async () => {
      history.comparing = history.versions[0];
    });
  });

  it('asks to choose it, and takes the choice', async () => {
    expect(text()).toContain('Choose the version to compare');
    await click(rows()[2]);
    expect(compare).toHaveBeenCalledWith(history.versions[0], history.versions[2]);
    expect(history.comparing).toBeNull();
    expect(text()).not.toContain('Choose the version');
    expect(findAll('.jp-bookstore-details')).toEqual([]);
  });

  it('does not take one without content, and says why', async () => {
    await click(rows()[1]);
    expect(compare).not.toHaveBeenCalled();
    expect(history.comparing).toBe(history.versions[0]);
    expect(text()).toContain('A delete marker has no content');
    await click(rows()[2]);
    expect(compare).toHaveBeenCalledTimes(1);
    expect(text()).not.toContain('A delete marker has no content');
  });

  it('ends with a word when the same version is chosen again', async () => {
    await click(rows()[0]);
    expect(compare).not.toHaveBeenCalled();
    expect(history.comparing).toBeNull();
    const word = findAll('[role="status"] .jp-bookstore-banner').map(node => node.textContent);
    expect(word).toEqual(['That is the same version: nothing is compared.']);
    // The next thing that is done ends the word.
    await click(rows()[2]);
    expect(text()).not.toContain('That is the same version');
    expect(findAll('.jp-bookstore-details').length).toBe(1);
  });

  it('says so where screen readers listen already', async () => {
    await act(async () => {
      history.comparing = null;
    });
    const listened = findAll('[role="status"]');
    await act(async () => {
      history.comparing = history.versions[0];
    });
    expect(listened.some(node => node.textContent?.includes('Choose the version'))).toBe(true);
  });

  it('is given up with Escape in the notice too', async () => {
    const cancel = findAll('button').find(button => button.textContent === 'Cancel')!;
    await focus(cancel);
    await press(cancel, 'Escape');
    expect(history.comparing).toBeNull();
    expect(document.activeElement).toBe(rows()[0]);
  });

  it('can be given up', async () => {
    await click(findAll('button').find(button => button.textContent === 'Cancel'));
    expect(history.comparing).toBeNull();
    await click(rows()[2]);
    expect(compare).not.toHaveBeenCalled();
  });
});

describe('the focus', () => {
  const focused = () => document.activeElement as HTMLElement;

  it('goes from the buttons of a version to its row when Escape folds it', async () => {
    await show();
    await click(rows()[2]);
    const action = findAll('.jp-bookstore-action')[1];
    await focus(action);
    await press(action, 'Escape');
    expect(findAll('.jp-bookstore-details')).toEqual([]);
    expect(focused()).toBe(rows()[2]);
    expect(reachable()).toEqual([2]);
  });

  it('goes to the next row when the pinned one is let go', async () => {
    const pinned = { label: makeLabel({ pinned: true }) };
    await show([makeVersion(3, pinned), makeVersion(2, pinned), makeVersion(1)]);
    await click(rows()[0]);
    await focus(findAll('.jp-bookstore-action')[1]);
    await act(async () => history.replace('a.ipynb', makeVersion(3)));
    expect(focused().dataset.row).toBe('pv2 archive/a.ipynb');
    await click(rows()[0]);
    await focus(findAll('.jp-bookstore-action')[1]);
    await act(async () => history.replace('a.ipynb', makeVersion(2)));
    expect(focused()).toBe(rows()[0]);
    expect(focused().dataset.row).toBe('dv3 archive/a.ipynb');
  });

  it('goes to the first new row after “Load more”', async () => {
    await show();
    source.before = () => new Refusal(503);
    await act(async () => FakeObserver.see(true));
    await settle();
    source.before = () => undefined;
    const more = find('.jp-bookstore-more button')!;
    await focus(more);
    await click(more);
    await settle();
    expect(rows().length).toBe(20);
    expect(focused()).toBe(rows()[10]);
  });

  it('waits in the panel after “Try Again”, and goes to the first row', async () => {
    source.before = () => new Refusal(503);
    await show([makeVersion(2), makeVersion(1)]);
    const again = find('.jp-bookstore-state button')!;
    const gate = new Gate();
    source.before = () => gate.passed;
    await focus(again);
    await click(again);
    expect(state()).toBe('loading');
    expect(focused()).toBe(find('.jp-bookstore-view'));
    gate.open();
    await settle();
    expect(focused()).toBe(rows()[0]);
  });

  it('is on the button again where the new try fails too', async () => {
    source.before = () => new Refusal(503);
    await show([makeVersion(1)]);
    await focus(find('.jp-bookstore-state button')!);
    await click(find('.jp-bookstore-state button'));
    await settle();
    expect(focused()).toBe(find('.jp-bookstore-state button'));
  });

  it('goes to the version that was to be compared after “Cancel”', async () => {
    await show([makeVersion(3), makeVersion(2, { label: makeLabel({ pinned: true }) })]);
    for (const place of [0, 2]) {
      await focus(rows()[place]);
      await act(async () => {
        history.comparing = history.versions[1];
      });
      const cancel = findAll('button').find(button => button.textContent === 'Cancel')!;
      await focus(cancel);
      await click(cancel);
      // In the place where it was reached: above or at its day.
      expect(focused()).toBe(rows()[place]);
    }
  });

  it('stays with its row when versions come, and goes to another one when its own is gone', async () => {
    await show(makeVersions(25, 16));
    await focus(rows()[3]);
    source.versions = makeVersions(26, 16);
    await act(() => history.refresh());
    expect(focused()).toBe(rows()[4]);
    source.versions = makeVersions(90, 81);
    await act(() => history.refresh());
    expect(focused()).toBe(rows()[4]);
    expect(focused().dataset.row).toBe('dv86 archive/a.ipynb');
  });

  it('goes to the list where that has no rows', async () => {
    await show();
    await focus(rows()[0]);
    source.before = ({ query }) => ({
      path: 'a.ipynb',
      key: 'archive/a.ipynb',
      versions: [],
      cursor: query.pinned ? null : 'more',
      is_archived: true
    });
    await act(() => history.refresh());
    expect(rows()).toEqual([]);
    expect(focused()).toBe(find('.jp-bookstore-list'));
  });

  it('is not taken from elsewhere', async () => {
    await show();
    const other = document.body.appendChild(document.createElement('button'));
    await click(rows()[1]);
    await focus(findAll('.jp-bookstore-action')[0]);
    await focus(other);
    await click(rows()[1]);
    expect(focused()).toBe(other);
    // Nor from nowhere, where somebody has put it.
    await focus(rows()[2]);
    await act(async () => rows()[2].blur());
    source.versions = makeVersions(90, 81);
    await act(() => history.refresh());
    expect(focused()).toBe(document.body);
    other.remove();
    // Nor from the space between, where somebody has clicked.
    const between = find('.jp-bookstore-view')!;
    await focus(between);
    source.versions = makeVersions(91, 81);
    await act(() => history.refresh());
    expect(focused()).toBe(between);
  });
});

describe('pinned versions', () => {
  it('come first, in full, and stay in their day too', async () => {
    const saved_at = new Date(2026, 10, 2, 4, 5, 6).toISOString();
    await show([makeVersion(2), makeVersion(1, { saved_at, label: makeLabel({ pinned: true }) })]);
    expect(find('section')?.className).toBe('jp-bookstore-pinned');
    expect(rows().map(row => row.dataset.row)).toEqual([
      'pv1 archive/a.ipynb',
      'dv2 archive/a.ipynb',
      'dv1 archive/a.ipynb'
    ]);
    expect(rows()[0].querySelector('.jp-bookstore-time')?.textContent).toMatch(
      /^2 Nov 2026, 04:05/
    );
    expect(reachable()).toEqual([0]);
    await click(rows()[0]);
    expect(findAll('.jp-bookstore-details').length).toBe(1);
  });

  it('have no place of their own where there are none', async () => {
    await show();
    expect(find('.jp-bookstore-pinned')).toBeNull();
  });
});

describe('endless scrolling', () => {
  it('gets a page whenever the end comes near, up to the end', async () => {
    await show();
    expect([...FakeObserver.all].map(observer => observer.options.root)).toEqual([
      find('.jp-bookstore-list')
    ]);
    await act(async () => FakeObserver.see(false));
    await settle();
    expect(rows().length).toBe(10);
    for (const count of [20, 25]) {
      await act(async () => FakeObserver.see(true));
      await settle();
      expect(rows().length).toBe(count);
    }
    expect(FakeObserver.all.size).toBe(0);
    expect(find('.jp-bookstore-more')).toBeNull();
  });

  it('goes on after a refresh that came in between', async () => {
    await show();
    const gate = new Gate();
    source.before = ({ query }) => (query.cursor ? gate.passed : undefined);
    FakeObserver.isNear = true;
    await act(async () => FakeObserver.see(true));
    expect(history.isLoadingMore).toBe(true);
    source.before = () => undefined;
    await act(() => history.refresh());
    gate.open();
    await count(25);
    expect(find('.jp-bookstore-more')).toBeNull();
  });

  it('goes on after a page that is empty and leads on', async () => {
    await show();
    let empty = 2;
    source.before = ({ query }) =>
      query.cursor && empty-- > 0
        ? {
            path: 'a.ipynb',
            key: 'archive/a.ipynb',
            versions: [],
            cursor: query.cursor,
            is_archived: true
          }
        : undefined;
    FakeObserver.isNear = true;
    await act(async () => FakeObserver.see(true));
    await count(25);
    expect(empty).toBeLessThan(0);
  });

  it('does not hammer at a server that fails: a button tries again', async () => {
    await show();
    source.before = () => new Refusal(503);
    await act(async () => FakeObserver.see(true));
    await settle();
    const count = server.asked.length;
    expect(FakeObserver.all.size).toBe(0);
    source.before = () => undefined;
    await click(find('.jp-bookstore-more button'));
    await settle();
    expect(server.asked.length).toBe(count + 1);
    expect(rows().length).toBe(20);
    expect(FakeObserver.all.size).toBe(1);
  });
});

describe('the panel', () => {
  it('tells when it is looked at', async () => {
    const seen: boolean[] = [];
    panel.visibility.connect((_, isVisible) => seen.push(isVisible));
    await act(async () => panel.hide());
    await act(async () => panel.show());
    expect(seen).toEqual([false, true]);
  });

  it('has a name for screen readers, and the file’s as its title', async () => {
    await show([], 'x/my notes.ipynb');
    expect(panel.node.getAttribute('role')).toBe('region');
    expect(panel.node.getAttribute('aria-label')).toBe('History');
    expect(find('h2')?.textContent).toBe('my notes.ipynb');
    expect(find('h2')?.title).toBe('x/my notes.ipynb');
  });

  it('refreshes the state and the history on a click', async () => {
    await show();
    server.asked.splice(0);
    await click(find('.jp-bookstore-icon-button'));
    await until(() => server.requests('GET', '').length === 1);
    expect(server.requests('GET', 'versions/a.ipynb').length).toBe(2);
    await settle();
  });

  it('follows nothing once it is gone', async () => {
    await show();
    const left = [
      jest.spyOn(history.changed, 'disconnect'),
      jest.spyOn(monitor.changed, 'disconnect')
    ];
    await act(async () => panel.dispose());
    expect(left.map(leave => leave.mock.calls.length)).toEqual([1, 1]);
    await act(() => history.refresh());
    expect(FakeObserver.all.size).toBe(0);
  });
});
