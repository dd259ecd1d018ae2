/**
 * What the unit tests have in common: a server that answers as it is told to, and versions.
 */

import type { IDocumentManager } from '@jupyterlab/docmanager';
import { ServerConnection } from '@jupyterlab/services';
import type { Contents } from '@jupyterlab/services';
import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { BookstoreApi } from '../api';
import { Documents } from '../documents';
import type { IAbout, IArchiveStatus, IFeatures, IHistoryPage, IVersion } from '../interfaces';

export const trans = nullTranslator.load('jupyterlab_bookstore');

/** A version as the server tells it; the higher the number, the newer it is. */
export function makeVersion(number: number, other: Partial<IVersion> = {}): IVersion {
  const time = new Date(Date.UTC(2026, 10, 1, 0, number)).toISOString();
  return {
    path: 'a.ipynb',
    key: 'archive/a.ipynb',
    version_id: `v${number}`,
    size: 1000 + number,
    last_modified: time,
    is_latest: false,
    is_delete_marker: false,
    is_unchanged: false,
    saved_at: time,
    user: 'ada',
    host: 'desk',
    root_dir: '/home/ada',
    reason: 'save',
    sha256: 'abc',
    from_key: '',
    from_version: '',
    previous_key: '',
    label: null,
    ...other
  };
}

/** Versions from the newest to the oldest number. */
export function makeVersions(newest: number, oldest: number): IVersion[] {
  return Array.from({ length: newest - oldest + 1 }, (_, place) => makeVersion(newest - place));
}

export function makeLabel(other: Partial<NonNullable<IVersion['label']>> = {}) {
  return { name: '', note: '', pinned: false, by: 'ada', at: '2026-11-20T10:00:00Z', ...other };
}

export function makeStatus(other: Partial<IArchiveStatus> = {}): IArchiveStatus {
  return {
    state: 'ok',
    destination: 's3://bucket/archive',
    waiting: 0,
    oldest_saved_at: null,
    unprotected: 0,
    last_version: null,
    problems: [],
    warnings: [],
    ...other
  };
}

export function makeAbout(
  archive: Partial<IArchiveStatus> = {},
  features: Partial<IFeatures> = {}
): IAbout {
  return {
    release: '3.0.0',
    features: {
      bookstore_valid: true,
      archive_valid: true,
      publish_valid: true,
      s3_clone_valid: true,
      fs_clone_valid: true,
      ...features
    },
    s3_bucket: 'bucket',
    workspace_clonable: true,
    archive: makeStatus(archive)
  };
}

/** A request as it arrives at the server. */
export interface IAsked {
  method: string;
  /** Below `api/bookstore`, as it is in the address. */
  place: string;
  query: Record<string, string>;
  body: unknown;
}

/** An answer that is an error. */
export class Refusal {
  constructor(
    readonly status: number,
    readonly said: object = { message: 'refused', hint: '', code: 'Refused' }
  ) {}
}

/** No answer at all. */
export const SILENCE = new Refusal(0);

type Answer = (asked: IAsked) => unknown;

/** A server that remembers what it was asked, and answers as it is told to. */
export class FakeServer {
  readonly asked: IAsked[] = [];

  readonly api = new BookstoreApi(
    ServerConnection.makeSettings({
      baseUrl: 'http://localhost:8888/base/',
      fetch: request => this._answer(request as Request)
    })
  );

  /** Answer requests of a kind; what is told last counts. A place that ends with `*` is the beginning of one. */
  on(method: string, place: string, answer: Answer): void {
    this._answers.unshift({ method, place, answer });
  }

  /** What was asked of a kind. */
  requests(method: string, place: string): IAsked[] {
    return this.asked.filter(asked => matches(asked, method, place));
  }

  private async _answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const text = await request.text();
    const asked: IAsked = {
      method: request.method,
      place: url.pathname.replace('/base/api/bookstore', '').replace(/^\//, ''),
      query: Object.fromEntries(
        [...url.searchParams].filter(([name]) => !/^\d+$/.test(name)) // the mark against caches
      ),
      body: text === '' ? undefined : JSON.parse(text)
    };
    this.asked.push(asked);
    const rule = this._answers.find(({ method, place }) => matches(asked, method, place));
    const said = rule === undefined ? new Refusal(404) : await rule.answer(asked);
    if (said === SILENCE) {
      throw new TypeError('Failed to fetch');
    }
    const status = said instanceof Refusal ? said.status : 200;
    const written = JSON.stringify(said instanceof Refusal ? said.said : said);
    return new Response(written, { status });
  }

