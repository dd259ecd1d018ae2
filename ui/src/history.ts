/**
 * The history of one path, page by page, as far as it was asked for.
 */

import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { ApiError } from './api';
import type { BookstoreApi } from './api';
import type { IHistoryPage, IVersion } from './interfaces';

/** Pages without a version that are passed over at once; those of a store with many removals may be so. */
const EMPTY_PAGES = 10;

/** How far the history of a path is known. */
export type Phase = 'none' | 'loading' | 'ready' | 'error';

/** What tells a version from all others of its history. */
export function idOf(version: Pick<IVersion, 'key' | 'version_id'>): string {
  return `${version.version_id} ${version.key}`;
}

/** The history of one path. */
export class HistoryModel implements IDisposable {
  /**
   * @param _api - Whom to ask.
   * @param pageSize - Versions on a page.
   */
  constructor(
    private readonly _api: BookstoreApi,
    public pageSize = 50
  ) {}

  /** Emitted when anything has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Whose history it is; empty for none. */
  get path(): string {
    return this._path;
  }

  get phase(): Phase {
    return this._phase;
  }

  /** Newest first, as far as they were asked for. */
  get versions(): readonly IVersion[] {
    return this._versions;
  }

  /** The pinned ones, newest first. */
  get pinned(): readonly IVersion[] {
    return this._pinned;
  }

  /** Whether there are more. */
  get hasMore(): boolean {
    return this._cursor !== null;
  }

  /** Whether the next page is on its way. */
  get isLoadingMore(): boolean {
    return this._isLoadingMore;
  }

  /** Whether saves of the path become versions; null as long as it is not known. */
  get isArchived(): boolean | null {
    return this._isArchived;
  }

  /**
   * How many requests for a page have ended, well or not: after each of them it is to be seen whether the end of the
   * list is still near, also where the list is as long as before.
   */
  get pages(): number {
    return this._pages;
  }

  /** Why the last request failed. */
  get error(): ApiError | null {
    return this._error ?? this._moreError ?? this._pinnedError;
  }

  /** The version that is chosen, by its id. */
  get selected(): string | null {
    return this._selected;
  }

  set selected(id: string | null) {
    if (id !== this._selected) {
      this._selected = id;
      this._changed.emit();
    }
  }

  /** The version that another one is to be chosen for, to compare them. */
  get comparing(): IVersion | null {
    return this._comparing;
  }

