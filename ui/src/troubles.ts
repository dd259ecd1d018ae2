/**
 * Says once that the archive is in trouble, and that it is over.
 */

import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ArchiveMonitor } from './monitor';

/** Milliseconds for which the good news stays. */
const OVER_STAYS = 4000;

/** Says once that the archive is in trouble, and that it is over. */
export class Troubles {
  /**
   * @param settled - Kept once it is known whether anything is to be said; until then nothing is.
   */
  constructor(
    private readonly _monitor: ArchiveMonitor,
    private readonly _trans: TranslationBundle,
    settled: Promise<void> = Promise.resolve()
  ) {
    void settled.then(() => {
      _monitor.changed.connect(this._onChanged, this);
      this._onChanged();
    });
  }

  /** Whether it is said. */
  isAnnouncing = true;

  private _onChanged(): void {
    const { state, status } = this._monitor;
    const problem = state === 'trouble' ? status?.problems[0] : undefined;
    if (problem !== undefined && problem.code !== this._told) {
      this._told = problem.code;
      if (this.isAnnouncing) {
        this._dismiss();
        this._id = Notification.warning(
          [problem.message, problem.hint].filter(Boolean).join('\n'),
          {
            autoClose: false
          }
        );
      }
    } else if (this._told !== '' && (state === 'ok' || state === 'waiting')) {
      this._told = '';
      this._dismiss();
      if (this.isAnnouncing) {
        Notification.success(this._trans.__('The archive works again.'), { autoClose: OVER_STAYS });
      }
    }
  }

  private _dismiss(): void {
    if (this._id !== '') {
      Notification.dismiss(this._id);
      this._id = '';
    }
  }

  private _id = '';
  /** The code of the trouble that was told last; empty for none. */
  private _told = '';
}
