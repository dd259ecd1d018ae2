import { Clipboard, Notification } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';

import { Actions } from './actions';
import { HistoryModel } from './history';
import { ArchiveMonitor } from './monitor';
import { FakeContext, FakeHistory, FakeServer, FakeShell, Gate } from './testing/doubles';
import {
  makeAbout,
  makeLabel,
  makeVersion,
  makeVersions,
  pause,
  Refusal,
  trans,
  until
} from './testing/doubles';

let server: FakeServer;
let source: FakeHistory;
let shell: FakeShell;
let history: HistoryModel;
let monitor: ArchiveMonitor;
let actions: Actions;
const version = makeVersion(1, { label: makeLabel({ name: 'final' }) });

const dialog = () => document.querySelector<HTMLElement>('.jp-Dialog');
const messages = () => Notification.manager.notifications.map(({ message }) => message);
const restores = () => server.requests('POST', 'restore/a.ipynb').map(asked => asked.body);

/** Wait for a dialog, and press one of its buttons. */
async function answer(button: string): Promise<string> {
  await until(() => dialog() !== null, `a dialog with ${button}`);
  const shown = dialog()!;
  await until(() => shown.querySelector('.jp-Dialog-header')?.textContent !== '', 'the title');
  const text = shown.textContent ?? '';
  const found = [...shown.querySelectorAll<HTMLElement>('.jp-Dialog-footer button')].find(
    element => element.textContent === button
  );
  if (found === undefined) {
    throw new Error(`There is no button ${button} in: ${text}`);
  }
  found.click();
  await until(() => !document.body.contains(shown));
  return text;
}

function open(path: string, isDirty = false): FakeContext {
  const context = new FakeContext(path);
  context.model.dirty = isDirty;
  shell.add(context);
  return context;
}

beforeEach(async () => {
  Notification.manager.dismiss();
  server = new FakeServer();
  server.on('GET', '', () => makeAbout());
  server.on('POST', 'restore/*', () => ({}));
  source = new FakeHistory(server, makeVersions(3, 1));
  shell = new FakeShell();
  history = new HistoryModel(server.api, 10);
  monitor = new ArchiveMonitor(server.api);
  actions = new Actions({
    api: server.api,
    documents: shell.documents(),
    history,
    manager: shell.manager as never,
    monitor,
    trans,
    locale: 'en-GB'
  });
  await history.open('a.ipynb');
  await monitor.ready;
});

afterEach(() => {
  expect(dialog()).toBeNull();
  monitor.dispose();
});

