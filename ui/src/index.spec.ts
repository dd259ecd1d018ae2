import { Notification } from '@jupyterlab/apputils';
import { StatusBar } from '@jupyterlab/statusbar';
import { CommandRegistry } from '@lumino/commands';
import { MessageLoop } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import plugin from './index';
import {
  FakeContext,
  FakeHistory,
  FakeServer,
  FakeShell,
  makeAbout,
  makeVersions,
  pause,
  until
} from './testing/doubles';

interface ISettings {
  announceTrouble: boolean;
  confirmPublish: boolean;
  pageSize: number;
  showStatus: boolean;
}

class FakeSettings {
  readonly changed = new Signal<this, void>(this);
  composite: ISettings = {
    announceTrouble: true,
    confirmPublish: true,
    pageSize: 50,
    showStatus: true
  };

  change(other: Partial<ISettings>): void {
    this.composite = { ...this.composite, ...other };
    this.changed.emit();
  }
}

const trouble = { code: 'Denied', message: 'It is denied.', hint: '', since: null };

let server: FakeServer;
let settings: FakeSettings;
/** The settings come when the test says so. */
let give: (settings: FakeSettings) => void;
let refuse: (error: Error) => void;
let added: Widget[];
let bar: StatusBar | null;

/** Start the plugin with one document in front, and its panel on the screen. */
async function start(withStatusBar = true): Promise<void> {
  const shell = new FakeShell();
  added = [];
  shell.focus(shell.add(new FakeContext('a.ipynb')));
  const application = {
    shell: Object.assign(shell, {
      add(what?: Widget | FakeContext): Widget {
        added.push(what as Widget);
        Widget.attach(what as Widget, document.body);
        return what as Widget;
      }
    }),
    commands: new CommandRegistry(),
    restored: Promise.resolve(),
    serviceManager: {
      serverSettings: server.api['_settings'],
      contents: shell.contents,
      events: { stream: new Signal<object, object>({}) }
    }
  };
  const loaded = new Promise<FakeSettings>((resolve, reject) => {
    give = resolve;
    refuse = reject;
  });
  bar = withStatusBar ? new StatusBar() : null;
  const { activate } = plugin;
  // In the order of what the plugin requires, and of what it takes if there is any.
  await activate(
    application as never,
    shell.manager,
    {},
    {},
    null,
    null,
    null,
    { load: () => loaded },
    bar,
    null,
    null
  );
  await until(() => server.requests('GET', '').length > 0);
  await pause();
}

const limits = () =>
  server
    .requests('GET', 'versions/*')
    .flatMap(({ query }) => (query.limit === undefined ? [] : [query.limit]));
const told = () => Notification.manager.notifications.map(({ message }) => message);
const item = () =>
  added.concat(bar === null ? [] : widgetsOf(bar)).find(widget => {
    return widget.hasClass('jp-bookstore-status-item');
  })!;

function widgetsOf(widget: Widget): Widget[] {
  const children = [...(widget.layout ?? [])];
  return children.concat(children.flatMap(widgetsOf));
}

beforeEach(() => {
  Notification.manager.dismiss();
  server = new FakeServer();
  server.on('GET', '', () => makeAbout());
  new FakeHistory(server, makeVersions(30, 1));
  settings = new FakeSettings();
});

afterEach(() => {
  added.forEach(widget => widget.dispose());
  bar?.dispose();
});

it('asks for as many versions as the settings say, from the first time on', async () => {
  await start();
  expect(limits()).not.toContain('50');
  settings.composite.pageSize = 10;
  give(settings);
  await until(() => limits().includes('10'));
  expect(limits()).not.toContain('50');
});

it('announces no trouble where the settings, which come later, say so', async () => {
  server.on('GET', '', () => makeAbout({ state: 'trouble', problems: [trouble] }));
  await start();
  expect(told()).toEqual([]);
  settings.composite.announceTrouble = false;
  give(settings);
  await until(() => limits().includes('50'));
  expect(told()).toEqual([]);
});

it('announces trouble, and shows the history, also where the settings cannot be read', async () => {
  server.on('GET', '', () => makeAbout({ state: 'trouble', problems: [trouble] }));
  await start();
  refuse(new Error('no such settings'));
  await until(() => limits().includes('50'));
  expect(told().sort()).toEqual([
    'It is denied.',
    'The settings of bookstore could not be read: no such settings'
  ]);
});

it('does not wait for ever for the settings', async () => {
  await start();
  await until(() => limits().includes('50'));
});

it.each([true, false])(
  'shows and hides the status as the settings say, with a status bar: %p',
  async withStatusBar => {
    await start(withStatusBar);
    give(settings);
    await pause();
    expect(item().isHidden).toBe(false);
    settings.change({ showStatus: false });
    if (bar !== null) {
      // As it does when the window is resized, or another item comes.
      MessageLoop.sendMessage(bar, Widget.Msg.UpdateRequest);
    }
    expect(item().isHidden).toBe(true);
    settings.change({ showStatus: true });
    expect(item().isHidden).toBe(false);
  }
);
