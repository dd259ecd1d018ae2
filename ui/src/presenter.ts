/**
 * Where a version or a comparison is shown: a tab of JupyterLab, or a dialog over Notebook, which has one document only.
 */

import type { ILabShell, JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog } from '@jupyterlab/apputils';
import type { MainAreaWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';
import { Panel } from '@lumino/widgets';

/** What is marked so shows no more than that it failed, and is made anew when it is asked for again. */
export const FAILED = 'jp-bookstore-failed';

/** The body of the dialog, which is as large as the window allows. */
class Frame extends Panel {
  constructor(child: Widget) {
    super();
    this.addClass('jp-bookstore-frame');
    this.addWidget(child);
  }
}

/** Shows widgets where the application has room for them. */
export class Presenter {
  constructor(
    private readonly _shell: JupyterFrontEnd.IShell,
    private readonly _labShell: ILabShell | null,
    private readonly _trans: TranslationBundle
  ) {}

  /** Show what was made for an id; what is shown under it already comes to the front instead. */
  show(id: string, make: () => MainAreaWidget): void {
    if (this._labShell === null) {
      this._showOver(make());
      return;
    }
    for (const widget of this._labShell.widgets('main')) {
      if (widget.id === id && widget.hasClass(FAILED)) {
        widget.dispose();
      } else if (widget.id === id) {
        this._labShell.activateById(id);
        return;
      }
    }
    const widget = make();
    widget.id = id;
    this._shell.add(widget, 'main', { mode: 'tab-after' });
    this._labShell.activateById(id);
  }

  /** Do something that may ask questions: what lies over the document is closed first. */
  leave(then: () => void): void {
    this._dialog?.resolve(0);
    then();
  }

  private _showOver(widget: MainAreaWidget): void {
    const dialog = new Dialog({
      title: widget.title.label,
      body: new Frame(widget),
      buttons: [Dialog.cancelButton({ label: this._trans.__('Close') })],
      hasClose: true
    });
    dialog.addClass('jp-bookstore-over');
    dialog.node.setAttribute('aria-label', widget.title.label);
    this._dialog = dialog;
    void dialog.launch().finally(() => {
      dialog.dispose();
      if (this._dialog === dialog) {
        this._dialog = null;
      }
    });
  }

  private _dialog: Dialog<unknown> | null = null;
}
