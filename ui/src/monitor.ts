/**
 * Follows the archive's state: told by the server's events and by the saves of this window.
 */

import type { Event } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { Again } from './again';
import { ApiError } from './api';
import type { BookstoreApi } from './api';
import type { IAbout, IArchiveEvent, IArchiveStatus, IFeatures } from './interfaces';

/** The archive's state, and what this window knows of it: `away` where the server does not answer. */
export type State = IArchiveStatus['state'] | 'unknown' | 'away';

const EVENT = /^https:\/\/events\.jupyter\.org\/bookstore\/([a-z]+)\//;

/** Milliseconds between two requests for the state, however many events come in. */
const PAUSE = 250;

/**
 * Milliseconds until it is asked again while something waits or is wrong. The server tells when that ends; this is for
 * connections on which its events do not arrive.
 */
const AGAIN = 20_000;

/** Milliseconds until it is asked again while the server gives no state: its extension, or a permission, may come. */
const SELDOM = 120_000;

/** After a save of this window: events may not arrive, and most saves wait for less than a second. */
const AFTER_SAVE = { first: 500, longest: 8000, times: 5 };

/** Statuses of those between the browser and a server that is not there: JupyterHub, proxies and their limits. */
const AWAY = new Set([0, 424, 429]);

/** Follows the archive's state. */
export class ArchiveMonitor implements IDisposable {
  constructor(private readonly _api: BookstoreApi) {
    this._poll = new Poll({
      auto: false,
      factory: () => this.refresh(),
      frequency: frequencyOf(AGAIN),
      name: 'jupyterlab-bookstore:state',
      standby: 'when-hidden'
    });
    this._afterSave = new Again(
      () => this.refresh(),
      () =>
        (this._state === 'waiting' || this._state === 'trouble') && (this.status?.waiting ?? 0) > 0,
      AFTER_SAVE
    );
  }

  /** Emitted when anything of the state has changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted for each event of the archive. */
  get happened(): ISignal<this, IArchiveEvent> {
    return this._happened;
  }

  /** The archive's state. */
  get state(): State {
    return this._state;
  }

  /** What the server told last. */
  get status(): IArchiveStatus | null {
    return this._about?.archive ?? null;
  }

  /** What the settings allow. */
  get features(): IFeatures | null {
    return this._about?.features ?? null;
  }

  /** The bucket of the archive. */
  get bucket(): string {
    return this._about?.s3_bucket ?? '';
  }

  /** Whether versions of the workspace, and what is published, can be cloned. */
  get canClone(): boolean {
    return this._about?.workspace_clonable === true;
  }

  /** Why the state is not known. */
  get error(): ApiError | null {
    return this._error;
  }

  /** Whether the first answer, or the first failure, is there. */
  get ready(): Promise<void> {
    return (this._first ??= this.refresh());
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._poll.dispose();
    this._afterSave.dispose();
    if (this._later !== null) {
      window.clearTimeout(this._later);
    }
    Signal.clearData(this);
  }

  /** Listen to the events of a server. */
  listen(events: Event.IManager): void {
    events.stream.connect(this._onEvent, this);
  }

  /** Ask for the state, soon: many calls in a row are one request. */
  notice(): void {
    if (this._isDisposed || this._later !== null) {
      return;
    }
    const wait = Math.max(0, this._askedAt + PAUSE - Date.now());
    this._later = window.setTimeout(() => {
      this._later = null;
      void this.refresh();
    }, wait);
  }

  /** Something was saved here: ask for the state now, and soon again for as long as it waits. */
  async followSave(): Promise<void> {
    await this.refresh();
    this._afterSave.restart();
  }

  /** Ask for the state now. */
  async refresh(): Promise<void> {
    if (this._asking !== null) {
      this._askAgain = true;
      return this._asking;
    }
    this._asking = this._askUntilNew();
    try {
      await this._asking;
    } finally {
      this._asking = null;
    }
  }

  private _onEvent(_: Event.IManager, emission: Event.Emission): void {
    const match = EVENT.exec(emission.schema_id);
    if (match === null) {
      return;
    }
    const text = (value: unknown) => (typeof value === 'string' ? value : '');
    this._happened.emit({
      name: match[1],
      path: text(emission.path),
      version_id: text(emission.version_id) || null,
      saved_at: text(emission.saved_at)
    });
    this.notice();
  }

  private async _askUntilNew(): Promise<void> {
    do {
      this._askAgain = false;
      await this._ask();
    } while (this._askAgain && !this._isDisposed);
  }

  private async _ask(): Promise<void> {
    this._askedAt = Date.now();
    try {
      this._about = await this._api.about();
      this._error = null;
      this._state = this._about.archive.state;
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      this._error = error;
      this._state = AWAY.has(error.status) || error.status >= 500 ? 'away' : 'unknown';
    }
    if (this._isDisposed) {
      return;
    }
    this._askEvery(intervalOf(this._state));
    this._changed.emit();
  }

  /** Ask at an interval from now on; null for not at all. */
  private _askEvery(interval: number | null): void {
    if (interval === this._interval) {
      return;
    }
    this._interval = interval;
    if (interval === null) {
      void this._poll.stop();
    } else {
      this._poll.frequency = frequencyOf(interval);
      // Not `start`, which would ask at once what was answered just now.
      void this._poll.schedule({ interval, phase: 'started' });
    }
  }

  private readonly _afterSave: Again;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _happened = new Signal<this, IArchiveEvent>(this);
  private readonly _poll: Poll;
  private _about: IAbout | null = null;
  private _askAgain = false;
  private _askedAt = 0;
  private _asking: Promise<void> | null = null;
  private _error: ApiError | null = null;
  private _first: Promise<void> | null = null;
  private _interval: number | null = null;
  private _isDisposed = false;
  private _later: number | null = null;
  private _state: State = 'unknown';
}

/** How often the state is asked for while it is what it is. */
function intervalOf(state: State): number | null {
  switch (state) {
    case 'waiting':
    case 'trouble':
    case 'away':
      return AGAIN;
    case 'unknown':
      return SELDOM;
    default:
      return null;
  }
}

function frequencyOf(interval: number): { interval: number; backoff: boolean; max: number } {
  return { interval, backoff: true, max: 10 * interval };
}
