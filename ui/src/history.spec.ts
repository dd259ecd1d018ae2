import { ApiError } from './api';
import { HistoryModel, idOf } from './history';
import type { IVersion } from './interfaces';
import {
  FakeHistory,
  FakeServer,
  Gate,
  makeLabel,
  makeVersion,
  makeVersions,
  Refusal
} from './testing/doubles';
import { pause, until } from './testing/doubles';

let server: FakeServer;
let source: FakeHistory;
let history: HistoryModel;

const ids = (versions: readonly IVersion[]) => versions.map(version => version.version_id);
const range = (newest: number, oldest: number) => ids(makeVersions(newest, oldest));

/** Answer the next request for a page late, with what was true when it was asked. */
function holdFirstPage(gate: Gate, versions: IVersion[], cursor: string | null): void {
  let isFirst = true;
  source.before = async asked => {
    if (!isFirst || asked.query.pinned !== undefined) {
      return undefined;
    }
    isFirst = false;
    await gate.passed;
    return { path: 'a.ipynb', key: 'archive/a.ipynb', versions: versions.slice(0, 10), cursor };
  };
}

beforeEach(() => {
  server = new FakeServer();
  source = new FakeHistory(server, makeVersions(25, 1));
  history = new HistoryModel(server.api, 10);
});

describe('opening', () => {
  it('shows the first page, and tells of loading before and of ready after it', async () => {
    const phases: string[] = [];
    history.changed.connect(() => phases.push(history.phase));
    expect(history.phase).toBe('none');
    const opened = history.open('a.ipynb');
    expect([history.path, history.phase, history.versions.length]).toEqual([
      'a.ipynb',
      'loading',
      0
    ]);
    await opened;
    expect(history.phase).toBe('ready');
    expect(ids(history.versions)).toEqual(range(25, 16));
    expect(history.hasMore).toBe(true);
    expect(phases[0]).toBe('loading');
    expect(phases).toContain('ready');
  });

  it('does not ask again for what is shown, nor for nothing', async () => {
    await history.open('a.ipynb');
    const count = server.asked.length;
    await history.open('a.ipynb');
    expect(server.asked.length).toBe(count);
    await history.open('');
    expect([history.phase, history.versions.length, history.hasMore]).toEqual(['none', 0, false]);
    await history.refresh();
    expect(server.asked.length).toBe(count);
  });

  it('asks again after an error', async () => {
    source.before = () => new Refusal(503, { message: 'no store' });
    await history.open('a.ipynb');
    expect([history.phase, history.error?.message]).toEqual(['error', 'no store']);
    source.before = () => undefined;
    await history.open('a.ipynb');
    expect([history.phase, history.error]).toEqual(['ready', null]);
  });

  it('forgets what was chosen in another history', async () => {
    await history.open('a.ipynb');
    history.selected = idOf(history.versions[0]);
    history.comparing = history.versions[0];
    new FakeHistory(server, [], 'versions/b.ipynb');
    await history.open('b.ipynb');
    expect([history.selected, history.comparing, history.versions.length]).toEqual([null, null, 0]);
  });

  it('does not show the answer for a path that was left meanwhile', async () => {
    const gate = new Gate();
    source.before = () => gate.passed;
    new FakeHistory(server, [makeVersion(99, { key: 'archive/b.ipynb' })], 'versions/b.ipynb');
    const first = history.open('a.ipynb');
    await history.open('b.ipynb');
    gate.open();
    await first;
    await pause();
    expect(history.path).toBe('b.ipynb');
    expect(ids(history.versions)).toEqual(['v99']);
  });

  it('shows nothing once no path is wanted any more, whatever is answered', async () => {
    const gate = new Gate();
    source.before = () => gate.passed;
    const first = history.open('a.ipynb');
    await history.open('');
    gate.open();
    await first;
    await pause();
    expect([history.phase, history.versions.length]).toEqual(['none', 0]);
  });

  it('does not show the error of a path that was left meanwhile', async () => {
    const gate = new Gate();
    source.before = async () => {
      await gate.passed;
      return new Refusal(500);
    };
    new FakeHistory(server, [makeVersion(99)], 'versions/b.ipynb');
    const first = history.open('a.ipynb');
    await history.open('b.ipynb');
    gate.open();
    await first;
    await pause();
    expect([history.phase, history.error]).toEqual(['ready', null]);
  });
});