  set comparing(version: IVersion | null) {
    if (version !== this._comparing) {
      this._comparing = version;
      this._changed.emit();
    }
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  /** The version of an id, if it is known. */
  find(id: string | null): IVersion | undefined {
    return id === null
      ? undefined
      : (this._versions.find(v => idOf(v) === id) ?? this._pinned.find(v => idOf(v) === id));
  }

  /** The version before another one that has content. */
  before(version: IVersion): IVersion | undefined {
    const place = this._versions.findIndex(v => idOf(v) === idOf(version));
    return place < 0 ? undefined : this._versions.slice(place + 1).find(v => !v.is_delete_marker);
  }

  /** Whether a version is older than another one; stores tell times in whole seconds, the list tells the order. */
  isOlder(one: IVersion, other: IVersion): boolean {
    const place = (version: IVersion) => this._versions.findIndex(v => idOf(v) === idOf(version));
    const [first, second] = [place(one), place(other)];
    return first >= 0 && second >= 0
      ? first > second
      : one.last_modified < other.last_modified || (first < 0 && second >= 0);
  }

  /** Show the history of another path. */
  async open(path: string): Promise<void> {
    if (path === this._path && this._phase !== 'error') {
      return;
    }
    this._forget(path);
    if (path !== '') {
      await this._load();
    }
  }

  /**
   * The file was renamed: its history is the same, and goes on under another name. What is known stays until the new
   * name has versions, since it has none before the rename is archived.
   */
  async rename(path: string): Promise<void> {
    this._path = path;
    this._isArchived = null;
    this._isRenaming = true;
    await this.refresh();
  }

  /** Look for new versions; what is known stays on the screen meanwhile. */
  async refresh(): Promise<void> {
    if (this._path === '' || this._isDisposed) {
      return;
    }
    if (this._phase !== 'ready') {
      this._phase = 'loading';
      this._changed.emit();
    }
    await this._load();
  }

  /** Ask again for what failed; the error stays on the screen until there is an answer. */
  async retry(): Promise<void> {
    if (this._path === '' || this._isDisposed || this.error === null) {
      return;
    }
    if (this._error === null && this._moreError !== null) {
      await this.loadMore();
    } else {
      await this._load();
    }
  }

  /** Ask for the next page. */
  async loadMore(): Promise<void> {
    if (this._cursor === null || this._isLoadingMore || this._phase !== 'ready') {
      return;
    }
    this._isLoadingMore = true;
    this._changed.emit();
    const turn = this._turn;
    try {
      const page = await this._page(turn, this._listed, this._cursor);
      if (turn === this._turn) {
        this._versions = joined(this._versions, page.versions);
        this._cursor = page.cursor;
        this._error = null;
        this._moreError = null;
      }
    } catch (error) {
      if (turn === this._turn) {
        this._moreError = asApiError(error);
      }
    }
    if (turn === this._turn) {
      this._isLoadingMore = false;
      this._pages += 1;
      this._changed.emit();
    }
  }

  /**
   * Put a version that was changed, by a new label, in its place.
   *
   * @param path - The path that the version was labelled under: another history has nothing to do with it.
   */
  replace(path: string, version: IVersion): void {
    if (path !== this._path) {
      return;
    }
    const id = idOf(version);
    this._versions = this._versions.map(v => (idOf(v) === id ? version : v));
    const others = this._pinned.filter(v => idOf(v) !== id);
    if (version.label?.pinned) {
      others.push(version);
      others.sort((one, other) => other.last_modified.localeCompare(one.last_modified));
    }
    this._pinned = others;
    this._changed.emit();
    if (this._isLoading || this._isLoadingPinned || this._isLoadingMore) {
      // What is under way may have been read before the label was written.
      void this._load();
    }
  }

  private _forget(path: string): void {
    this._turn += 1;
    this._path = path;
    this._listed = path;
    this._isArchived = null;
    this._isRenaming = false;
    this._phase = path === '' ? 'none' : 'loading';
    this._versions = [];
    this._pinned = [];
    this._cursor = null;
    this._error = null;
    this._moreError = null;
    this._pinnedError = null;
    this._selected = null;
    this._comparing = null;
    this._isLoading = false;
    this._isLoadingMore = false;
    this._isLoadingPinned = false;
    this._changed.emit();
  }

  private async _load(): Promise<void> {
    const turn = ++this._turn;
    const path = this._path;
    this._isLoadingMore = false;
    this._isLoading = true;
    // The pinned ones come when they come: the list does not wait for them.
    void this._loadPinned(turn);
    try {
      const page = await this._page(turn, path);
      if (turn !== this._turn) {
        return;
      }
      this._take(path, page);
      this._phase = 'ready';
      this._error = null;
      this._moreError = null;
    } catch (error) {
      if (turn !== this._turn) {
        return;
      }
      this._error = asApiError(error);
      // What is on the screen is still true.
      this._phase = this._versions.length > 0 ? 'ready' : 'error';
    }
    this._isLoading = false;
    this._pages += 1;
    this._changed.emit();
  }

  /** Put the newest page above what is known. */
  private _take(path: string, page: IHistoryPage): void {
    this._isArchived = page.is_archived;
    const isEmpty = page.versions.length === 0 && page.cursor === null;
    if (this._isRenaming) {
      if (isEmpty && page.is_archived) {
        return;
      }
      this._isRenaming = false;
      if (!this._isLoadingPinned) {
        // That there are none was not believed.
        void this._loadPinned(this._turn);
      }
    }
    const known = new Set(this._versions.map(idOf));
    if (page.versions.some(version => known.has(idOf(version)))) {
      // Below the newest page nothing has changed: versions are immutable, and none goes. The list goes on where it
      // ended, and under the name that it was read by: a cursor is of one name.
      this._versions = joined(page.versions, this._versions);
    } else {
      this._versions = page.versions;
      this._cursor = page.cursor;
      this._listed = path;
    }
  }

  /** A page that has versions, if there is any. */
  private async _page(turn: number, path: string, after?: string): Promise<IHistoryPage> {
    let page = await this._api.versions(path, this.pageSize, after);
    for (let count = 0; count < EMPTY_PAGES; count += 1) {
      if (turn !== this._turn || page.versions.length > 0 || page.cursor === null) {
        break;
      }
      page = await this._api.versions(path, this.pageSize, page.cursor);
    }
    return page;
  }

  private async _loadPinned(turn: number): Promise<void> {
    this._isLoadingPinned = true;
    try {
      const pinned = await this._api.pinned(this._path);
      if (turn !== this._turn) {
        return;
      }
      if (pinned.length > 0 || !this._isRenaming) {
        this._pinned = pinned;
      }
      this._pinnedError = null;
    } catch (error) {
      if (turn !== this._turn) {
        return;
      }
      this._pinnedError = asApiError(error);
    }
    this._isLoadingPinned = false;
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
  private _comparing: IVersion | null = null;
  private _cursor: string | null = null;
  private _error: ApiError | null = null;
  private _isArchived: boolean | null = null;
  private _isDisposed = false;
  private _isLoading = false;
  private _isLoadingMore = false;
  private _isLoadingPinned = false;
  /** Whether the rename is not archived yet, as far as it is known. */
  private _isRenaming = false;
  /** The path by which the list was read, and by which it goes on; another one than `path` after a rename. */
  private _listed = '';
  private _moreError: ApiError | null = null;
  private _pages = 0;
  private _path = '';
  private _phase: Phase = 'none';
  private _pinned: IVersion[] = [];
  private _pinnedError: ApiError | null = null;
  private _selected: string | null = null;
  /** Raised by whatever makes answers that are under way out of date. */
  private _turn = 0;
  private _versions: IVersion[] = [];
}

/** Two stretches of one history that may overlap, the newer first. */
function joined(newer: readonly IVersion[], older: readonly IVersion[]): IVersion[] {
  const known = new Set(newer.map(idOf));
  return [...newer, ...older.filter(version => !known.has(idOf(version)))];
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  throw error;
}
