/**
 * Keeps the history in step with the document in front and with what the archive tells.
 */

import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { Again } from './again';
import type { IPauses } from './again';
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

/** Paths of which the newest version is remembered. */
const REMEMBERED = 200;

/** Milliseconds until what failed is asked for again. */
const AGAIN: IPauses = { first: 2000, longest: 60_000 };

/** The newest version of a path. */
export interface INewest {
  /** Null where the bucket keeps no versions. */
  version_id: string | null;
  saved_at: string;
}

/** The document in front, as far as the archive is concerned. */
export interface IInFront {
  /** On the server; empty where there is no document, or it is not the server's. */
  path: string;
  /** Whether it is on another drive than the server's own files. */
  isElsewhere: boolean;
  /** Whether its saves become versions; null as long as it is not known. */
  isArchived: boolean | null;
  /** As far as it is known. */
  newest: INewest | null;
}

interface IKnown {
  isArchived: boolean | null;
  newest: INewest | null;
}

/** Keeps the history in step. */
export class Follower implements IDisposable {
  /**
   * @param pauses - Until what failed is asked for again, while somebody sees the window.
   */
  constructor(
    private readonly _api: BookstoreApi,
    private readonly _documents: Pick<
      Documents,
      'current' | 'path' | 'currentChanged' | 'renamed' | 'saved'
    >,
    private readonly _history: HistoryModel,
    private readonly _monitor: ArchiveMonitor,
    pauses: IPauses = AGAIN
  ) {
    this._refreshSoon = new Debouncer(() => this._refresh(), TOGETHER);
    this._again = new Again(
      () => this._retry(),
      () => this._isFailing,
      pauses
    );
    this._documents.currentChanged.connect(this._update, this);
    this._documents.renamed.connect(this._onRenamed, this);
    this._documents.saved.connect(this._onSaved, this);
    this._history.changed.connect(this._onHistoryChanged, this);
    this._monitor.happened.connect(this._onHappened, this);
    this._monitor.changed.connect(this._onMonitorChanged, this);
  }

  /** Emitted when another document is in front, or more is known of it. */
  get inFrontChanged(): ISignal<this, void> {
    return this._inFrontChanged;
  }

  /** The document in front. */
  get inFront(): IInFront {
    const path = this._documents.path;
    const { isArchived, newest } = this._known.get(path) ?? UNKNOWN;
    const isElsewhere = path === '' && this._documents.current !== null;
    return { path, isElsewhere, isArchived, newest };
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
      this._again.dispose();
      this._refreshSoon.dispose();
      Signal.clearData(this);
    }
  }

  private get _path(): string {
    return this._documents.path;
  }

  private get _isArchiving(): boolean {
    return this._monitor.features?.archive_valid === true;
  }

  /** Whether what is wanted could not be had. */
  private get _isFailing(): boolean {
    return this._isWatched
      ? this._history.error !== null
      : this._path !== '' && this._unanswered === this._path;
  }

  private _update(): void {
    this._inFrontChanged.emit();
    if (!this._isArchiving) {
      return;
    }
    if (this._isWatched) {
      const same = this._history.path === this._path && this._history.phase === 'ready';
      void (same ? this._history.refresh() : this._history.open(this._path));
    } else {
      void this._peek();
    }
    this._again.restart();
  }

  /** Ask for the newest version alone. */
  private async _peek(): Promise<void> {
    const path = this._path;
    if (path === '') {
      return;
    }
    try {
      const page = await this._api.versions(path, 1);
      this._unanswered = '';
      this._learn(path, newestOf(page.versions), page.is_archived);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // The archive's state tells of the trouble; until it is over there may be just no time to show.
      this._unanswered = path;
      this._again.check();
    }
  }

  private async _retry(): Promise<void> {
    await (this._isWatched ? this._history.retry() : this._peek());
  }

  /** Remember what became known of a path: a version only if none is known that was saved later. */
  private _learn(path: string, newest: INewest | null, isArchived: boolean | null): void {
    const known = this._known.get(path) ?? UNKNOWN;
    const isNewer = newest !== null && (known.newest === null || time(newest) > time(known.newest));
    const next: IKnown = { ...known, isArchived: isArchived ?? known.isArchived };
    if (isNewer) {
      // A save that changed nothing may be told without a version.
      const version_id = newest.version_id ?? known.newest?.version_id ?? null;
      next.newest = { version_id, saved_at: newest.saved_at };
    }
    // The last one of the map is the one that was heard of last.
    this._known.delete(path);
    this._known.set(path, next);
    for (const other of this._known.keys()) {
      if (this._known.size <= REMEMBERED) {
        break;
      }
      if (other !== this._path) {
        this._known.delete(other);
      }
    }
    if (path === this._path && (isNewer || next.isArchived !== known.isArchived)) {
      this._inFrontChanged.emit();
    }
  }

  private _onRenamed(): void {
    if (this._isWatched && this._history.path !== '') {
      this._inFrontChanged.emit();
      void this._history.rename(this._path);
    } else {
      this._update();
    }
    void this._monitor.followSave();
  }

  private _onSaved(): void {
    void this._monitor.followSave();
  }

  private _onHistoryChanged(): void {
    const { isArchived, path, phase, versions } = this._history;
    if (phase === 'ready' && path !== '') {
      this._learn(path, newestOf(versions), isArchived);
    }
    this._again.check();
  }

  private _onHappened(_: ArchiveMonitor, event: IArchiveEvent): void {
    if (event.name === 'archived' && event.saved_at !== '') {
      this._learn(event.path, event, null);
    }
    if (ADDING.has(event.name) && event.path === this._history.path) {
      void this._refreshSoon.invoke();
    }
  }

  private _onMonitorChanged(): void {
    const before = this._state;
    this._state = this._monitor.state;
    const last = this._monitor.status?.last_version ?? null;
    if (last !== null) {
      this._learn(last.path, last, null);
    }
    if (!this._isArchiving) {
      return;
    }
    if (before !== this._state && (before === 'unknown' || before === 'away')) {
      // The server may be another one than before, with other settings.
      this._update();
      return;
    }
    const isMended =
      this._history.error !== null && this._state !== 'trouble' && this._state !== 'away';
    const isBehind =
      last !== null &&
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

  private readonly _again: Again;
  private readonly _inFrontChanged = new Signal<this, void>(this);
  private _isDisposed = false;
  private _isWatched = false;
  /** By path; those that were heard of last are the last ones. */
  private readonly _known = new Map<string, IKnown>();
  private readonly _refreshSoon: Debouncer;
  private _state: State = 'unknown';
  /** The path whose newest version was asked for in vain. */
  private _unanswered = '';
}

const UNKNOWN: IKnown = { isArchived: null, newest: null };

/** The newest version that has content. */
function newestOf(versions: readonly IVersion[]): INewest | null {
  const version = versions.find(one => !one.is_delete_marker);
  return version === undefined
    ? null
    : { version_id: version.version_id, saved_at: version.saved_at || version.last_modified };
}

/** When it was saved; whatever is no time was before all others. */
function time(newest: INewest): number {
  const moment = Date.parse(newest.saved_at);
  return Number.isNaN(moment) ? -Infinity : moment;
}