describe('paging', () => {
  it('goes to the end, once through each version', async () => {
    await history.open('a.ipynb');
    await history.loadMore();
    expect(ids(history.versions)).toEqual(range(25, 6));
    await history.loadMore();
    expect(ids(history.versions)).toEqual(range(25, 1));
    expect(history.hasMore).toBe(false);
    const count = server.asked.length;
    await history.loadMore();
    expect(server.asked.length).toBe(count);
  });

  it('asks for a page once, however often it is called', async () => {
    await history.open('a.ipynb');
    await until(() => server.asked.length === 2);
    const gate = new Gate();
    source.before = () => gate.passed;
    const first = history.loadMore();
    expect(history.isLoadingMore).toBe(true);
    await history.loadMore();
    gate.open();
    await first;
    expect(server.asked.length).toBe(3);
    expect(history.isLoadingMore).toBe(false);
  });

  it('keeps what is shown when a page does not come, and gets it at the next try', async () => {
    await history.open('a.ipynb');
    source.before = () => new Refusal(503);
    await history.loadMore();
    expect([history.phase, history.isLoadingMore, history.hasMore]).toEqual(['ready', false, true]);
    expect(history.error).toBeInstanceOf(ApiError);
    expect(history.versions.length).toBe(10);
    source.before = () => undefined;
    await history.loadMore();
    expect(history.error).toBeNull();
    expect(history.versions.length).toBe(20);
  });

  it('is given up by a refresh meanwhile, and can go on after it', async () => {
    await history.open('a.ipynb');
    await until(() => server.asked.length === 2);
    const gate = new Gate();
    source.before = asked => (asked.query.cursor ? gate.passed : undefined);
    const more = history.loadMore();
    source.versions = makeVersions(27, 1);
    await history.refresh();
    expect(history.isLoadingMore).toBe(false);
    gate.open();
    await more;
    expect(ids(history.versions)).toEqual(range(27, 16));
    await history.loadMore();
    await history.loadMore();
    expect(ids(history.versions)).toEqual(range(27, 1));
  });
});

describe('pages that end', () => {
  it('are counted, well or not, so that the next one is asked for though the list is as long', async () => {
    await history.open('a.ipynb');
    expect(history.pages).toBe(1);
    await history.loadMore();
    expect(history.pages).toBe(2);
    source.before = () => new Refusal(503);
    await history.loadMore();
    await history.refresh();
    expect(history.pages).toBe(4);
  });

  it('are told after a refresh has dropped the one that was under way', async () => {
    await history.open('a.ipynb');
    const gate = new Gate();
    source.before = asked => (asked.query.cursor ? gate.passed : undefined);
    const more = history.loadMore();
    const before = history.pages;
    const seen: [number, boolean][] = [];
    history.changed.connect(() => seen.push([history.pages - before, history.isLoadingMore]));
    await history.refresh();
    expect(seen).toContainEqual([1, false]);
    gate.open();
    await more;
    expect(history.pages - before).toBe(1);
  });

  it('without a version lead on to those with some', async () => {
    const empty = (cursor: string) => ({
      path: 'a.ipynb',
      key: 'archive/a.ipynb',
      versions: [],
      cursor,
      is_archived: true
    });
    source.before = ({ query }) =>
      query.pinned || (query.cursor && query.cursor !== 'one')
        ? undefined
        : empty(query.cursor === 'one' ? 'v20' : 'one');
    await history.open('a.ipynb');
    expect(ids(history.versions)).toEqual(range(19, 10));
    await history.refresh();
    expect(ids(history.versions)).toEqual(range(19, 10));
    source.before = ({ query }) => (query.cursor === 'v10' ? empty('v5') : undefined);
    await history.loadMore();
    expect(ids(history.versions)).toEqual([...range(19, 10), ...range(4, 1)]);
  });

  it('without a version do not go on for ever', async () => {
    source.before = ({ query }) =>
      query.pinned
        ? undefined
        : { path: 'a.ipynb', key: 'k', versions: [], cursor: 'on', is_archived: true };
    await history.open('a.ipynb');
    expect(server.asked.length).toBeLessThan(20);
    expect([history.phase, history.hasMore]).toEqual(['ready', true]);
  });
});

