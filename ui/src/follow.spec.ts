import type { Event } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import { Follower } from './follow';
import { HistoryModel } from './history';
import type { IAbout } from './interfaces';
import { ArchiveMonitor } from './monitor';
import {
  FakeHistory,
  FakeServer,
  makeAbout,
  makeVersion,
  makeVersions,
  Refusal
} from './testing/doubles';
import { pause, until } from './testing/doubles';

class FakeDocuments {
  path = '';
  /** Whether the document in front is none of the server's. */
  isElsewhere = false;

  get current(): object | null {
    return this.path !== '' || this.isElsewhere ? {} : null;
  }

  readonly currentChanged = new Signal<this, void>(this);
  readonly renamed = new Signal<this, void>(this);
  readonly saved = new Signal<this, string>(this);

  focus(path: string): void {
    this.path = path;
    this.currentChanged.emit();
  }
}

let server: FakeServer;
let source: FakeHistory;
let documents: FakeDocuments;
let history: HistoryModel;
let monitor: ArchiveMonitor;
let follower: Follower;
let said: IAbout;
const stream = new Signal<object, Event.Emission>({});

const limits = () =>
  server.requests('GET', 'versions/*').map(asked => asked.query.limit ?? 'pinned');
const emit = (name: string, path: string, other: object = {}) =>
  stream.emit({
    schema_id: `https://events.jupyter.org/bookstore/${name}/v1`,
    path,
    ...other
  });
const lastVersion = (path: string, version_id: string | null, saved_at: string) => ({
  path,
  key: 'k',
  version_id,
  saved_at,
  archived_at: saved_at,
  how: 'stored'
});
const newest = () => follower.inFront.newest?.version_id;
const forget = () => server.asked.splice(0);
/** Longer than what is put together to one request. */
const quiet = () => new Promise(resolve => setTimeout(resolve, 220));

beforeEach(() => {
  server = new FakeServer();
  said = makeAbout();
  server.on('GET', '', () => said);
  source = new FakeHistory(server, makeVersions(3, 1));
  new FakeHistory(server, [makeVersion(50, { path: 'b.ipynb' })], 'versions/b.ipynb');
  documents = new FakeDocuments();
  history = new HistoryModel(server.api, 10);
  monitor = new ArchiveMonitor(server.api);
  monitor.listen({ stream } as unknown as Event.IManager);
  follower = new Follower(server.api, documents as never, history, monitor, {
    first: 400,
    longest: 1000
  });
});

afterEach(() => {
  follower.dispose();
  monitor.dispose();
});

