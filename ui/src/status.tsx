/**
 * The item in the status bar: whether the save is safe.
 */

import { Dialog, ReactWidget, showDialog, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { BookstoreApi } from './api';
import { failureHint, paragraphs, showFailure } from './dialogs';
import { dayAndTime, timeOfDay } from './format';
import type { Follower } from './follow';
import { archivedIcon, troubleIcon, waitingIcon } from './icons';
import type { ILastVersion, IVersion } from './interfaces';
import type { ArchiveMonitor } from './monitor';

/** What the item shows. */
export interface IShown {
  icon: LabIcon;
  text: string;
  title: string;
}

/**
 * What is to be shown of the archive's state.
 *
 * @param newest - Of the document in front, if its history is known.
 * @param path - Of the document in front; empty for none.
 */
export function shownState(
  monitor: Pick<ArchiveMonitor, 'state' | 'status' | 'error'>,
  newest: Pick<IVersion, 'saved_at' | 'last_modified' | 'version_id'> | null,
  path: string,
  locale: string,
  trans: TranslationBundle
): IShown {
  const status = monitor.status;
  const waiting = status?.waiting ?? 0;
  const count = trans._n('%1 save waits', '%1 saves wait', waiting, waiting);
  switch (monitor.state) {
    case 'off':
      return {
        icon: waitingIcon,
        text: trans.__('Not archived'),
        title: problemText(monitor, trans)
      };
    case 'trouble':
      return {
        icon: troubleIcon,
        text: waiting > 0 ? count : trans.__('Archive: trouble'),
        title: problemText(monitor, trans)
      };
    case 'waiting':
      return {
        icon: waitingIcon,
        text: count,
        title: trans.__('On the way to %1', status?.destination ?? '')
      };
    case 'ok':
      return archived(status?.last_version ?? null, newest, path, locale, trans);
    case 'away':
      return {
        icon: troubleIcon,
        text: trans.__('Archive: no answer'),
        title: monitor.error?.message ?? ''
      };
    default:
      return {
        icon: waitingIcon,
        text: trans.__('Archive: not known'),
        title: monitor.error?.message ?? ''
      };
  }
}

function archived(
  last: ILastVersion | null,
  newest: Pick<IVersion, 'saved_at' | 'last_modified' | 'version_id'> | null,
  path: string,
  locale: string,
  trans: TranslationBundle
): IShown {
  let saved = '';
  let version: string | null = null;
  if (newest !== null) {
    saved = newest.saved_at || newest.last_modified;
    version = newest.version_id;
  }
  // Told with the state, it is there before the history is.
  if (last !== null && last.path === path && (saved === '' || last.saved_at > saved)) {
    saved = last.saved_at;
    version = last.version_id;
  }
  const time = new Date(saved);
  if (saved === '' || Number.isNaN(time.getTime())) {
    return {
      icon: archivedIcon,
      text: trans.__('Archive: ready'),
      title: trans.__('Each save becomes a version.')
    };
  }
  return {
    icon: archivedIcon,
    text: trans.__('Archived %1', timeOfDay(time, locale)),
    title: trans.__('Saved %1, version %2', dayAndTime(time, locale), version ?? '')
  };
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
  follower: Pick<Follower, 'newest' | 'newestChanged' | 'path'>;
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

  render(): React.ReactElement {
    const { follower, monitor } = this._parts;
    return (
      <UseSignal signal={monitor.changed}>
        {() => <UseSignal signal={follower.newestChanged}>{() => this._button()}</UseSignal>}
      </UseSignal>
    );
  }

  private _button(): React.ReactElement {
    const { follower, locale, monitor, trans } = this._parts;
    const shown = shownState(monitor, follower.newest, follower.path, locale, trans);
    return (
      <button
        type="button"
        className="jp-bookstore-status"
        data-state={monitor.state}
        title={shown.title}
        onClick={() => void showState(this._parts)}
      >
        <shown.icon.react tag="span" className="jp-bookstore-status-icon" />
        <span role="status">{shown.text}</span>
      </button>
    );
  }
}

/** Tell the archive's whole state, and what can be done. */
export async function showState(parts: Omit<IStatusParts, 'follower'>): Promise<void> {
  const { api, locale, monitor, trans } = parts;
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
    [trans.__('Archived at'), when(status.last_version?.archived_at ?? null)]
  ];
  const flush = Dialog.createButton({ label: trans.__('Ship Now') });
  const result = await showDialog({
    title: stateTitle(status.state, trans),
    body: (
      <div className="jp-bookstore-dialog">
        {[...status.problems, ...status.warnings].map(problem => (
          <div className="jp-bookstore-problem" key={problem.message}>
            <p>{problem.message}</p>
            {problem.hint !== '' && <p className="jp-bookstore-hint">{problem.hint}</p>}
          </div>
        ))}
        <dl>
          {facts
            .filter(([, value]) => value !== '')
            .map(([name, value]) => (
              <React.Fragment key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </React.Fragment>
            ))}
        </dl>
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