describe('trying again', () => {
  it('takes an error away without showing that it loads, and asks for nothing where there is none', async () => {
    source.before = () => new Refusal(503, { message: 'no store' });
    await history.open('a.ipynb');
    await pause();
    const phases = new Set<string>();
    history.changed.connect(() => phases.add(history.phase));
    await history.retry();
    expect([...phases]).toEqual(['error']);
    source.before = () => undefined;
    await history.retry();
    await pause();
    expect([history.phase, history.error]).toEqual(['ready', null]);
    const count = server.asked.length;
    await history.retry();
    expect(server.asked.length).toBe(count);
  });

  it('asks for the page that did not come', async () => {
    await history.open('a.ipynb');
    await pause();
    source.before = () => new Refusal(503);
    await history.loadMore();
    source.before = () => undefined;
    server.asked.splice(0);
    await history.retry();
    expect(server.asked.map(asked => asked.query.cursor)).toEqual(['v16']);
    expect([history.error, history.versions.length]).toEqual([null, 20]);
  });

  it('asks for the pinned ones', async () => {
    source.before = asked => (asked.query.pinned ? new Refusal(503) : undefined);
    await history.open('a.ipynb');
    await until(() => history.error !== null);
    source.before = () => undefined;
    await history.retry();
    await until(() => history.error === null);
  });
});

describe('whether the path is archived', () => {
  it('is told with the history', async () => {
    expect(history.isArchived).toBeNull();
    source.isArchived = false;
    await history.open('a.ipynb');
    expect(history.isArchived).toBe(false);
    new FakeHistory(server, [], 'versions/b.ipynb');
    const opened = history.open('b.ipynb');
    expect(history.isArchived).toBeNull();
    await opened;
    expect(history.isArchived).toBe(true);
  });
});

describe('a refresh', () => {
  it('puts new versions above those that are shown', async () => {
    await history.open('a.ipynb');
    await history.loadMore();
    source.versions = makeVersions(28, 1);
    await history.refresh();
    expect(ids(history.versions)).toEqual(range(28, 6));
    await history.loadMore();
    expect(ids(history.versions)).toEqual(range(28, 1));
  });

  it('takes what changed in versions that are shown', async () => {
    await history.open('a.ipynb');
    source.versions = [
      makeVersion(25, { label: makeLabel({ name: 'final' }) }),
      ...makeVersions(24, 1)
    ];
    await history.refresh();
    expect(history.versions[0].label?.name).toBe('final');
    expect(history.versions.length).toBe(10);
  });

  it('starts anew where there are more new versions than a page, and leaves no gap', async () => {
    await history.open('a.ipynb');
    await history.loadMore();
    source.versions = makeVersions(60, 1);
    await history.refresh();
    expect(ids(history.versions)).toEqual(range(60, 51));
    while (history.hasMore) {
      await history.loadMore();
    }
    expect(ids(history.versions)).toEqual(range(60, 1));
  });

  it('leaves no gap where just one page is new', async () => {
    await history.open('a.ipynb');
    source.versions = makeVersions(35, 1);
    await history.refresh();
    while (history.hasMore) {
      await history.loadMore();
    }
    expect(ids(history.versions)).toEqual(range(35, 1));
  });

  it('finds the first version of an empty history', async () => {
    source.versions = [];
    await history.open('a.ipynb');
    expect([history.phase, history.hasMore]).toEqual(['ready', false]);
    source.versions = makeVersions(1, 1);
    await history.refresh();
    expect(ids(history.versions)).toEqual(['v1']);
  });

  it('that fails keeps what is shown, and the next one takes the error away', async () => {
    await history.open('a.ipynb');
    source.before = () => new Refusal(503, { message: 'no store' });
    await history.refresh();
    await pause();
    expect([history.phase, history.versions.length, history.error?.message]).toEqual([
      'ready',
      10,
      'no store'
    ]);
    source.before = () => undefined;
    await history.refresh();
    await pause();
    expect(history.error).toBeNull();
  });

  it('that fails keeps an empty history that is known to be empty', async () => {
    source.versions = [];
    await history.open('a.ipynb');
    source.before = () => new Refusal(503);
    await history.refresh();
    expect(history.phase).toBe('error');
    source.before = () => undefined;
    await history.refresh();
    expect(history.phase).toBe('ready');
  });

  it('counts as the last one asked, not the last one answered', async () => {
    await history.open('a.ipynb');
    const gate = new Gate();
    const old = source.versions;
    holdFirstPage(gate, old, 'v16');
    const slow = history.refresh();
    source.versions = makeVersions(26, 1);
    await history.refresh();
    gate.open();
    await slow;
    expect(history.versions[0].version_id).toBe('v26');
  });

  it('does nothing once the model is disposed', async () => {
    await history.open('a.ipynb');
    await pause();
    const count = server.asked.length;
    history.dispose();
    await history.refresh();
    expect(server.asked.length).toBe(count);
  });
});