describe('before anybody looks', () => {
  it('asks for the newest version alone', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => newest() !== undefined);
    expect(newest()).toBe('v3');
    expect(limits()).toEqual(['1']);
    expect(history.phase).toBe('none');
  });

  it('asks for no history before it is known that there is an archive', async () => {
    documents.focus('a.ipynb');
    await pause();
    expect(limits()).toEqual([]);
    await monitor.ready;
    await until(() => limits().length === 1);
  });

  it.each([{ archive_valid: false }, { archive_valid: undefined }])(
    'asks for nothing where there is none: %p',
    async features => {
      said = makeAbout({ state: 'off' }, features);
      await monitor.ready;
      documents.focus('a.ipynb');
      follower.isWatched = true;
      await pause();
      expect(limits()).toEqual([]);
    }
  );

  it('follows the document in front, and forgets what was newest of the other', async () => {
    await monitor.ready;
    documents.focus('a.ipynb');
    await until(() => newest() !== undefined);
    documents.focus('b.ipynb');
    expect(newest()).toBeUndefined();
    await until(() => newest() !== undefined);
    expect(newest()).toBe('v50');
    documents.focus('');
    await pause();
    expect(newest()).toBeUndefined();
  });

  it('does not take the answer for a document that was left', async () => {
    await monitor.ready;
    documents.focus('a.ipynb');
    documents.path = '';
    documents.currentChanged.emit();
    await pause();
    expect(newest()).toBeUndefined();
  });

  it('does without the newest version where it is not told', async () => {
    await monitor.ready;
    source.before = () => new Refusal(503);
    documents.focus('a.ipynb');
    await pause();
    expect(newest()).toBeUndefined();
  });

  it('asks again for the newest version that was not told', async () => {
    await monitor.ready;
    source.before = () => new Refusal(503);
    documents.focus('a.ipynb');
    await pause();
    source.before = () => undefined;
    await until(() => newest() === 'v3');
  });

  it('goes by what is told with the state, and remembers it when another document is saved', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => newest() === 'v3');
    said = makeAbout({ last_version: lastVersion('a.ipynb', 'v9', '2026-11-20T10:00:00Z') });
    await monitor.refresh();
    expect(newest()).toBe('v9');
    said = makeAbout({ last_version: lastVersion('b.ipynb', 'v99', '2026-11-20T11:00:00Z') });
    await monitor.refresh();
    expect(newest()).toBe('v9');
    documents.focus('b.ipynb');
    expect(newest()).toBe('v99');
    await quiet();
    expect(newest()).toBe('v99');
    documents.focus('a.ipynb');
    expect(newest()).toBe('v9');
  });

  it('goes by events, those of documents too that are not in front', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => newest() === 'v3');
    let told = 0;
    follower.inFrontChanged.connect(() => (told += 1));
    emit('archived', 'b.ipynb', { version_id: 'v60', saved_at: '2026-11-20T10:00:00Z' });
    expect(told).toBe(0);
    emit('archived', 'a.ipynb', { version_id: 'v8', saved_at: '2026-11-20T10:00:00+00:00' });
    expect([told, newest()]).toEqual([1, 'v8']);
    emit('archived', 'a.ipynb', { version_id: null, saved_at: '2026-11-20T10:05:00Z' });
    expect(follower.inFront.newest).toEqual({
      version_id: 'v8',
      saved_at: '2026-11-20T10:05:00Z'
    });
    documents.focus('b.ipynb');
    expect(newest()).toBe('v60');
  });

  it('does not go back to a version that was saved earlier', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => newest() === 'v3');
    emit('archived', 'a.ipynb', { version_id: 'old', saved_at: '2020-11-20T10:00:00Z' });
    emit('archived', 'a.ipynb', { version_id: 'none', saved_at: null });
    expect(newest()).toBe('v3');
  });

  it('remembers two hundred paths, and the one in front in any case', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => newest() === 'v3');
    for (let count = 0; count < 300; count += 1) {
      emit('archived', `${count}.ipynb`, { version_id: 'v1', saved_at: '2026-11-20T10:00:00Z' });
    }
    expect(newest()).toBe('v3');
    documents.path = '299.ipynb';
    expect(newest()).toBe('v1');
    documents.path = '50.ipynb';
    expect(newest()).toBeUndefined();
  });

  it('tells whether saves of the document in front become versions', async () => {
    source.isArchived = false;
    await monitor.ready;
    expect(follower.inFront.isArchived).toBeNull();
    documents.focus('a.ipynb');
    await until(() => follower.inFront.isArchived === false);
    documents.focus('b.ipynb');
    expect(follower.inFront.isArchived).toBeNull();
    await until(() => follower.inFront.isArchived === true);
  });

  it('tells that the document in front is none of the server’s', async () => {
    await monitor.ready;
    expect(follower.inFront.isElsewhere).toBe(false);
    documents.isElsewhere = true;
    documents.focus('');
    expect(follower.inFront).toEqual({
      path: '',
      isElsewhere: true,
      isArchived: null,
      newest: null
    });
  });

  it('asks anew when the server is back, which may have other settings', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => follower.inFront.isArchived === true);
    server.on('GET', '', () => new Refusal(503));
    await monitor.refresh();
    source.isArchived = false;
    server.on('GET', '', () => said);
    await monitor.refresh();
    await until(() => follower.inFront.isArchived === false);
  });

  it('does not call a marker the newest version', async () => {
    await monitor.ready;
    source.versions = [makeVersion(4, { is_delete_marker: true })];
    documents.focus('a.ipynb');
    await pause();
    expect(newest()).toBeUndefined();
  });
});