describe('restoring', () => {
  it('asks, restores, shows the file again and the new version', async () => {
    const context = open('a.ipynb');
    const done = actions.restore('a.ipynb', version);
    source.versions = makeVersions(4, 1);
    const text = await answer('Restore');
    await done;
    expect(text).toContain('Restore a.ipynb?');
    expect(text).toContain('as it was in the version “final”');
    expect(text).not.toContain('not saved');
    expect(restores()).toEqual([
      { version_id: 'v1', expected_last_modified: context.contentsModel.last_modified }
    ]);
    expect(context.save).not.toHaveBeenCalled();
    expect(context.revert).toHaveBeenCalledTimes(1);
    expect(history.versions[0].version_id).toBe('v4');
    expect(messages()).toEqual(['a.ipynb is as it was in the version “final”.']);
  });

  it('does nothing after Cancel', async () => {
    const context = open('a.ipynb', true);
    const done = actions.restore('a.ipynb', version);
    await answer('Cancel');
    await done;
    expect([restores(), context.save.mock.calls, context.revert.mock.calls]).toEqual([[], [], []]);
    expect(context.model.dirty).toBe(true);
    expect(messages()).toEqual([]);
  });

  it('saves first what is not saved, in each editor of the file, and tells that it will', async () => {
    const [clean, dirty, other] = [
      open('a.ipynb'),
      open('RTC:a.ipynb', true),
      open('b.ipynb', true)
    ];
    dirty.save.mockImplementation(async () => {
      expect(restores()).toEqual([]);
      dirty.model.dirty = false;
    });
    const done = actions.restore('a.ipynb', version);
    expect(await answer('Save and Restore')).toContain('they are saved first');
    await done;
    expect(dirty.save).toHaveBeenCalledTimes(1);
    expect(clean.save).not.toHaveBeenCalled();
    expect(other.save).not.toHaveBeenCalled();
    expect(restores().length).toBe(1);
    expect([clean, dirty, other].map(context => context.revert.mock.calls.length)).toEqual([
      1, 1, 0
    ]);
  });

  it('saves also what was typed while the question was asked', async () => {
    const context = open('a.ipynb');
    const done = actions.restore('a.ipynb', version);
    await until(() => dialog() !== null);
    context.model.dirty = true;
    await answer('Restore');
    await done;
    expect(context.save).toHaveBeenCalledTimes(1);
    expect(restores().length).toBe(1);
    expect(context.revert).toHaveBeenCalledTimes(1);
  });

  it('does nothing where the save fails', async () => {
    const context = open('a.ipynb', true);
    context.save.mockRejectedValue(new Error('The disk is full.'));
    const done = actions.restore('a.ipynb', version);
    await answer('Save and Restore');
    await done; // JupyterLab itself has told why
    expect(restores()).toEqual([]);
    expect(messages()).toEqual([]);
    expect(context.revert).not.toHaveBeenCalled();
    expect(context.model.dirty).toBe(true);
  });

  it('does nothing where the save ends without an error and without saving, as after a refused question', async () => {
    const context = open('a.ipynb', true);
    context.save.mockImplementation(async () => undefined);
    const done = actions.restore('a.ipynb', version);
    await answer('Save and Restore');
    expect(await answer('Close')).toContain('a.ipynb is not saved');
    await done;
    expect(restores()).toEqual([]);
    expect(context.revert).not.toHaveBeenCalled();
  });

  it('asks again where the file was changed on disk, and forces only after that', async () => {
    const context = open('a.ipynb');
    server.on('POST', 'restore/*', asked =>
      (asked.body as { force?: boolean }).force ? {} : new Refusal(409, { message: 'changed' })
    );
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    expect(await answer('Restore Anyway')).toContain('a.ipynb was changed on disk');
    await done;
    expect(restores().length).toBe(2);
    expect(restores()[1]).toEqual({ version_id: 'v1', force: true });
    expect(context.revert).toHaveBeenCalledTimes(1);
  });

  it('leaves the file alone where the second question is answered with no', async () => {
    const context = open('a.ipynb');
    server.on('POST', 'restore/*', () => new Refusal(409, { message: 'changed' }));
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    await until(() => dialog() !== null);
    // Enter is not what writes over something.
    expect(document.activeElement?.textContent).toBe('Cancel');
    await answer('Cancel');
    await done;
    expect(restores().length).toBe(1);
    expect(context.revert).not.toHaveBeenCalled();
    expect(messages()).toEqual([]);
  });

  it('tells what the server says where it fails, the first time or the second', async () => {
    const context = open('a.ipynb');
    server.on(
      'POST',
      'restore/*',
      () => new Refusal(503, { message: 'No way to S3.', hint: 'Check it.' })
    );
    let done = actions.restore('a.ipynb', version);
    await answer('Restore');
    expect(await answer('Close')).toContain('No way to S3.Check it.');
    await done;
    server.on('POST', 'restore/*', asked =>
      (asked.body as { force?: boolean }).force
        ? new Refusal(500, { message: 'Broken.' })
        : new Refusal(409)
    );
    done = actions.restore('a.ipynb', version);
    await answer('Restore');
    await answer('Restore Anyway');
    expect(await answer('Close')).toContain('Broken.');
    await done;
    expect(context.revert).not.toHaveBeenCalled();
    expect(messages()).toEqual([]);
  });

  it.each([
    ['Show the Restored File', 1],
    ['Cancel', 0]
  ])('does not throw away what was typed meanwhile unasked: %s', async (button, reverted) => {
    const context = open('a.ipynb');
    server.on('POST', 'restore/*', () => {
      context.typed = 'from somebody else';
      return {};
    });
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    expect(await answer(button)).toContain('Something was typed meanwhile');
    await done;
    expect(context.revert).toHaveBeenCalledTimes(reverted);
    expect(restores().length).toBe(1);
  });

  it('saves again what came while it was saved', async () => {
    const context = open('a.ipynb', true);
    const written: string[] = [];
    context.save.mockImplementation(() => {
      written.push(context.typed);
      if (written.length === 1) {
        context.typed = 'formatted';
      }
      context.model.dirty = false;
      return Promise.resolve();
    });
    const done = actions.restore('a.ipynb', version);
    await answer('Save and Restore');
    await done;
    expect(written).toEqual(['a text', 'formatted']);
    expect(context.revert).toHaveBeenCalledTimes(1);
  });

  it('lets nothing be typed while it is done, and says what is done', async () => {
    const context = open('a.ipynb');
    const editor = document.body.appendChild(document.createElement('textarea'));
    editor.focus();
    const gate = new Gate();
    server.on('POST', 'restore/*', async () => {
      await gate.passed;
      return {};
    });
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    const curtain = () => document.querySelector('.jp-bookstore-curtain');
    await until(() => curtain() !== null);
    expect(curtain()?.textContent).toBe('Restoring a.ipynb…');
    const key = new KeyboardEvent('keydown', { key: 'x', bubbles: true, cancelable: true });
    editor.focus();
    expect(editor.dispatchEvent(key)).toBe(false);
    expect(document.activeElement).toBe(curtain());
    gate.open();
    await done;
    expect(curtain()).toBeNull();
    expect(context.revert).toHaveBeenCalledTimes(1);
    expect(document.activeElement).toBe(editor);
    editor.remove();
  });

  it('shows an empty text too, which the editor itself takes for none', async () => {
    const context = open('a.ipynb');
    const done = actions.restore('a.ipynb', { ...version, size: 0 });
    await answer('Restore');
    await done;
    expect([context.typed, context.model.dirty]).toEqual(['', false]);
  });

  it('tells that the file is restored where the editor cannot show it, and goes on with the others', async () => {
    const [broken, other] = [open('a.ipynb'), open('RTC:a.ipynb')];
    broken.revert.mockRejectedValue(new Error('No way.'));
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    expect(await answer('Close')).toContain('The file is restored, but');
    await done;
    expect(other.revert).toHaveBeenCalledTimes(1);
    expect(messages()).toEqual([]);
  });

  it('tells that a file is made anew', async () => {
    const gone = new Response('', { status: 404 });
    shell.contents.get.mockRejectedValue(new ServerConnection.ResponseError(gone));
    const done = actions.restore('a.ipynb', version);
    expect(await answer('Restore')).toContain('it is made anew');
    await done;
    expect(restores().length).toBe(1);
  });

  it('works for a file that is not open', async () => {
    const done = actions.restore('a.ipynb', version);
    await answer('Restore');
    await done;
    expect(restores()).toEqual([{ version_id: 'v1' }]);
  });
});