describe('a rename', () => {
  it('goes on with the same history under the new name, without showing that it loads', async () => {
    await history.open('a.ipynb');
    history.selected = idOf(history.versions[3]);
    const renamed = makeVersion(26, { key: 'archive/b.ipynb', path: 'b.ipynb', reason: 'rename' });
    new FakeHistory(server, [renamed, ...makeVersions(25, 1)], 'versions/b.ipynb');
    const phases = new Set<string>();
    history.changed.connect(() => phases.add(history.phase));
    await history.rename('b.ipynb');
    expect(history.path).toBe('b.ipynb');
    expect(ids(history.versions)).toEqual(['v26', ...range(25, 16)]);
    expect([...phases]).toEqual(['ready']);
    expect(history.selected).toBe('v22 archive/a.ipynb');
  });

  it('does not take what was asked for under the old name', async () => {
    await history.open('a.ipynb');
    await until(() => server.asked.length === 2);
    const gate = new Gate();
    source.before = () => gate.passed;
    const more = history.loadMore();
    new FakeHistory(server, makeVersions(25, 1), 'versions/b.ipynb');
    await history.rename('b.ipynb');
    gate.open();
    await more;
    expect(ids(history.versions)).toEqual(range(25, 16));
  });

  it('keeps the rows and the pins until the new name has versions', async () => {
    const pin = makeVersion(20, { label: makeLabel({ pinned: true }) });
    source.versions = [...makeVersions(25, 21), pin, ...makeVersions(19, 1)];
    await history.open('a.ipynb');
    await until(() => history.pinned.length === 1);
    const renamed = new FakeHistory(server, [], 'versions/b.ipynb');
    await history.rename('b.ipynb');
    await pause();
    expect([history.path, history.phase]).toEqual(['b.ipynb', 'ready']);
    expect(ids(history.versions)).toEqual(range(25, 16));
    expect(ids(history.pinned)).toEqual(['v20']);
    renamed.versions = [makeVersion(26, { key: 'archive/b.ipynb' }), ...source.versions];
    await history.refresh();
    expect(ids(history.versions)).toEqual(['v26', ...range(25, 16)]);
    renamed.versions = renamed.versions.map(version => ({ ...version, label: null }));
    await history.refresh();
    await until(() => history.pinned.length === 0);
  });

  it('goes on where the list ended, by the name that the place in it is of', async () => {
    await history.open('a.ipynb');
    const renamed = new FakeHistory(
      server,
      [makeVersion(26, { key: 'archive/b.ipynb' }), ...makeVersions(25, 1)],
      'versions/b.ipynb'
    );
    renamed.before = asked => (asked.query.cursor === 'v16' ? new Refusal(400) : undefined);
    await history.rename('b.ipynb');
    await history.loadMore();
    await history.loadMore();
    expect(history.error).toBeNull();
    expect(ids(history.versions)).toEqual(['v26', ...range(25, 1)]);
  });

  it('to a name that is not archived shows that it has no versions', async () => {
    source.versions = [makeVersion(1, { label: makeLabel({ pinned: true }) })];
    await history.open('a.ipynb');
    await until(() => history.pinned.length === 1);
    new FakeHistory(server, [], 'versions/b.txt').isArchived = false;
    await history.rename('b.txt');
    await until(() => history.pinned.length === 0);
    expect([history.versions.length, history.isArchived]).toEqual([0, false]);
  });

  it('to another history does not mix the two', async () => {
    await history.open('a.ipynb');
    new FakeHistory(server, [makeVersion(90, { key: 'archive/b.ipynb' })], 'versions/b.ipynb');
    await history.rename('b.ipynb');
    expect(ids(history.versions)).toEqual(['v90']);
    expect(history.hasMore).toBe(false);
  });
});

