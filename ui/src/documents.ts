/**
 * The documents that are open, and the one that is in front.
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import { ServerConnection } from '@jupyterlab/services';
import type { Contents } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

/** Real-time collaboration shows the server's files as a drive of its own. */
const SERVER_DRIVES = new Set(['', 'RTC']);

/** A document in front of the person. */
export type DocumentContext = DocumentRegistry.Context;

/** Follows the document in front: whatever else is clicked, it stays until another one comes. */
export class Documents implements IDisposable {
  constructor(
    private readonly _shell: JupyterFrontEnd.IShell,
    private readonly _manager: IDocumentManager,
    private readonly _contents: Contents.IManager
  ) {
    this._shell.currentChanged?.connect(this._onCurrentChanged, this);
    this._onCurrentChanged();
  }

  /** Emitted when another document comes to the front, or there is none any more. */
  get currentChanged(): ISignal<this, void> {
    return this._currentChanged;
  }

  /** Emitted when the document in front has another name. */
  get renamed(): ISignal<this, void> {
    return this._renamed;
  }

  /** Emitted when a save of the document in front has ended, well or not: its path on the server. */
  get saved(): ISignal<this, string> {
    return this._saved;
  }

  /** The document in front. */
  get current(): DocumentContext | null {
    return this._current;
  }

  /** The path on the server of the document in front; empty if there is none, or it is not the server's. */
  get path(): string {
    return this._current === null ? '' : this.serverPath(this._current.path);
  }

  /** The server's own path of a path with a drive's name; empty if it is another server's. */
  serverPath(path: string): string {
    const drive = this._contents.driveName(path);
    return SERVER_DRIVES.has(drive) ? this._contents.localPath(path) : '';
  }

  /** Whether there is a file of a path; one that cannot be asked for counts as there. */
  async exists(path: string): Promise<boolean> {
    if (this.open(path).length > 0) {
      return true;
    }
    try {
      await this._contents.get(path, { content: false });
      return true;
    } catch (error) {
      return !(error instanceof ServerConnection.ResponseError && error.response.status === 404);
    }
  }

  /**
   * A path that follows the document that is open under it, if it is renamed.
   *
   * @returns What to call for the path as it is then.
   */
  follow(path: string): () => string {
    const [context] = this.open(path);
    let last = path;
    return () => {
      if (context !== undefined && !context.isDisposed) {
        last = this.serverPath(context.path);
      }
      return last;
    };
  }

  /** The open documents of a path on the server: the file, perhaps through two editors. */
  open(path: string): DocumentContext[] {
    const found = new Set<DocumentContext>();
    for (const widget of this._shell.widgets('main')) {
      const context = this._manager.contextForWidget(widget);
      if (context !== undefined && this.serverPath(context.path) === path) {
        found.add(context);
      }
    }
    return [...found];
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._leave();
      Signal.clearData(this);
    }
  }

  private _onCurrentChanged(): void {
    const widget: Widget | null = this._shell.currentWidget;
    const context = widget === null ? undefined : this._manager.contextForWidget(widget);
    if (context === undefined || context === this._current) {
      return;
    }
    this._leave();
    this._current = context;
    this._current.pathChanged.connect(this._onPathChanged, this);
    this._current.saveState.connect(this._onSaveState, this);
    this._current.disposed.connect(this._onDisposed, this);
    this._currentChanged.emit();
  }

  private _leave(): void {
    if (this._current !== null) {
      this._current.pathChanged.disconnect(this._onPathChanged, this);
      this._current.saveState.disconnect(this._onSaveState, this);
      this._current.disposed.disconnect(this._onDisposed, this);
      this._current = null;
    }
  }

  private _onDisposed(): void {
    this._leave();
    this._currentChanged.emit();
  }

  private _onPathChanged(): void {
    this._renamed.emit();
  }

  private _onSaveState(_: unknown, state: DocumentRegistry.SaveState): void {
    if (state !== 'started') {
      this._saved.emit(this.path);
    }
  }

  private _current: DocumentContext | null = null;
  private readonly _currentChanged = new Signal<this, void>(this);
  private _isDisposed = false;
  private readonly _renamed = new Signal<this, void>(this);
  private readonly _saved = new Signal<this, string>(this);
}
