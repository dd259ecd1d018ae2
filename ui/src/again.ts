/**
 * Does something again after ever longer pauses, for as long as it is needed and somebody sees it.
 */

import type { IDisposable } from '@lumino/disposable';

/** When it is done again. */
export interface IPauses {
  /** Milliseconds until the first time; each further pause is twice as long. */
  first: number;
  /** Milliseconds that no pause is longer than. */
  longest: number;
  /** How many times at most; without it there is no end. */
  times?: number;
}

/** Does something again after ever longer pauses. */
export class Again implements IDisposable {
  /**
   * @param _act - What is done.
   * @param _isNeeded - Whether it is to be done at all, asked before each time.
   */
  constructor(
    private readonly _act: () => Promise<void>,
    private readonly _isNeeded: () => boolean,
    private readonly _pauses: IPauses
  ) {
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  /** Begin where it has become needed, end where it is needed no more, and else go on as before. */
  check(): void {
    if (this._isDisposed || !this._isNeeded()) {
      this._stop();
      return;
    }
    const { first, longest, times = Infinity } = this._pauses;
    if (this._timer === null && !this._isActing && !this._isDue && this._count < times) {
      this._timer = window.setTimeout(this._onTimer, Math.min(longest, first * 2 ** this._count));
      this._count += 1;
    }
  }

  /** Begin with the first pause. */
  restart(): void {
    this._stop();
    this.check();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._stop();
    document.removeEventListener('visibilitychange', this._onVisibility);
  }

  private _stop(): void {
    if (this._timer !== null) {
      window.clearTimeout(this._timer);
      this._timer = null;
    }
    this._count = 0;
    this._isDue = false;
  }

  private readonly _onTimer = () => {
    this._timer = null;
    if (document.hidden) {
      this._isDue = true;
    } else {
      void this._do();
    }
  };

  private readonly _onVisibility = () => {
    if (this._isDue && !document.hidden) {
      this._isDue = false;
      void this._do();
    }
  };

  private async _do(): Promise<void> {
    if (!this._isNeeded()) {
      this._stop();
      return;
    }
    this._isActing = true;
    try {
      await this._act();
    } finally {
      this._isActing = false;
      this.check();
    }
  }

  private _count = 0;
  private _isActing = false;
  private _isDisposed = false;
  /** Whether its time came while nobody saw the window. */
  private _isDue = false;
  private _timer: number | null = null;
}