describe('pins and labels', () => {
  it('shows what is pinned, though its page is not there yet', async () => {
    source.versions = [
      ...makeVersions(25, 2),
      makeVersion(1, { label: makeLabel({ pinned: true }) })
    ];
    await history.open('a.ipynb');
    await until(() => history.pinned.length > 0);
    expect(ids(history.pinned)).toEqual(['v1']);
    expect(history.find('v1 archive/a.ipynb')?.version_id).toBe('v1');
  });

  it('does not hold up the list', async () => {
    const gate = new Gate();
    source.before = asked => (asked.query.pinned ? gate.passed : undefined);
    await history.open('a.ipynb');
    expect([history.phase, history.versions.length]).toEqual(['ready', 10]);
    gate.open();
  });

  it('puts a pin in its place, the newest first, and takes it away', async () => {
    await history.open('a.ipynb');
    await pause();
    const pinned = (number: number) => makeVersion(number, { label: makeLabel({ pinned: true }) });
    history.replace('a.ipynb', pinned(18));
    history.replace('a.ipynb', pinned(24));
    history.replace('a.ipynb', pinned(20));
    expect(ids(history.pinned)).toEqual(['v24', 'v20', 'v18']);
    expect(history.versions.find(version => version.version_id === 'v20')?.label?.pinned).toBe(
      true
    );
    history.replace('a.ipynb', makeVersion(20, { label: makeLabel({ name: 'n' }) }));
    expect(ids(history.pinned)).toEqual(['v24', 'v18']);
    expect(history.versions.length).toBe(10);
  });

  it('does not show the pinned ones of a path that was left', async () => {
    const gate = new Gate();
    source.versions = [makeVersion(1, { label: makeLabel({ pinned: true }) })];
    source.before = asked => (asked.query.pinned ? gate.passed : undefined);
    await history.open('a.ipynb');
    new FakeHistory(server, [], 'versions/b.ipynb');
    await history.open('b.ipynb');
    gate.open();
    await pause();
    expect(history.pinned).toEqual([]);
  });

  it('tells that the pinned ones are not known, though the page comes later', async () => {
    const gate = new Gate();
    source.before = asked =>
      asked.query.pinned ? new Refusal(503, { message: 'no labels' }) : gate.passed;
    const opened = history.open('a.ipynb');
    await until(() => history.error !== null);
    gate.open();
    await opened;
    expect([history.phase, history.error?.message]).toEqual(['ready', 'no labels']);
    source.before = () => undefined;
    await history.refresh();
    await until(() => history.error === null);
  });

  it('keeps a label that was written while older answers were under way', async () => {
    await history.open('a.ipynb');
    await until(() => source.versions.length > 0);
    const gate = new Gate();
    const before = source.versions;
    holdFirstPage(gate, before, null);
    const slow = history.refresh();
    const named = { ...before[0], label: makeLabel({ name: 'mine' }) };
    source.versions = [named, ...before.slice(1)];
    history.replace('a.ipynb', named);
    gate.open();
    await slow;
    await pause();
    expect(history.versions[0].label?.name).toBe('mine');
  });

  it('keeps a pin that was set while an older answer of the pinned ones was under way', async () => {
    const gate = new Gate();
    const none = { path: 'a.ipynb', key: 'k', versions: [], cursor: null, is_archived: true };
    let isFirst = true;
    source.before = async asked => {
      if (isFirst && asked.query.pinned) {
        isFirst = false;
        await gate.passed;
        return none;
      }
      return undefined;
    };
    await history.open('a.ipynb');
    const pinned = { ...source.versions[3], label: makeLabel({ pinned: true }) };
    source.versions = source.versions.map(v => (v.version_id === pinned.version_id ? pinned : v));
    history.replace('a.ipynb', pinned);
    gate.open();
    await pause();
    await pause();
    expect(ids(history.pinned)).toEqual([pinned.version_id]);
  });

  it('keeps a label of a version whose page, read before it, was under way', async () => {
    await history.open('a.ipynb');
    await pause();
    const gate = new Gate();
    const before = source.versions;
    source.before = async asked => {
      if (asked.query.cursor && source.before !== letPass) {
        source.before = letPass;
        await gate.passed;
        return {
          path: 'a.ipynb',
          key: 'archive/a.ipynb',
          versions: before.slice(10, 20),
          cursor: null,
          is_archived: true
        };
      }
      return undefined;
    };
    const letPass = () => undefined;
    const more = history.loadMore();
    const named = { ...before[12], label: makeLabel({ name: 'mine' }) };
    source.versions = before.map(v => (v.version_id === named.version_id ? named : v));
    history.replace('a.ipynb', named);
    gate.open();
    await more;
    await until(() => history.pages === 2);
    await history.loadMore();
    expect(history.find(idOf(named))?.label?.name).toBe('mine');
  });

  it('of another path than the one that is shown change nothing', async () => {
    await history.open('a.ipynb');
    await pause();
    history.replace('b.ipynb', makeVersion(20, { label: makeLabel({ pinned: true }) }));
    expect(history.pinned).toEqual([]);
    expect(history.find(idOf(makeVersion(20)))?.label).toBeNull();
  });

  it('tells that the pinned ones are not known', async () => {
    source.before = asked =>
      asked.query.pinned ? new Refusal(503, { message: 'no labels' }) : undefined;
    await history.open('a.ipynb');
    await pause();
    expect([history.phase, history.error?.message]).toEqual(['ready', 'no labels']);
    expect(history.versions.length).toBe(10);
  });
});

describe('versions', () => {
  it('are told apart also where a bucket without versions calls all of them null', () => {
    const one = makeVersion(1, { version_id: 'null', key: 'archive/a.ipynb' });
    const other = makeVersion(1, { version_id: 'null', key: 'archive/b.ipynb' });
    expect(idOf(one)).not.toBe(idOf(other));
  });

  it('have one before them that has content, unless they are the first', async () => {
    source.versions = [makeVersion(3), makeVersion(2, { is_delete_marker: true }), makeVersion(1)];
    await history.open('a.ipynb');
    expect(history.before(history.versions[0])?.version_id).toBe('v1');
    expect(history.before(history.versions[2])).toBeUndefined();
    expect(history.before(makeVersion(77))).toBeUndefined();
    expect(history.find(null)).toBeUndefined();
    expect(history.find('nonsense')).toBeUndefined();
  });

  it('tell of a choice once', async () => {
    let count = 0;
    history.changed.connect(() => (count += 1));
    history.selected = 'x';
    history.selected = 'x';
    history.comparing = null;
    expect(count).toBe(1);
  });
});
