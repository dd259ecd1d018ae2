/**
 * The panel with the history of the document in front.
 */

import { ReactWidget } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { failureHint } from './dialogs';
import { Facts } from './facts';
import { byDay, dayAndMinute, dayAndTime, dayOf, humanSize, timeOf, timeOfDay } from './format';
import type { HistoryModel } from './history';
import { idOf } from './history';
import { historyIcon, pinIcon } from './icons';
import type { IVersion } from './interfaces';
import { reasonText, versionName } from './labels';
import type { ArchiveMonitor } from './monitor';

/** What can be asked for with a version, and whether it can be had. */
export interface IVersionVerb {
  id: string;
  label: (version: IVersion) => string;
  /** Whether it is what people come for. */
  isPrimary: boolean;
  isEnabled: (version: IVersion) => boolean;
  execute: (version: IVersion) => void;
}

/** What the panel works with. */
export interface IPanelParts {
  history: HistoryModel;
  monitor: ArchiveMonitor;
  verbs: IVersionVerb[];
  /** Called with the other version, once one was chosen to be compared. */
  compare: (one: IVersion, other: IVersion) => void;
  locale: string;
  trans: TranslationBundle;
}

/** Pixels above the end of the list at which the next page is asked for. */
const AHEAD = 800;

/** What the ids of rows begin with: a pinned version stands above, and below at its day. */
const ABOVE = 'p';
const BELOW = 'd';
/** In place of either, where the version counts and not the place. */
const EITHER = '*';

/** Rows that Page Up and Page Down pass over. */
const LEAP = 10;

/** Milliseconds between looks at the calendar: a timer up to midnight would be late after a computer has slept. */
const DAY_CHECK = 30_000;

/** What is said about a choice that led to nothing, as long as it is so. */
interface IWord {
  text: string;
  path: string;
  comparing: IVersion | null;
}

/** What the parts of the view share. */
interface IViewParts extends IPanelParts {
  /** Say something about the choice of a version to be compared; empty ends it. */
  say: (text: string) => void;
  /** Bring the focus back, if what had it is gone. */
  keepFocus: () => void;
}

/** The panel with the history of the document in front. */
export class HistoryPanel extends ReactWidget {
  constructor(private readonly _parts: IPanelParts) {
    super();
    this.id = 'jp-bookstore-history';
    this.addClass('jp-bookstore-panel');
    this.title.icon = historyIcon;
    this.title.caption = _parts.trans.__('History');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', _parts.trans.__('History'));
  }

  /** Emitted when the panel is shown or hidden. */
  get visibility(): ISignal<this, boolean> {
    return this._visibility;
  }

  render(): React.ReactElement {
    return <HistoryView {...this._parts} />;
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._visibility.emit(true);
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._visibility.emit(this.isVisible);
  }

  protected onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._visibility.emit(false);
  }

  private readonly _visibility = new Signal<this, boolean>(this);
}

/** Draw again whenever a signal is emitted. */
function useSignal(signal: ISignal<unknown, unknown>): void {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    signal.connect(draw);
    return () => {
      signal.disconnect(draw);
    };
  }, [signal]);
}

/** The day that it is; drawn again when it is another. */
function useToday(): string {
  const [, draw] = React.useState(() => dayOf(new Date()));
  React.useEffect(() => {
    const timer = setInterval(() => draw(dayOf(new Date())), DAY_CHECK);
    return () => clearInterval(timer);
  }, []);
  return dayOf(new Date());
}

/** Where the focus is: in a row, or after so many rows. */
interface IFocusPlace {
  row: string;
  place: number;
}

/** The rows that are in an element. */
function rowsIn(element: HTMLElement | null): HTMLElement[] {
  return [...(element?.querySelectorAll<HTMLElement>('.jp-bookstore-version') ?? [])];
}

function focusPlace(view: HTMLElement, focused: Element): IFocusPlace {
  const own = focused.closest('.jp-bookstore-row')?.querySelector<HTMLElement>('[data-row]');
  const elsewhere = focused.closest<HTMLElement>('[data-back-to]')?.dataset.backTo;
  const place = rowsIn(view).filter(
    row => row !== own && row.compareDocumentPosition(focused) & Node.DOCUMENT_POSITION_FOLLOWING
  ).length;
  return { row: own?.dataset.row ?? elsewhere ?? '', place };
}

