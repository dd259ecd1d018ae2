import { MainAreaWidget } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { FAILED, Presenter } from './presenter';
import { pause, trans, until } from './testing/doubles';

function make(): MainAreaWidget {
  const widget = new MainAreaWidget({ content: new Widget() });
  widget.title.label = 'A version';
  return widget;
}

describe('in JupyterLab', () => {
  const widgets: Widget[] = [];
  const shell = { add: jest.fn((widget: Widget) => widgets.push(widget)) };
  const labShell = { widgets: () => widgets, activateById: jest.fn() };
  const presenter = new Presenter(shell as never, labShell as never, trans);

  it('is a tab beside the document, which comes to the front instead of being made twice', () => {
    const maker = jest.fn(make);
    presenter.show('one', maker);
    presenter.show('one', maker);
    presenter.show('two', maker);
    expect(maker).toHaveBeenCalledTimes(2);
    expect(widgets.map(widget => widget.id)).toEqual(['one', 'two']);
    expect(shell.add).toHaveBeenCalledWith(widgets[0], 'main', { mode: 'tab-after' });
    expect(labShell.activateById.mock.calls).toEqual([['one'], ['one'], ['two']]);
    expect(document.querySelector('.jp-Dialog')).toBeNull();
  });

  it('is made anew where it only told that it failed', () => {
    presenter.show('three', () => {
      const failed = make();
      failed.addClass(FAILED);
      return failed;
    });
    const failed = widgets[widgets.length - 1];
    const maker = jest.fn(make);
    presenter.show('three', maker);
    expect(maker).toHaveBeenCalledTimes(1);
    expect(failed.isDisposed).toBe(true);
    widgets.splice(widgets.indexOf(failed), 1);
  });

  it('stays while a question is asked', () => {
    const then = jest.fn();
    presenter.leave(then);
    expect(then).toHaveBeenCalledTimes(1);
    expect(widgets.every(widget => !widget.isDisposed)).toBe(true);
  });
});

describe('in Notebook', () => {
  const shell = { add: jest.fn() };
  const presenter = new Presenter(shell as never, null, trans);
  const dialogs = () => [...document.querySelectorAll('.jp-bookstore-over')];

  it('lies over the document, until it is closed or a question is asked', async () => {
    const shown = make();
    presenter.show('one', () => shown);
    await until(() => dialogs().length === 1);
    expect(shell.add).not.toHaveBeenCalled();
    await until(() => dialogs()[0].textContent?.includes('A version') === true, 'the title');
    expect(dialogs()[0].contains(shown.node)).toBe(true);
    expect(dialogs()[0].getAttribute('aria-label')).toBe('A version');

    const then = jest.fn(() => expect(dialogs().length).toBeLessThanOrEqual(1));
    presenter.leave(then);
    await until(() => dialogs().length === 0);
    expect(then).toHaveBeenCalledTimes(1);
    expect(shown.isDisposed).toBe(true);
    presenter.leave(then);
    expect(then).toHaveBeenCalledTimes(2);
  });

  it('can be shown again after it was closed', async () => {
    presenter.show('one', make);
    await until(() => dialogs().length === 1);
    document.querySelector<HTMLElement>('.jp-bookstore-over .jp-Dialog-footer button')?.click();
    await until(() => dialogs().length === 0);
    presenter.show('one', make);
    await until(() => dialogs().length === 1);
    presenter.leave(() => undefined);
    await pause();
  });
});