describe('naming', () => {
  beforeEach(() => {
    server.on('PATCH', 'label/*', asked => {
      const { version_id, ...said } = asked.body as Record<string, unknown>;
      return makeVersion(Number(String(version_id).slice(1)), { label: makeLabel(said) });
    });
  });

  it('takes what was written, without spaces around it, into the history', async () => {
    const done = actions.label('a.ipynb', history.versions[0]);
    await until(() => dialog() !== null);
    dialog()!.querySelector('input')!.value = '  for the board ';
    dialog()!.querySelector('textarea')!.value = 'a note\n';
    await answer('Save');
    await done;
    expect(server.requests('PATCH', 'label/a.ipynb')[0].body).toEqual({
      version_id: 'v3',
      name: 'for the board',
      note: 'a note'
    });
    expect(history.versions[0].label?.name).toBe('for the board');
  });

  it('shows the name there is, and changes nothing after Cancel', async () => {
    const done = actions.label('a.ipynb', version);
    await until(() => dialog() !== null);
    expect(dialog()!.querySelector('input')!.value).toBe('final');
    await answer('Cancel');
    await done;
    expect(server.requests('PATCH', '*')).toEqual([]);
  });

  it('keeps what was written where it fails, and asks again', async () => {
    let isAway = true;
    server.on('PATCH', 'label/*', () =>
      isAway
        ? new Refusal(503, { message: 'Away.' })
        : makeVersion(3, { label: makeLabel({ name: 'n', note: 'long' }) })
    );
    const done = actions.label('a.ipynb', history.versions[0]);
    await until(() => dialog() !== null);
    dialog()!.querySelector('input')!.value = 'n';
    dialog()!.querySelector('textarea')!.value = 'long';
    await answer('Save');
    await answer('Close');
    await until(() => dialog() !== null);
    expect(dialog()!.querySelector('textarea')!.value).toBe('long');
    isAway = false;
    await answer('Save');
    await done;
  });

  it('tells why it failed', async () => {
    server.on('PATCH', 'label/*', () => new Refusal(403, { message: 'Denied.' }));
    const done = actions.togglePin('a.ipynb', history.versions[0]);
    expect(await answer('Close')).toContain('The version could not be pinned');
    await done;
    expect(history.pinned).toEqual([]);
  });

  it('pins, and lets go', async () => {
    await actions.togglePin('a.ipynb', history.versions[1]);
    expect(history.pinned.map(pinned => pinned.version_id)).toEqual(['v2']);
    await actions.togglePin('a.ipynb', history.versions[1]);
    expect(history.pinned).toEqual([]);
    expect(server.requests('PATCH', '*').map(asked => asked.body)).toEqual([
      { version_id: 'v2', pinned: true },
      { version_id: 'v2', pinned: false }
    ]);
  });
});

