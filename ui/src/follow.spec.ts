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
const emit = (name: string, path: string) =>
  stream.emit({
    schema_id: `https://events.jupyter.org/bookstore/${name}/v1`,
    path
  });
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
  follower = new Follower(server.api, documents as never, history, monitor);
});

afterEach(() => {
  follower.dispose();
  monitor.dispose();
});

describe('before anybody looks', () => {
  it('asks for the newest version alone', async () => {
    documents.path = 'a.ipynb';
    await monitor.ready;
    await until(() => follower.newest !== null);
    expect(follower.newest?.version_id).toBe('v3');
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
    await until(() => follower.newest !== null);
    documents.focus('b.ipynb');
    expect(follower.newest).toBeNull();
    await until(() => follower.newest !== null);
    expect(follower.newest?.version_id).toBe('v50');
    documents.focus('');
    await pause();
    expect(follower.newest).toBeNull();
  });

  it('does not take the answer for a document that was left', async () => {
    await monitor.ready;
    documents.focus('a.ipynb');
    documents.path = '';
    documents.currentChanged.emit();
    await pause();
    expect(follower.newest).toBeNull();
  });

  it('does without the newest version where it is not told', async () => {
    await monitor.ready;
    source.before = () => new Refusal(503);
    documents.focus('a.ipynb');
    await pause();
    expect(follower.newest).toBeNull();
  });

  it('does not call a marker the newest version', async () => {
    await monitor.ready;
    source.versions = [makeVersion(4, { is_delete_marker: true })];
    documents.focus('a.ipynb');
    await pause();
    expect(follower.newest).toBeNull();
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
    expect(follower.newest?.version_id).toBe('v50');
    documents.focus('');
    expect(history.phase).toBe('none');
  });

  it.each(['archived', 'restored', 'cloned'])(
    'has one more version after the event %s',
    async name => {
      source.versions = makeVersions(4, 1);
      emit(name, 'a.ipynb');
      await until(() => history.versions.length === 4);
      expect(follower.newest?.version_id).toBe('v4');
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

  it('asks for the state after a save', async () => {
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
