import { ServerConnection } from '@jupyterlab/services';

import { FakeContext, FakeShell } from './testing/doubles';
import type { Documents } from './documents';

let shell: FakeShell;
let documents: Documents;
let changes: string[];

beforeEach(() => {
  shell = new FakeShell();
  documents = shell.documents();
  changes = [];
  documents.currentChanged.connect(() => changes.push(documents.path));
});

function opened(path: string): FakeContext {
  const context = new FakeContext(path);
  shell.focus(shell.add(context));
  return context;
}

it('takes what is in front at the start', () => {
  const other = new FakeShell();
  other.currentWidget = other.add(new FakeContext('x.ipynb'));
  expect(other.documents().path).toBe('x.ipynb');
  expect(documents.path).toBe('');
});

it('stays with the document when something else is in front: a panel, a launcher, nothing', () => {
  opened('a.ipynb');
  shell.focus(shell.add());
  shell.focus(null);
  expect(documents.path).toBe('a.ipynb');
  expect(changes).toEqual(['a.ipynb']);
});

it('tells of another document once, and not of another view of the same one', () => {
  const context = opened('a.ipynb');
  shell.focus(shell.add(context));
  opened('b.ipynb');
  expect(changes).toEqual(['a.ipynb', 'b.ipynb']);
});

it('has none after its document was closed', () => {
  const context = opened('a.ipynb');
  shell.currentWidget = null;
  context.disposed.emit();
  expect([documents.current, documents.path]).toEqual([null, '']);
  expect(changes).toEqual(['a.ipynb', '']);
});

it('tells of saves and renames of the document in front only', () => {
  const saves: string[] = [];
  let renames = 0;
  documents.saved.connect((_, path) => saves.push(path));
  documents.renamed.connect(() => (renames += 1));
  const first = opened('a.ipynb');
  for (const state of [
    'started',
    'completed',
    'failed',
    'completed manually',
    'completed autosave'
  ]) {
    first.saveState.emit(state);
  }
  // One that failed too: there is something to be told.
  expect(saves).toEqual(['a.ipynb', 'a.ipynb', 'a.ipynb', 'a.ipynb']);
  first.path = 'c.ipynb';
  first.pathChanged.emit('c.ipynb');
  expect([renames, documents.path]).toEqual([1, 'c.ipynb']);
  opened('b.ipynb');
  first.saveState.emit('completed');
  first.pathChanged.emit('d.ipynb');
  expect([saves.length, renames]).toEqual([4, 1]);
});

it('knows the server’s own path, also where it is a drive of a collaboration, and none of other drives', () => {
  expect(documents.serverPath('x/a.ipynb')).toBe('x/a.ipynb');
  expect(documents.serverPath('RTC:x/a.ipynb')).toBe('x/a.ipynb');
  expect(documents.serverPath('GitHub:x/a.ipynb')).toBe('');
  opened('GitHub:x/a.ipynb');
  expect(documents.path).toBe('');
  expect(documents.current).not.toBeNull();
});

it('finds all editors of a file, each document once', () => {
  const one = new FakeContext('a.ipynb');
  const two = new FakeContext('RTC:a.ipynb');
  shell.add(one);
  shell.add(one);
  shell.add(two);
  shell.add(new FakeContext('b.ipynb'));
  shell.add(new FakeContext('GitHub:a.ipynb'));
  shell.add();
  expect(documents.open('a.ipynb')).toEqual([one, two]);
  expect(documents.open('c.ipynb')).toEqual([]);
});

it('follows nothing once it is disposed', () => {
  const saves = jest.fn();
  const context = opened('a.ipynb');
  documents.saved.connect(saves);
  documents.dispose();
  documents.dispose();
  context.saveState.emit('completed');
  opened('b.ipynb');
  expect(saves).not.toHaveBeenCalled();
  expect([documents.isDisposed, documents.current, changes]).toEqual([true, null, ['a.ipynb']]);
});

it('follows a document that is renamed, and keeps its last name once it is closed', () => {
  const context = opened('a.ipynb');
  const path = documents.follow('a.ipynb');
  const other = documents.follow('never-opened.ipynb');
  context.path = 'RTC:b.ipynb';
  expect([path(), other()]).toEqual(['b.ipynb', 'never-opened.ipynb']);
  context.isDisposed = true;
  context.path = '';
  expect(path()).toBe('b.ipynb');
});

it.each([
  [404, false],
  [503, true]
])('takes a file that is asked for and answered with %d for there: %s', async (status, there) => {
  expect(await documents.exists('a.ipynb')).toBe(true);
  const response = new Response('', { status });
  shell.contents.get.mockRejectedValue(new ServerConnection.ResponseError(response));
  expect(await documents.exists('a.ipynb')).toBe(there);
  opened('a.ipynb');
  expect(await documents.exists('a.ipynb')).toBe(true);
});
