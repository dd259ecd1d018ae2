import { StatusBar } from '@jupyterlab/statusbar';
import { MessageLoop } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import type { IInFront } from './follow';
import type { IArchiveStatus } from './interfaces';
import type { State } from './monitor';
import { showState, shownState, StatusItem } from './status';
import {
  FakeHistory,
  FakeServer,
  makeAbout,
  makeStatus,
  makeVersions,
  pause,
  Refusal,
  trans,
  until
} from './testing/doubles';
import { ArchiveMonitor } from './monitor';

const problem = {
  code: 'StoreUnreachable',
  message: 'No way to S3.',
  hint: 'Check it.',
  since: null
};
const at = (hour: number) => new Date(2026, 10, 20, hour, 0, 0).toISOString();

const inFront = (other: Partial<IInFront> = {}): IInFront => ({
  path: 'a.ipynb',
  isElsewhere: false,
  isArchived: true,
  newest: null,
  ...other
});

function shown(
  state: State,
  status: Partial<IArchiveStatus> | null,
  other: Partial<IInFront> = {},
  error: ApiError | null = null
) {
  const told = status === null ? null : makeStatus(status);
  return shownState({ state, status: told, error }, inFront(other), 'en-GB', trans);
}

describe('shownState', () => {
  it('tells that there is no archive, and why', () => {
    const { text, title, icon } = shown('off', { problems: [problem] });
    expect([text, title, icon.name]).toEqual([
      'Not archived',
      'No way to S3.\nCheck it.',
      'bookstore:waiting'
    ]);
  });

  it('tells how much waits, first of all', () => {
    expect(shown('trouble', { waiting: 3, problems: [problem] }).text).toBe('3 saves wait');
    expect(shown('trouble', { waiting: 3, problems: [problem] }).title).toBe(
      'No way to S3.\nCheck it.'
    );
    expect(shown('trouble', { waiting: 3, problems: [problem] }).icon.name).toBe(
      'bookstore:trouble'
    );
    expect(shown('waiting', { waiting: 1 }).text).toBe('1 save waits');
    expect(shown('waiting', { waiting: 1 }).title).toBe('On the way to s3://bucket/archive');
    expect(shown('waiting', { waiting: 1 }).icon.name).toBe('bookstore:waiting');
  });

  it('tells of trouble while nothing waits, with and without a hint', () => {
    expect(shown('trouble', { problems: [problem] }).text).toBe('Archive: trouble');
    expect(shown('trouble', { problems: [{ ...problem, hint: '' }] }).title).toBe('No way to S3.');
    expect(shown('trouble', {}).title).toBe('The archive is in trouble.');
  });

  it('tells that there is no answer', () => {
    const away = shown('away', { waiting: 2 }, {}, new ApiError(0, 'Failed to fetch'));
    expect([away.text, away.title, away.icon.name]).toEqual([
      'Archive: no answer',
      'Failed to fetch',
      'bookstore:trouble'
    ]);
    expect(shown('unknown', null).text).toBe('Archive: not known');
    expect(shown('unknown', null).title).toBe('');
  });

  it('is ready before there is a version', () => {
    expect(shown('ok', {}).text).toBe('Archive: ready');
    expect(shown('ok', {}).title).toBe('Each save becomes a version.');
    expect(shown('ok', {}, { newest: { version_id: 'v1', saved_at: 'x' } }).text).toBe(
      'Archive: ready'
    );
  });

  it('promises nothing for a document of which it is not known, or where there is none', () => {
    for (const other of [{ isArchived: null }, { isArchived: null, path: '' }]) {
      const { text, title } = shown('ok', {}, other);
      expect([text, title]).toEqual(['Archive: ready', 's3://bucket/archive']);
    }
  });

  it('does not call safe what is left out, though it has old versions', () => {
    const newest = { version_id: 'v7', saved_at: at(14) };
    const { text, title, icon, spoken } = shown('ok', {}, { isArchived: false, newest });
    expect([text, spoken, icon.name]).toEqual([
      'Not archived',
      'Not archived',
      'bookstore:waiting'
    ]);
    expect(title).toBe('archive_globs leaves the document out: its saves become no versions.');
  });

  it('does not call safe what is none of the server’s', () => {
    const { text, title } = shown('ok', {}, { path: '', isElsewhere: true, isArchived: null });
    expect(text).toBe('Not archived');
    expect(title).toMatch(/on another drive/);
  });

  it('tells when the document in front was saved, and as which version', () => {
    const { text, title, icon } = shown(
      'ok',
      {},
      { newest: { version_id: 'v7', saved_at: at(14) } }
    );
    expect(text).toBe('Archived 14:00:00');
    expect(title).toBe('Saved 20 Nov 2026, 14:00:00, version v7');
    expect(icon.name).toBe('bookstore:archived');
    expect(shown('ok', {}, { newest: { version_id: null, saved_at: at(14) } }).title).toMatch(
      /version $/
    );
  });

  it('speaks of a state, not of each save', () => {
    const spoken = [14, 15].map(
      hour => shown('ok', {}, { newest: { version_id: 'v7', saved_at: at(hour) } }).spoken
    );
    expect(spoken).toEqual(['Archived', 'Archived']);
    expect(shown('waiting', { waiting: 1 }).spoken).toBe(shown('waiting', { waiting: 2 }).spoken);
    expect(shown('trouble', { waiting: 1 }).spoken).toBe('Archive: trouble');
    expect(shown('away', {}).spoken).toBe('Archive: no answer');
  });
});