describe('publishing', () => {
  const published = {
    path: 'a.ipynb',
    key: 'published/a.ipynb',
    s3_path: 's3://bucket/published/a.ipynb',
    versionID: 'p1'
  };

  beforeEach(() => {
    server.on('PUT', 'publish/*', () => published);
  });

  it('asks, saves, publishes and shows the address', async () => {
    const context = open('a.ipynb', true);
    const copied = jest.spyOn(Clipboard, 'copyToSystem').mockImplementation(() => undefined);
    const done = actions.publish('a.ipynb', true);
    expect(await answer('Publish')).toContain('Changes that are not saved are saved first.');
    await until(() => dialog() !== null);
    expect(dialog()!.querySelector('a')?.href).toBe(
      server.api.clonePageUrl('bucket', 'published/a.ipynb', 'p1')
    );
    expect(await answer('Copy Address')).toContain('s3://bucket/published/a.ipynb');
    await done;
    expect(context.save).toHaveBeenCalledTimes(1);
    expect(copied).toHaveBeenCalledWith('s3://bucket/published/a.ipynb');
  });

  it('does not ask where the person does not want to be asked, but saves', async () => {
    const context = open('a.ipynb', true);
    const done = actions.publish('a.ipynb', false);
    expect(await answer('Close')).toContain('a.ipynb is published');
    await done;
    expect(context.save).toHaveBeenCalledTimes(1);
  });

  it('publishes nothing after Cancel, nor where the save fails', async () => {
    const context = open('a.ipynb', true);
    let done = actions.publish('a.ipynb', true);
    await answer('Cancel');
    await done;
    expect(context.save).not.toHaveBeenCalled();
    context.save.mockRejectedValue(new Error('full'));
    done = actions.publish('a.ipynb', true);
    await answer('Publish');
    await done;
    expect(server.requests('PUT', '*')).toEqual([]);
  });

  it('offers no page to clone where there is none, and no version where the bucket has none', async () => {
    server.on('GET', '', () => ({ ...makeAbout(), workspace_clonable: false }));
    server.on('PUT', 'publish/*', () => ({ ...published, versionID: null }));
    await monitor.refresh();
    const done = actions.publish('a.ipynb', false);
    await until(() => dialog() !== null);
    expect(dialog()!.querySelector('a')).toBeNull();
    const text = await answer('Close');
    await done;
    expect(text).not.toContain('Copy Link');
    expect(text).not.toContain('Version');
  });

  it('tells why it failed', async () => {
    server.on('PUT', 'publish/*', () => new Refusal(413, { message: 'Too large.' }));
    const done = actions.publish('a.ipynb', false);
    expect(await answer('Close')).toContain('Too large.');
    await done;
  });
});

describe('a copy', () => {
  it('is made beside the file, and opened', async () => {
    server.on('POST', 'clone', () => ({
      path: 'x/a-2.ipynb',
      name: 'a-2.ipynb',
      type: 'notebook'
    }));
    const saved_at = new Date(2026, 10, 2, 4, 5, 6).toISOString();
    await actions.openAsNew('x/a.ipynb', makeVersion(2, { saved_at }));
    expect(server.requests('POST', 'clone')[0].body).toEqual({
      s3_bucket: 'bucket',
      s3_key: 'archive/a.ipynb',
      s3_version_id: 'v2',
      target_path: 'x/a-20261102-040506.ipynb'
    });
    expect(shell.manager.openOrReveal).toHaveBeenCalledWith('x/a-2.ipynb');
    expect(messages()).toEqual(['The version is the new file x/a-2.ipynb.']);
  });

  it('is not opened where it was not made', async () => {
    server.on('POST', 'clone', () => new Refusal(404, { message: 'No such version.' }));
    const done = actions.openAsNew('a.ipynb', version);
    expect(await answer('Close')).toContain('No such version.');
    await done;
    expect(shell.manager.openOrReveal).not.toHaveBeenCalled();
  });

  it('of the link is that of the page for this version', () => {
    const copied = jest.spyOn(Clipboard, 'copyToSystem').mockImplementation(() => undefined);
    actions.copyLink(version);
    expect(copied).toHaveBeenCalledWith(server.api.clonePageUrl('bucket', 'archive/a.ipynb', 'v1'));
  });
});

it('does not mix two questions: the first is answered before the second is asked', async () => {
  const gate = new Gate();
  const context = open('a.ipynb', true);
  context.save.mockImplementation(async () => {
    await gate.passed;
    context.model.dirty = false;
  });
  const done = actions.restore('a.ipynb', version);
  await answer('Save and Restore');
  await pause();
  expect(restores()).toEqual([]);
  gate.open();
  await done;
  expect(restores().length).toBe(1);
});