/** Where the focus goes from a place that is gone. */
function focusTarget(view: HTMLElement, { row, place }: IFocusPlace): HTMLElement | null {
  const rows = rowsIn(view);
  // A pinned version stands in two places; unpinned, it is the next one's turn in the upper one.
  const same = row.startsWith(ABOVE)
    ? []
    : rows.filter(other => other.dataset.row?.slice(1) === row.slice(1));
  return (
    rows.find(other => other.dataset.row === row) ??
    same.find(other => other.tabIndex === 0) ??
    same[0] ??
    rows[Math.min(place, rows.length - 1)] ??
    view.querySelector<HTMLElement>('.jp-bookstore-list, .jp-bookstore-state button')
  );
}

/**
 * Keep the focus in the view when what has it goes away: a browser would put it nowhere, and whoever uses the keyboard
 * would have to begin at the top of the page.
 */
function useKeptFocus() {
  const view = React.useRef<HTMLDivElement>(null);
  const held = React.useRef<IFocusPlace | null>(null);
  const keepFocus = React.useCallback(() => {
    const node = view.current;
    const active = document.activeElement;
    if (node === null || held.current === null) {
      return;
    }
    if (active !== null && active !== node && node.contains(active)) {
      held.current = focusPlace(node, active);
    } else if (active === null || active === document.body || active === node) {
      // The view itself keeps the focus until there is something in it again.
      (focusTarget(node, held.current) ?? node).focus();
    }
  }, []);
  const onFocus = React.useCallback((event: React.FocusEvent<HTMLElement>) => {
    if (event.target !== view.current) {
      held.current = focusPlace(view.current!, event.target);
    }
  }, []);
  const onBlur = React.useCallback((event: React.FocusEvent<HTMLElement>) => {
    // What is not left in favour of something else stays the one: the window may only be in the background.
    if (document.activeElement !== event.target) {
      held.current = null;
    }
  }, []);
  React.useLayoutEffect(keepFocus);
  return { keepFocus, attributes: { ref: view, onFocus, onBlur, tabIndex: -1 } };
}

function HistoryView(props: IPanelParts): React.ReactElement {
  const { history, monitor, trans } = props;
  useSignal(history.changed);
  useSignal(monitor.changed);
  const { keepFocus, attributes } = useKeptFocus();
  const [word, setWord] = React.useState<IWord | null>(null);
  const say = React.useCallback(
    (text: string) => {
      const { comparing, path } = history;
      setWord(text === '' ? null : { text, path, comparing });
    },
    [history]
  );
  const parts = { ...props, say, keepFocus };
  const isValid = word?.path === history.path && word.comparing === history.comparing;
  const file = PathExt.basename(history.path);
  return (
    <div className="jp-bookstore-view" {...attributes}>
      <div className="jp-bookstore-header">
        <h2 title={history.path}>{file === '' ? trans.__('History') : file}</h2>
        {history.path !== '' && (
          <button
            type="button"
            className="jp-bookstore-icon-button"
            title={trans.__('Refresh')}
            aria-label={trans.__('Refresh')}
            onClick={() => {
              void monitor.refresh();
              void history.refresh();
            }}
          >
            <refreshIcon.react tag="span" />
          </button>
        )}
      </div>
      <Banner {...parts} />
      <Comparing {...parts} word={isValid ? word.text : ''} />
      <Body {...parts} />
    </div>
  );
}

/** What waits or is wrong, while it does. */
function Banner({ history, monitor, trans }: IPanelParts): React.ReactElement {
  const status = monitor.status;
  const problem = monitor.state === 'off' ? undefined : status?.problems[0];
  const waiting = status?.waiting ?? 0;
  const texts: string[] = [];
  if (monitor.state === 'away') {
    texts.push(trans.__('The server does not answer.'));
  } else if (waiting > 0 && (monitor.state === 'trouble' || monitor.state === 'waiting')) {
    texts.push(
      trans._n(
        '%1 save is safe on the disk and on its way to the archive.',
        '%1 saves are safe on the disk and on their way to the archive.',
        waiting,
        waiting
      )
    );
  }
  if (problem !== undefined) {
    texts.push(problem.message, problem.hint);
  } else if (history.error !== null && history.phase === 'ready') {
    texts.push(history.error.message, failureHint(history.error, trans));
  }
  if (isLeftOut(history) && history.versions.length > 0) {
    texts.push(trans.__('New saves of this file do not become versions.'), leftOutHint(trans));
  }
  return (
    <div
      className="jp-bookstore-banner"
      role="status"
      data-state={problem !== undefined || history.error !== null ? 'trouble' : monitor.state}
      hidden={texts.length === 0}
    >
      {texts.filter(Boolean).map(text => (
        <p key={text}>{text}</p>
      ))}
    </div>
  );
}