describe('while somebody looks', () => {
  beforeEach(async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    follower.isWatched = true;
    await until(() => history.phase === 'ready');
    await pause();
    forget();
  });

  it('shows the history of the document in front', async () => {
    expect(history.path).toBe('a.ipynb');
    documents.focus('b.ipynb');
    await until(() => history.phase === 'ready' && history.path === 'b.ipynb');
    expect(newest()).toBe('v50');
    documents.focus('');
    expect(history.phase).toBe('none');
  });

  it.each(['archived', 'restored', 'cloned'])(
    'has one more version after the event %s',
    async name => {
      source.versions = makeVersions(4, 1);
      emit(name, 'a.ipynb');
      await until(() => history.versions.length === 4);
      expect(newest()).toBe('v4');
    }
  );

  it.each([
    ['archived', 'other.ipynb'],
    ['failed', 'a.ipynb']
  ])('does not ask for the history after the event %s of %s', async (name, path) => {
    emit(name, path);
    await quiet();
    expect(limits()).toEqual([]);
  });

  it('asks once for events that come together', async () => {
    for (let count = 0; count < 20; count += 1) {
      emit('archived', 'a.ipynb');
    }
    await quiet();
    expect(limits().filter(limit => limit === '10').length).toBe(1);
  });

  it('finds by the state what no event told', async () => {
    source.versions = makeVersions(4, 1);
    const last = {
      path: 'a.ipynb',
      key: 'k',
      version_id: 'v4',
      saved_at: '',
      archived_at: '',
      how: 'archived'
    };
    said = makeAbout({ last_version: last });
    await monitor.refresh();
    await until(() => history.versions.length === 4);
    forget();
    await monitor.refresh();
    await quiet();
    expect(limits()).toEqual([]);
  });

  it.each([
    ['of another path', { path: 'b.ipynb', version_id: 'v9', how: 'archived' }],
    ['that is only the old one again', { path: 'a.ipynb', version_id: null, how: 'unchanged' }]
  ])('is not behind a version %s', async (_, last) => {
    said = makeAbout({ last_version: { key: 'k', saved_at: '', archived_at: '', ...last } });
    await monitor.refresh();
    await quiet();
    expect(limits()).toEqual([]);
  });

  it('tries again as soon as the trouble is over', async () => {
    said = makeAbout({ state: 'trouble' });
    source.before = () => new Refusal(503);
    await monitor.refresh();
    await history.refresh();
    expect(history.error).not.toBeNull();
    source.before = () => undefined;
    forget();
    await monitor.refresh();
    await quiet();
    expect(limits()).toEqual([]);
    said = makeAbout();
    await monitor.refresh();
    await until(() => history.error === null);
  });

  it('tells that the newest version is another one', async () => {
    let told: string | null | undefined;
    follower.inFrontChanged.connect(() => (told = newest()));
    source.versions = makeVersions(4, 1);
    await history.refresh();
    expect(told).toBe('v4');
  });

  it('never tells the version of another document where the history does not come', async () => {
    follower.isWatched = false;
    await until(() => newest() === 'v3');
    follower.isWatched = true;
    server.on('GET', 'versions/b.ipynb', () => new Refusal(503));
    let told = 0;
    follower.inFrontChanged.connect(() => (told += 1));
    documents.focus('b.ipynb');
    expect(told).toBe(1);
    await until(() => history.phase === 'error');
    expect(follower.inFront.newest).toBeNull();
  });

  it('recovers by itself though the state was well all the time', async () => {
    source.before = () => new Refusal(503);
    await history.refresh();
    expect(history.error).not.toBeNull();
    source.before = () => undefined;
    await until(() => history.error === null);
    forget();
    await new Promise(resolve => setTimeout(resolve, 600));
    expect(limits()).toEqual([]);
  });

  it('recovers by itself from a page that did not come', async () => {
    source.versions = makeVersions(30, 1);
    await history.refresh();
    source.before = () => new Refusal(503);
    await history.loadMore();
    source.before = () => undefined;
    await until(() => history.versions.length === 20);
    expect(history.error).toBeNull();
  });

  it('tries nothing again once nobody looks', async () => {
    source.before = () => new Refusal(503);
    await history.refresh();
    source.before = () => undefined;
    follower.isWatched = false;
    await pause();
    forget();
    await new Promise(resolve => setTimeout(resolve, 600));
    expect(limits()).toEqual([]);
  });

  it('keeps the rows of a renamed document, and asks again once the rename is archived', async () => {
    const renamed = new FakeHistory(server, [], 'versions/c.ipynb');
    documents.path = 'c.ipynb';
    documents.renamed.emit();
    await quiet();
    expect(history.versions.length).toBe(3);
    renamed.versions = [makeVersion(4), ...makeVersions(3, 1)];
    emit('archived', 'c.ipynb', { version_id: 'v4', saved_at: makeVersion(4).saved_at });
    await until(() => history.versions.length === 4);
  });

  it('asks for the state after a rename', async () => {
    documents.renamed.emit();
    await pause();
    expect(server.requests('GET', '').length).toBe(1);
  });

  it('asks for the state after a save, and again while it waits', async () => {
    said = makeAbout({ state: 'waiting', waiting: 1 });
    documents.saved.emit('a.ipynb');
    await pause();
    said = makeAbout();
    await until(() => monitor.state === 'ok');
    expect(server.requests('GET', '').length).toBe(2);
  });

  it('asks for the state after a save that does not wait once', async () => {
    documents.saved.emit('a.ipynb');
    await pause();
    expect(server.requests('GET', '').length).toBe(1);
  });

  it('goes on with the history of a document that was renamed', async () => {
    new FakeHistory(server, [makeVersion(4), ...makeVersions(3, 1)], 'versions/c.ipynb');
    const phases = new Set<string>();
    history.changed.connect(() => phases.add(history.phase));
    documents.path = 'c.ipynb';
    documents.renamed.emit();
    await until(() => history.versions.length === 4);
    expect(history.path).toBe('c.ipynb');
    expect([...phases]).toEqual(['ready']);
  });

  it('asks for what came meanwhile when it is looked at again', async () => {
    follower.isWatched = false;
    source.versions = makeVersions(5, 1);
    await pause();
    forget();
    follower.isWatched = true;
    await until(() => history.versions.length === 5);
    expect(limits()).toContain('10');
  });

  it('asks for nothing once it is disposed', async () => {
    emit('archived', 'a.ipynb');
    follower.dispose();
    follower.dispose();
    documents.focus('b.ipynb');
    await quiet();
    expect(limits()).toEqual([]);
    expect(follower.isDisposed).toBe(true);
  });
});

describe('once nobody looks any more', () => {
  it('does not tell an old version as the newest', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    follower.isWatched = true;
    await until(() => history.phase === 'ready');
    follower.isWatched = false;
    await pause();
    source.versions = makeVersions(4, 1);
    emit('archived', 'a.ipynb');
    await quiet();
    forget();
    // What the status shows is told with the state; the history is asked for only when it is looked at.
    expect(limits()).toEqual([]);
  });
});