  private readonly _answers: { method: string; place: string; answer: Answer }[] = [];
}

function matches(asked: IAsked, method: string, place: string): boolean {
  return (
    asked.method === method &&
    (place.endsWith('*') ? asked.place.startsWith(place.slice(0, -1)) : asked.place === place)
  );
}

/** The history of one path, which gives its pages as the server does; `versions` may grow. */
export class FakeHistory {
  constructor(
    readonly server: FakeServer,
    public versions: IVersion[],
    place = 'versions/a.ipynb'
  ) {
    server.on('GET', place, asked => this._page(asked));
  }

  /** What a request meets first; returns an answer instead of the page, or nothing. */
  before: (asked: IAsked) => unknown = () => undefined;

  /** Whether saves of the path become versions. */
  isArchived = true;

  private async _page({ method, place, query, body }: IAsked): Promise<unknown> {
    const said = await this.before({ method, place, query, body });
    if (said !== undefined) {
      return said;
    }
    if (query.pinned === 'true') {
      return this._told(
        this.versions.filter(version => version.label?.pinned),
        null
      );
    }
    const start = query.cursor
      ? this.versions.findIndex(version => version.version_id === query.cursor) + 1
      : 0;
    const end = start + Number(query.limit);
    const page = this.versions.slice(start, end);
    return this._told(page, end < this.versions.length ? page[page.length - 1].version_id : null);
  }

  private _told(versions: IVersion[], cursor: string | null): IHistoryPage {
    const is_archived = this.isArchived;
    return { path: 'a.ipynb', key: 'archive/a.ipynb', versions, cursor, is_archived };
  }
}

/** A promise that is kept when the test says so. */
export class Gate {
  open: () => void = () => undefined;

  readonly passed = new Promise<void>(resolve => {
    this.open = resolve;
  });
}

/** Wait until something holds. */
export async function until(holds: () => boolean, what = 'what is awaited'): Promise<void> {
  const end = performance.now() + 8000;
  while (!holds()) {
    if (performance.now() > end) {
      throw new Error(`${what} did not happen`);
    }
    await pause();
  }
}

/** Let everything happen that needs no time. */
export function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 5));
}

/** A document as far as bookstore sees it. */
export class FakeContext {
  constructor(public path: string) {}

  get localPath(): string {
    return this.path.slice(this.path.indexOf(':') + 1);
  }

  readonly pathChanged = new Signal<this, string>(this);
  readonly saveState = new Signal<this, string>(this);
  readonly disposed = new Signal<this, void>(this);
  readonly contentsModel = { type: 'notebook', last_modified: '2026-11-20T10:00:00Z' };
  isDisposed = false;
  /** What was typed. */
  typed = 'a text';
  readonly model = {
    dirty: false,
    fromString: (text: string) => {
      this.typed = text;
    },
    toJSON: () => ({
      cells: [{ cell_type: 'code', source: this.typed }],
      metadata: {},
      nbformat: 4,
      nbformat_minor: 5
    }),
    toString: () => this.typed
  };

  save = jest.fn(async () => {
    this.model.dirty = false;
    this.saveState.emit('completed');
  });

  revert = jest.fn(async () => {
    this.model.dirty = false;
  });
}

/** The windows of the application, with documents in some of them. */
export class FakeShell {
  readonly currentChanged = new Signal<this, object>(this);
  currentWidget: Widget | null = null;
  readonly all: Widget[] = [];
  private readonly _contexts = new Map<Widget, FakeContext>();

  /** Add a window, with a document or without. */
  add(context?: FakeContext): Widget {
    const widget = new Widget();
    this.all.push(widget);
    if (context !== undefined) {
      this._contexts.set(widget, context);
    }
    return widget;
  }

  focus(widget: Widget | null): void {
    this.currentWidget = widget;
    this.currentChanged.emit({});
  }

  widgets(): Widget[] {
    return this.all;
  }

  readonly manager = {
    contextForWidget: (widget: Widget) => this._contexts.get(widget),
    openOrReveal: jest.fn()
  };

  readonly contents = {
    get: jest.fn(() => Promise.resolve({})),
    driveName: (path: string) => (path.includes(':') ? path.slice(0, path.indexOf(':')) : ''),
    localPath: (path: string) => path.slice(path.indexOf(':') + 1)
  };

  documents(): Documents {
    return new Documents(
      this as never,
      this.manager as unknown as IDocumentManager,
      this.contents as unknown as Contents.IManager
    );
  }
}
