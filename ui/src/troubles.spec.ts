import { Notification } from '@jupyterlab/apputils';
import { Signal } from '@lumino/signaling';

import type { IArchiveStatus } from './interfaces';
import type { State } from './monitor';
import { Gate, makeStatus, pause, trans } from './testing/doubles';
import { Troubles } from './troubles';

class FakeMonitor {
  readonly changed = new Signal<this, void>(this);
  state: State = 'unknown';
  status: IArchiveStatus | null = null;

  tell(state: State, code = '', hint = 'Do this.'): void {
    this.state = state;
    const problems = code === '' ? [] : [{ code, message: `It is ${code}.`, hint, since: null }];
    this.status = makeStatus({ state: state === 'trouble' ? 'trouble' : 'ok', problems });
    this.changed.emit();
  }
}

let monitor: FakeMonitor;
let troubles: Troubles;
const shown = () => Notification.manager.notifications.map(({ type, message }) => [type, message]);

beforeEach(async () => {
  Notification.manager.dismiss();
  monitor = new FakeMonitor();
  troubles = new Troubles(monitor as never, trans);
  await pause();
});

it('says nothing before it is known whether it is to, and then what still holds', async () => {
  const gate = new Gate();
  monitor = new FakeMonitor();
  troubles = new Troubles(monitor as never, trans, gate.passed);
  monitor.tell('trouble', 'Denied');
  await pause();
  expect(shown()).toEqual([]);
  gate.open();
  await pause();
  expect(shown()).toEqual([['warning', 'It is Denied.\nDo this.']]);
});

it('says nothing at all where it turns out that it is to be silent', async () => {
  const gate = new Gate();
  monitor = new FakeMonitor();
  troubles = new Troubles(monitor as never, trans, gate.passed);
  monitor.tell('trouble', 'Denied');
  troubles.isAnnouncing = false;
  gate.open();
  await pause();
  expect(shown()).toEqual([]);
});

it('says a trouble once, with the next step, until it is over', () => {
  monitor.tell('trouble', 'Denied');
  const [{ id }] = Notification.manager.notifications;
  monitor.tell('trouble', 'Denied');
  expect(Notification.manager.notifications[0].id).toBe(id);
  expect(shown()).toEqual([['warning', 'It is Denied.\nDo this.']]);
  expect(Notification.manager.notifications[0].options.autoClose).toBe(false);
  monitor.tell('ok');
  monitor.tell('ok');
  expect(shown()).toEqual([['success', 'The archive works again.']]);
});

it('says another trouble in place of the first', () => {
  monitor.tell('trouble', 'Denied', '');
  monitor.tell('trouble', 'Unreachable', '');
  expect(shown()).toEqual([['warning', 'It is Unreachable.']]);
});

it('is over when saves only wait, not when the server is away', () => {
  monitor.tell('trouble', 'Denied');
  monitor.tell('away');
  expect(shown().length).toBe(1);
  monitor.tell('trouble', 'Denied');
  expect(shown().length).toBe(1);
  monitor.tell('waiting');
  expect(shown()[0][0]).toBe('success');
});

it('says nothing while all is well', () => {
  for (const state of ['ok', 'waiting', 'off', 'away'] as const) {
    monitor.tell(state);
  }
  expect(shown()).toEqual([]);
});

it('says nothing where it is told to be silent', () => {
  troubles.isAnnouncing = false;
  monitor.tell('trouble', 'Denied');
  expect(shown()).toEqual([]);
  monitor.tell('ok');
  expect(shown()).toEqual([]);
});

it('takes its word back also where it was told to be silent meanwhile', () => {
  monitor.tell('trouble', 'Denied');
  troubles.isAnnouncing = false;
  monitor.tell('ok');
  expect(shown()).toEqual([]);
});