/** Whether the path is known to be one whose saves do not become versions. */
function isLeftOut(history: HistoryModel): boolean {
  return history.phase === 'ready' && history.isArchived === false;
}

function leftOutHint(trans: TranslationBundle): string {
  return trans.__(
    'The setting archive_globs leaves it out: add a pattern that matches its path, and restart Jupyter.'
  );
}

/** That another version is to be chosen, or why the choice led to nothing. */
function Comparing(props: IViewParts & { word: string }): React.ReactElement {
  const { history, locale, say, trans, word } = props;
  const version = history.comparing;
  const cancel = () => {
    say('');
    history.comparing = null;
  };
  // What screen readers listen to is there before anything is said.
  return (
    <div role="status">
      {(version !== null || word !== '') && (
        <div
          className="jp-bookstore-banner"
          data-back-to={version === null ? undefined : `${EITHER}${idOf(version)}`}
          onKeyDown={event => {
            if (event.key === 'Escape') {
              cancel();
            }
          }}
        >
          {version !== null && (
            <p>
              {trans.__('Choose the version to compare “%1” with.', versionName(version, locale))}
            </p>
          )}
          {word !== '' && <p>{word}</p>}
          {version !== null && (
            <button type="button" className="jp-bookstore-action" onClick={cancel}>
              {trans.__('Cancel')}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function Body(parts: IViewParts): React.ReactElement {
  const { history, monitor, trans } = parts;
  if (monitor.features?.archive_valid === false) {
    const problem = monitor.status?.problems[0];
    return (
      <State name="off" title={trans.__('Not configured yet')}>
        <p>{problem?.message ?? trans.__('Saves are not archived.')}</p>
        <p>{problem?.hint ?? ''}</p>
        <p>
          {trans.__(
            'After that, restart Jupyter. “bookstore doctor” in a terminal checks the whole way.'
          )}
        </p>
      </State>
    );
  }
  if (monitor.features === null && monitor.error !== null) {
    return (
      <State name="error" title={trans.__('The archive does not answer')} role="alert">
        <p>{monitor.error.message}</p>
        <p>
          {monitor.error.status === 404
            ? trans.__(
                'Enable the server extension: “jupyter server extension enable bookstore”, and restart Jupyter.'
              )
            : failureHint(monitor.error, trans)}
        </p>
        <Retry {...parts} />
      </State>
    );
  }
  switch (history.phase) {
    case 'none':
      return (
        <State name="no-document" title={trans.__('No notebook is open')}>
          <p>{trans.__('Open a notebook or a file to see its versions.')}</p>
        </State>
      );
    case 'loading':
      return <State name="loading" title={trans.__('Loading the history…')} role="status" />;
    case 'error':
      return (
        <State name="error" title={trans.__('The history cannot be shown')} role="alert">
          <p>{history.error?.message}</p>
          <p>{history.error === null ? '' : failureHint(history.error, trans)}</p>
          <Retry {...parts} />
        </State>
      );
    case 'ready':
      if (history.versions.length > 0 || history.hasMore) {
        return <VersionList {...parts} />;
      }
      return isLeftOut(history) ? (
        <State name="left-out" title={trans.__('This file is not archived')}>
          <p>{trans.__('Its saves do not become versions.')}</p>
          <p>{leftOutHint(trans)}</p>
        </State>
      ) : (
        <State name="empty" title={trans.__('No versions yet')}>
          <p>{trans.__('Save the document: each save becomes a version.')}</p>
          <p>
            {trans.__(
              'Which files are archived is set by archive_globs; notebooks always are at first.'
            )}
          </p>
        </State>
      );
  }
}

function State(props: {
  name: string;
  title: string;
  role?: string;
  children?: React.ReactNode;
}): React.ReactElement {
  return (
    <div
      className="jp-bookstore-state"
      data-state={props.name}
      role={props.role}
      aria-busy={props.name === 'loading'}
    >
      {props.name === 'loading' && <div className="jp-bookstore-spinner" />}
      <h3>{props.title}</h3>
      {props.children}
    </div>
  );
}

function Retry({ history, monitor, trans }: IPanelParts): React.ReactElement {
  return (
    <button
      type="button"
      className="jp-mod-styled jp-mod-accept"
      onClick={() => {
        void monitor.refresh();
        void history.refresh();
      }}
    >
      {trans.__('Try Again')}
    </button>
  );
}

/** The rows; one of them can be reached by Tab, the others by the arrow keys. */
function VersionList(parts: IViewParts): React.ReactElement {
  const { history, keepFocus, locale, trans } = parts;
  const list = React.useRef<HTMLDivElement>(null);
  const [active, setActive] = React.useState('');
  const [expanded, setExpanded] = React.useState('');
  const today = useToday();
  const days = React.useMemo(
    () => byDay(history.versions, today, locale, trans),
    [history.versions, today, locale, trans]
  );
  const latest = React.useRef(parts);
  latest.current = parts;
  // A row folds without the rest being drawn.
  React.useLayoutEffect(keepFocus);

  const choose = React.useCallback((row: string, version: IVersion) => {
    const { compare, history, say, trans } = latest.current;
    const comparing = history.comparing;
    setActive(row);
    history.selected = idOf(version);
    say('');
    if (comparing === null) {
      setExpanded(shown => (shown === row ? '' : row));
    } else if (idOf(comparing) === idOf(version)) {
      history.comparing = null;
      say(trans.__('That is the same version: nothing is compared.'));
    } else if (version.is_delete_marker) {
      say(trans.__('A delete marker has no content: choose another version.'));
    } else {
      history.comparing = null;
      compare(comparing, version);
    }
  }, []);
  const isComparing = history.comparing !== null;
  React.useEffect(() => {
    if (isComparing) {
      // What can be chosen stands together then.
      setExpanded('');
    }
  }, [isComparing]);
  const select = React.useCallback((row: string, version: IVersion) => {
    setActive(row);
    latest.current.history.selected = idOf(version);
  }, []);

  const first =
    history.pinned.length > 0
      ? `${ABOVE}${idOf(history.pinned[0])}`
      : `${BELOW}${firstId(history)}`;
  // The row that was reached last may be gone: unpinned, for instance.
  const isThere =
    history.pinned.some(version => active === `p${idOf(version)}`) ||
    history.versions.some(version => active === `d${idOf(version)}`);
  const rowOf = (prefix: string, version: IVersion) => {
    const row = `${prefix}${idOf(version)}`;
    return (
      <VersionRow
        key={row}
        row={row}
        path={history.path}
        version={version}
        isExpanded={row === expanded}
        isReachable={row === (isThere ? active : first)}
        choose={choose}
        select={select}
        locale={locale}
        trans={trans}
        verbs={parts.verbs}
      />
    );
  };

  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key === 'Escape') {
      parts.say('');
      history.comparing = null;
      setExpanded('');
      return;
    }
    const rows = rowsIn(list.current);
    const place = rows.indexOf(event.target as HTMLElement);
    const target = place < 0 ? undefined : targetOf(event.key, place, rows.length);
    if (target === undefined) {
      return;
    }
    event.preventDefault();
    if (target >= rows.length - LEAP) {
      void history.loadMore();
    }
    rows[target].focus();
    setActive(rows[target].dataset.row ?? '');
  };

  return (
    <div className="jp-bookstore-list" ref={list} tabIndex={-1} onKeyDown={onKeyDown}>
      {history.pinned.length > 0 && (
        <section className="jp-bookstore-pinned" aria-label={trans.__('Pinned')}>
          <h3 className="jp-bookstore-day">{trans.__('Pinned')}</h3>
          <ul>{history.pinned.map(version => rowOf(ABOVE, version))}</ul>
        </section>
      )}
      {days.map(day => (
        <section key={day.id} aria-label={day.title}>
          <h3 className="jp-bookstore-day" title={day.title}>
            {day.title}
          </h3>
          <ul>{day.versions.map(version => rowOf(BELOW, version))}</ul>
        </section>
      ))}
      <More {...parts} list={list} />
    </div>
  );
}

function firstId(history: HistoryModel): string {
  return history.versions.length > 0 ? idOf(history.versions[0]) : '';
}

/** Where a key leads among the rows; undefined for another key. */
export function targetOf(key: string, place: number, count: number): number | undefined {
  const within = (row: number) => Math.min(count - 1, Math.max(0, row));
  switch (key) {
    case 'ArrowDown':
      return within(place + 1);
    case 'ArrowUp':
      return within(place - 1);
    case 'PageDown':
      return within(place + LEAP);
    case 'PageUp':
      return within(place - LEAP);
    case 'Home':
      return 0;
    case 'End':
      return count - 1;
    default:
      return undefined;
  }
}

/** Asks for the next page as soon as the end of the list comes near. */
function More(
  props: IPanelParts & { list: React.RefObject<HTMLDivElement> }
): React.ReactElement | null {
  const { history, list, trans } = props;
  const end = React.useRef<HTMLDivElement>(null);
  const { hasMore, isLoadingMore, pages } = history;
  const failed = history.error !== null;
  React.useEffect(() => {
    if (end.current === null || failed || isLoadingMore) {
      return;
    }
    const observer = new IntersectionObserver(
      entries => {
        if (entries.some(entry => entry.isIntersecting)) {
          void history.loadMore();
        }
      },
      { root: list.current, rootMargin: `${AHEAD}px` }
    );
    observer.observe(end.current);
    return () => observer.disconnect();
    // After each answer it may still be near, however many versions came: it is looked at anew.
  }, [history, list, hasMore, isLoadingMore, pages, failed]);
  if (!hasMore) {
    return null;
  }
  return (
    <div className="jp-bookstore-more" ref={end} role="status">
      {failed ? (
        <button
          type="button"
          className="jp-bookstore-action"
          onClick={() => void history.loadMore()}
        >
          {trans.__('Load more')}
        </button>
      ) : (
        trans.__('Loading more…')
      )}
    </div>
  );
}

interface IRowProps {
  row: string;
  /** Whose history it is. */
  path: string;
  version: IVersion;
  isExpanded: boolean;
  isReachable: boolean;
  choose: (row: string, version: IVersion) => void;
  select: (row: string, version: IVersion) => void;
  locale: string;
  trans: TranslationBundle;
  verbs: IVersionVerb[];
}

const VersionRow = React.memo((props: IRowProps): React.ReactElement => {
  const { isExpanded, locale, row, trans, version } = props;
  const time = timeOf(version);
  const name = version.label?.name ?? '';
  const reason = reasonText(version, trans);
  const details = React.useId();
  const isAbove = row.startsWith(ABOVE);
  const clock = isAbove ? dayAndMinute(time, locale) : timeOfDay(time, locale);
  const size = version.is_delete_marker ? '' : humanSize(version.size, locale);
  const isMarked = version.label?.pinned === true && !isAbove;
  const pinned = isMarked ? trans.__('Pinned') : '';
  return (
    <li className="jp-bookstore-row" data-version-id={version.version_id}>
      <button
        type="button"
        className="jp-bookstore-version"
        data-row={row}
        aria-expanded={isExpanded}
        aria-controls={isExpanded ? details : undefined}
        aria-label={[clock, version.user, size, pinned, name, reason].filter(Boolean).join(', ')}
        tabIndex={props.isReachable ? 0 : -1}
        title={dayAndTime(time, locale)}
        onClick={() => props.choose(row, version)}
        onContextMenu={() => props.select(row, version)}
        onFocus={() => props.select(row, version)}
      >
        <span className="jp-bookstore-time">{clock}</span>
        {version.user !== '' && (
          <span className="jp-bookstore-user" title={version.user}>
            {version.user}
          </span>
        )}
        {size !== '' && <span className="jp-bookstore-size">{size}</span>}
        {isMarked && <pinIcon.react tag="span" className="jp-bookstore-pin" title={pinned} />}
        {name !== '' && <span className="jp-bookstore-name">{name}</span>}
        {reason !== '' && <span className="jp-bookstore-reason">{reason}</span>}
      </button>
      {isExpanded && <Details {...props} id={details} />}
    </li>
  );
});

function Details(props: IRowProps & { id: string }): React.ReactElement {
  const { locale, trans, verbs, version } = props;
  const facts: [string, string][] = [
    [trans.__('Saved'), dayAndTime(timeOf(version), locale)],
    [trans.__('By'), version.user],
    [trans.__('On'), [version.host, version.root_dir].filter(Boolean).join(':')],
    [trans.__('Name then'), version.path === props.path ? '' : version.path],
    [trans.__('Version'), version.version_id],
    [trans.__('SHA-256'), version.sha256],
    [trans.__('Note'), version.label?.note ?? '']
  ];
  return (
    <div className="jp-bookstore-details" id={props.id}>
      {!version.is_delete_marker && (
        <div
          className="jp-bookstore-actions"
          role="group"
          aria-label={trans.__('What to do with the version')}
        >
          {verbs
            .filter(verb => verb.isEnabled(version))
            .map(verb => (
              <button
                key={verb.id}
                type="button"
                className="jp-bookstore-action"
                data-command={verb.id}
                data-primary={verb.isPrimary}
                onClick={() => verb.execute(version)}
              >
                {verb.label(version)}
              </button>
            ))}
        </div>
      )}
      <Facts facts={facts} />
    </div>
  );
}