describe('with a server', () => {
  let server: FakeServer;
  let source: FakeHistory;
  let monitor: ArchiveMonitor;
  const inFrontChanged = new Signal<object, void>({});
  const documents = { path: 'a.ipynb', current: {} as never };
  const follower = { inFront: inFront(), inFrontChanged };
  const parts = () => ({
    api: server.api,
    documents,
    follower: follower as never,
    monitor,
    locale: 'en-GB',
    trans
  });

  beforeEach(() => {
    server = new FakeServer();
    server.on('GET', '', () => makeAbout());
    source = new FakeHistory(server, makeVersions(3, 1));
    monitor = new ArchiveMonitor(server.api);
    documents.path = 'a.ipynb';
  });

  afterEach(() => monitor.dispose());

  /** What the dialog says. */
  async function told(): Promise<{ title: string; text: string }> {
    const closed = showState(parts());
    const header = () => document.querySelector('.jp-Dialog-header')?.textContent ?? '';
    await until(() => header() !== '');
    await pause();
    const title = header();
    const text = document.querySelector('.jp-Dialog-body')?.textContent ?? '';
    const buttons = () => document.querySelectorAll<HTMLElement>('.jp-Dialog-footer button');
    await until(() => buttons().length > 0);
    [...buttons()].pop()?.click();
    await closed;
    return { title, text };
  }

  it('the dialog tells that the document in front is left out', async () => {
    expect((await told()).title).toBe('Everything is archived');
    source.isArchived = false;
    const { title, text } = await told();
    expect(title).toBe('The document in front is not archived');
    expect(text).toMatch(/archive_globs leaves the document out/);
    server.on('GET', '', () => makeAbout({ state: 'waiting', waiting: 1 }));
    expect((await told()).title).toBe('Saves are on their way');
  });

  it('the dialog tells that the document in front is none of the server’s', async () => {
    documents.path = '';
    const { title, text } = await told();
    expect(title).toBe('The document in front is not archived');
    expect(text).toMatch(/on another drive/);
    expect(server.requests('GET', 'versions/*')).toEqual([]);
  });

  it('the dialog tells the state also where the history does not come', async () => {
    source.before = () => new Refusal(503);
    expect((await told()).title).toBe('Everything is archived');
  });

  it('the item speaks outside of its button, and only when the state changes', async () => {
    await monitor.refresh();
    follower.inFront = inFront({ newest: { version_id: 'v1', saved_at: at(14) } });
    const item = new StatusItem(parts());
    Widget.attach(item, document.body);
    await until(() => item.node.querySelector('[role="status"]') !== null);
    const region = item.node.querySelector('[role="status"]');
    expect(item.node.querySelector('button [role="status"]')).toBeNull();
    expect(region?.className).toBe('jp-bookstore-sr-only');
    expect(region?.textContent).toBe('Archived');
    let changes = 0;
    const observer = new MutationObserver(() => (changes += 1));
    observer.observe(region as Node, { childList: true, characterData: true, subtree: true });
    follower.inFront = inFront({ newest: { version_id: 'v2', saved_at: at(15) } });
    inFrontChanged.emit();
    await until(() => item.node.textContent?.includes('Archived 15:00:00') === true);
    expect(changes).toBe(0);
    follower.inFront = inFront({ isArchived: false });
    inFrontChanged.emit();
    await until(() => region?.textContent === 'Not archived');
    await pause();
    expect(changes).toBe(1);
    observer.disconnect();
    item.dispose();
  });

  it('the item is shown and hidden in a status bar, which goes by what it is told', () => {
    const item = new StatusItem(parts());
    const bar = new StatusBar();
    bar.registerStatusItem('x', {
      item,
      isActive: () => item.isActive,
      activeStateChanged: item.activeStateChanged
    });
    item.isActive = false;
    MessageLoop.sendMessage(bar, Widget.Msg.UpdateRequest);
    expect(item.isHidden).toBe(true);
    item.isActive = true;
    MessageLoop.sendMessage(bar, Widget.Msg.UpdateRequest);
    expect(item.isHidden).toBe(false);
    bar.dispose();
  });

  it('the item is shown and hidden without a status bar', () => {
    const item = new StatusItem(parts());
    const told: boolean[] = [];
    item.activeStateChanged.connect(() => told.push(item.isActive));
    item.isActive = false;
    expect(item.isHidden).toBe(true);
    item.isActive = true;
    expect(told).toEqual([false, true]);
    expect(item.isHidden).toBe(false);
    item.dispose();
  });
});
