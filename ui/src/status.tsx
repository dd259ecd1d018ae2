/**
 * The item in the status bar: whether the save is safe.
 */

import { Dialog, ReactWidget, showDialog, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { ApiError } from './api';
import type { BookstoreApi } from './api';
import { failureHint, paragraphs, showFailure } from './dialogs';
import { Facts } from './facts';
import type { Documents } from './documents';
import { dayAndTime, timeOfDay } from './format';
import type { Follower, IInFront } from './follow';
import { archivedIcon, troubleIcon, waitingIcon } from './icons';
import type { ArchiveMonitor } from './monitor';

/** What the item shows. */
export interface IShown {
  icon: LabIcon;
  text: string;
  title: string;
  /** What is spoken when it becomes so: without a time or a number, which would be spoken at each save. */
  spoken: string;
}

/**
 * What is to be shown of the archive's state.
 *
 * @param inFront - What is known of the document in front.
 */
export function shownState(
  monitor: Pick<ArchiveMonitor, 'state' | 'status' | 'error'>,
  inFront: IInFront,
  locale: string,
  trans: TranslationBundle
): IShown {
  const status = monitor.status;
  const waiting = status?.waiting ?? 0;
  const count = trans._n('%1 save waits', '%1 saves wait', waiting, waiting);
  switch (monitor.state) {
    case 'off':
      return notArchived(problemText(monitor, trans), trans);
    case 'trouble':
      return {
        icon: troubleIcon,
        text: waiting > 0 ? count : trans.__('Archive: trouble'),
        title: problemText(monitor, trans),
        spoken: trans.__('Archive: trouble')
      };
    case 'waiting':
      return {
        icon: waitingIcon,
        text: count,
        title: trans.__('On the way to %1', status?.destination ?? ''),
        spoken: trans.__('Saves are on their way')
      };
    case 'ok':
      return archived(status?.destination ?? '', inFront, locale, trans);
    case 'away':
      return named(troubleIcon, trans.__('Archive: no answer'), monitor.error?.message ?? '');
    default:
      return named(waitingIcon, trans.__('Archive: not known'), monitor.error?.message ?? '');
  }
}

function named(icon: LabIcon, text: string, title: string): IShown {
  return { icon, text, title, spoken: text };
}

function notArchived(why: string, trans: TranslationBundle): IShown {
  return named(waitingIcon, trans.__('Not archived'), why);
}

function archived(
  destination: string,
  inFront: IInFront,
  locale: string,
  trans: TranslationBundle
): IShown {
  const why = whyNotArchived(inFront, trans);
  if (why !== '') {
    return notArchived(why, trans);
  }
  const { isArchived, newest } = inFront;
  const time = new Date(newest?.saved_at ?? '');
  if (newest === null || Number.isNaN(time.getTime())) {
    return named(
      archivedIcon,
      trans.__('Archive: ready'),
      isArchived === true ? trans.__('Each save becomes a version.') : destination
    );
  }
  return {
    icon: archivedIcon,
    text: trans.__('Archived %1', timeOfDay(time, locale)),
    title: trans.__('Saved %1, version %2', dayAndTime(time, locale), newest.version_id ?? ''),
    spoken: trans.__('Archived')
  };
}

/** Why saves of the document in front become no versions; empty where they do, or it is not known. */
function whyNotArchived(
  { isArchived, isElsewhere }: Pick<IInFront, 'isArchived' | 'isElsewhere'>,
  trans: TranslationBundle
): string {
  if (isElsewhere) {
    return trans.__(
      'The document is on another drive: only the files of this Jupyter server are archived.'
    );
  }
  return isArchived === false
    ? trans.__('archive_globs leaves the document out: its saves become no versions.')
    : '';
}

function problemText(monitor: Pick<ArchiveMonitor, 'status'>, trans: TranslationBundle): string {
  const problem = monitor.status?.problems[0];
  return problem === undefined
    ? trans.__('The archive is in trouble.')
    : [problem.message, problem.hint].filter(Boolean).join('\n');
}

/** What the item works with. */
export interface IStatusParts {
  api: BookstoreApi;
  documents: Pick<Documents, 'current' | 'path'>;
  follower: Pick<Follower, 'inFront' | 'inFrontChanged'>;
  monitor: ArchiveMonitor;
  locale: string;
  trans: TranslationBundle;
}

/** The item in the status bar. */
export class StatusItem extends ReactWidget {
  constructor(private readonly _parts: IStatusParts) {
    super();
    this.addClass('jp-bookstore-status-item');
  }

  /** Whether it is wanted: JupyterLab's status bar asks, and shows or hides its items by the answer. */
  get isActive(): boolean {
    return this._isActive;
  }

  set isActive(value: boolean) {
    this._isActive = value;
    this.setHidden(!value);
    this._activeStateChanged.emit();
  }

  /** Emitted when it is wanted or is not any more. */
  get activeStateChanged(): ISignal<this, void> {
    return this._activeStateChanged;
  }

  render(): React.ReactElement {
    const { follower, monitor } = this._parts;
    return (
      <UseSignal signal={monitor.changed}>
        {() => <UseSignal signal={follower.inFrontChanged}>{() => this._content()}</UseSignal>}
      </UseSignal>
    );
  }

  private _content(): React.ReactElement {
    const { follower, locale, monitor, trans } = this._parts;
    const shown = shownState(monitor, follower.inFront, locale, trans);
    return (
      <>
        <button
          type="button"
          className="jp-bookstore-status"
          data-state={monitor.state}
          title={shown.title}
          onClick={() => void showState(this._parts)}
        >
          <shown.icon.react tag="span" className="jp-bookstore-status-icon" />
          <span>{shown.text}</span>
        </button>
        <span className="jp-bookstore-sr-only" role="status">
          {shown.spoken}
        </span>
      </>
    );
  }

  private readonly _activeStateChanged = new Signal<this, void>(this);
  private _isActive = true;
}

/** Tell the archive's whole state, and what can be done. */
export async function showState(parts: Omit<IStatusParts, 'follower'>): Promise<void> {
  const { api, documents, locale, monitor, trans } = parts;
  await monitor.refresh();
  const status = monitor.status;
  if (monitor.error !== null || status === null) {
    await showDialog({
      title: trans.__('The archive does not tell its state'),
      body: paragraphs(
        monitor.error?.message ?? '',
        monitor.error === null ? '' : failureHint(monitor.error, trans)
      ),
      buttons: [Dialog.okButton({ label: trans.__('Close') })]
    });
    return;
  }
  const when = (text: string | null) => (text ? dayAndTime(new Date(text), locale) : '');
  const facts: [string, string][] = [
    [trans.__('Archive'), status.destination],
    [trans.__('Saves that wait'), `${status.waiting}`],
    [trans.__('The oldest of them'), when(status.oldest_saved_at)],
    [trans.__('Unprotected saves'), status.unprotected > 0 ? `${status.unprotected}` : ''],
    [trans.__('Last version'), status.last_version?.path ?? ''],
    [trans.__('Saved'), when(status.last_version?.saved_at ?? null)]
  ];
  const why = status.state === 'off' ? '' : whyNotArchived(await inFrontOf(api, documents), trans);
  const flush = Dialog.createButton({ label: trans.__('Ship Now') });
  const result = await showDialog({
    title:
      status.state === 'ok' && why !== ''
        ? trans.__('The document in front is not archived')
        : stateTitle(status.state, trans),
    body: (
      <div className="jp-bookstore-dialog">
        {why !== '' && <p>{why}</p>}
        {[...status.problems, ...status.warnings].map(problem => (
          <div className="jp-bookstore-problem" key={problem.message}>
            <p>{problem.message}</p>
            {problem.hint !== '' && <p className="jp-bookstore-hint">{problem.hint}</p>}
          </div>
        ))}
        <Facts facts={facts} />
      </div>
    ),
    buttons: [...(status.waiting > 0 ? [flush] : []), Dialog.okButton({ label: trans.__('Close') })]
  });
  if (result.button === flush) {
    try {
      await api.flush();
    } catch (error) {
      await showFailure(trans.__('The saves could not be shipped'), error, trans);
    }
    monitor.notice();
  }
}

/** Ask whether the document in front is archived. */
async function inFrontOf(
  api: BookstoreApi,
  documents: Pick<Documents, 'current' | 'path'>
): Promise<Pick<IInFront, 'isArchived' | 'isElsewhere'>> {
  const { current, path } = documents;
  if (path === '') {
    return { isArchived: null, isElsewhere: current !== null };
  }
  try {
    const page = await api.versions(path, 1);
    return { isArchived: page.is_archived, isElsewhere: false };
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    // The state, which is shown, tells why the archive does not answer.
    return { isArchived: null, isElsewhere: false };
  }
}

function stateTitle(state: string, trans: TranslationBundle): string {
  switch (state) {
    case 'ok':
      return trans.__('Everything is archived');
    case 'waiting':
      return trans.__('Saves are on their way');
    case 'trouble':
      return trans.__('The archive is in trouble; no save is lost');
    default:
      return trans.__('Saves are not archived');
  }
}
