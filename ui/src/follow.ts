/**
 * Keeps the history in step with the document in front and with what the archive tells.
 */

import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import type { BookstoreApi } from './api';
import type { Documents } from './documents';
import type { HistoryModel } from './history';
import type { IArchiveEvent, IVersion } from './interfaces';
import type { ArchiveMonitor, State } from './monitor';

/** Events after which the history of their path has one more version. */
const ADDING = new Set(['archived', 'restored', 'cloned']);

/** Milliseconds: a restore, for instance, is told twice. */
const TOGETHER = 150;

/** Keeps the history in step. */
export class Follower implements IDisposable {
  constructor(
    private readonly _api: BookstoreApi,
    private readonly _documents: Pick<Documents, 'path' | 'currentChanged' | 'renamed' | 'saved'>,
    private readonly _history: HistoryModel,
    private readonly _monitor: ArchiveMonitor
  ) {
    this._refreshSoon = new Debouncer(() => this._refresh(), TOGETHER);
    this._documents.currentChanged.connect(this._update, this);
    this._documents.renamed.connect(this._onRenamed, this);
    this._documents.saved.connect(this._onSaved, this);
    this._monitor.happened.connect(this._onHappened, this);
    this._monitor.changed.connect(this._onMonitorChanged, this);
  }

  /** Emitted when another version is the newest of the document in front. */
  get newestChanged(): ISignal<this, void> {
    return this._newestChanged;
  }

  /** The path of the document in front. */
  get path(): string {
    return this._documents.path;
  }

  /** The newest version of the document in front, as far as it is known. */
  get newest(): IVersion | null {
    if (this._history.path === this.path && this._history.phase === 'ready') {
      return this._history.versions.find(version => !version.is_delete_marker) ?? null;
    }
    return this._newest;
  }

  /** Whether somebody looks at the history; until then only the newest version is asked for. */
  get isWatched(): boolean {
    return this._isWatched;
  }

  set isWatched(value: boolean) {
    if (value !== this._isWatched) {
      this._isWatched = value;
      this._update();
    }
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._refreshSoon.dispose();
      Signal.clearData(this);
    }
  }

  private get _isArchiving(): boolean {
    return this._monitor.features?.archive_valid === true;
  }

  private _update(): void {
    if (!this._isArchiving) {
      return;
    }
    if (this._isWatched) {
      const same = this._history.path === this.path && this._history.phase === 'ready';
      void (same ? this._history.refresh() : this._history.open(this.path));
    } else {
      void this._peek();
    }
  }

  /** Ask for the newest version alone. */
  private async _peek(): Promise<void> {
    const path = this.path;
    this._newest = null;
    this._newestChanged.emit();
    if (path === '') {
      return;
    }
    try {
      const page = await this._api.versions(path, 1);
      if (path === this.path) {
        this._newest = page.versions.find(version => !version.is_delete_marker) ?? null;
        this._newestChanged.emit();
      }
    } catch (error) {
      // The archive's state tells of the trouble; without it there is just no time to show.
      if (!(error instanceof ApiError)) {
        throw error;
      }
    }
  }

  private _onRenamed(): void {
    if (this._isWatched && this._history.path !== '') {
      void this._history.rename(this.path);
    } else {
      this._update();
    }
  }

  private _onSaved(): void {
    void this._monitor.refresh();
  }

  private _onHappened(_: ArchiveMonitor, event: IArchiveEvent): void {
    if (ADDING.has(event.name) && event.path === this._history.path) {
      void this._refreshSoon.invoke();
    }
  }

  private _onMonitorChanged(): void {
    const before = this._state;
    this._state = this._monitor.state;
    if (!this._isArchiving) {
      return;
    }
    if (before === 'unknown') {
      this._update();
      return;
    }
    const isMended =
      this._history.error !== null && this._state !== 'trouble' && this._state !== 'away';
    const last = this._monitor.status?.last_version;
    const isBehind =
      last !== null &&
      last !== undefined &&
      last.path === this._history.path &&
      last.how !== 'unchanged' &&
      !this._history.versions.some(version => version.version_id === last.version_id);
    if ((isMended && before !== this._state) || isBehind) {
      void this._refreshSoon.invoke();
    }
  }

  private async _refresh(): Promise<void> {
    if (this._isWatched && !this._isDisposed) {
      await this._history.refresh();
    }
  }

  private _isDisposed = false;
  private _isWatched = false;
  private _newest: IVersion | null = null;
  private readonly _newestChanged = new Signal<this, void>(this);
  private readonly _refreshSoon: Debouncer;
  private _state: State = 'unknown';
}
