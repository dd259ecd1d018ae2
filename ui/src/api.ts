/**
 * The requests that the interface makes of the server, and the errors that they end in.
 */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { Contents } from '@jupyterlab/services';

import type {
  IAbout,
  IArchiveStatus,
  ICloned,
  IComparison,
  IHistoryPage,
  IPublished,
  IRestored,
  IVersion
} from './interfaces';

/** A request that failed: what happened, and the next step. */
export class ApiError extends Error {
  /**
   * @param status - The HTTP status; 0 if there was no answer.
   * @param message - For people: what happened.
   * @param hint - For people: the next step; may be empty.
   * @param code - For programs: the name of a class of `bookstore.errors`, or empty.
   */
  constructor(
    readonly status: number,
    message: string,
    readonly hint = '',
    readonly code = ''
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** What a restored file is expected to be. */
export interface IRestoreOptions {
  /** The contents model's `last_modified`: another one on disk is a conflict. */
  expectedLastModified?: string;
  /** Write although the file changed since. */
  force?: boolean;
}

/** The part of a contents model that a comparison needs. */
export type EditorContent = Pick<Contents.IModel, 'type' | 'format' | 'content'>;

/** The verbs over the archive, as the server offers them. */
export class BookstoreApi {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  /** The release, the features and the archive's state. */
  about(): Promise<IAbout> {
    return this._json<IAbout>('GET', []);
  }

  /** The archive's state. */
  status(): Promise<IArchiveStatus> {
    return this._json<IArchiveStatus>('GET', ['status']);
  }

  /** A page of the history of a path. */
  versions(path: string, limit: number, cursor?: string | null): Promise<IHistoryPage> {
    return this._json<IHistoryPage>('GET', ['versions', path], {
      limit: `${limit}`,
      ...(cursor ? { cursor } : {})
    });
  }

  /** The pinned versions of a path. */
  async pinned(path: string): Promise<IVersion[]> {
    const page = await this._json<IHistoryPage>('GET', ['versions', path], { pinned: 'true' });
    return page.versions;
  }

  /** The text of one version. */
  async text(path: string, versionId: string): Promise<string> {
    const response = await this._request('GET', ['content', path], { version_id: versionId });
    return response.text();
  }

  /** Compare two versions. */
  compare(path: string, before: string, after: string): Promise<IComparison> {
    return this._json<IComparison>('GET', ['diff', path], { before, after, notebook: 'true' });
  }

  /** Compare a version with the file as it is on disk. */
  compareWithFile(path: string, before: string): Promise<IComparison> {
    return this._json<IComparison>('GET', ['diff', path], { before, notebook: 'true' });
  }

  /** Compare a version with what is in the editor, saved or not. */
  compareWithEditor(path: string, before: string, now: EditorContent): Promise<IComparison> {
    return this._json<IComparison>('POST', ['diff', path], {}, { before, notebook: true, ...now });
  }

  /** Name, annotate or pin a version; what is left out stays as it is. */
  label(
    path: string,
    versionId: string,
    label: { name?: string; note?: string; pinned?: boolean }
  ): Promise<IVersion> {
    return this._json<IVersion>('PATCH', ['label', path], {}, { version_id: versionId, ...label });
  }

  /** Write a version's bytes to the file, as a new version. */
  restore(path: string, versionId: string, options: IRestoreOptions = {}): Promise<IRestored> {
    return this._json<IRestored>(
      'POST',
      ['restore', path],
      {},
      {
        version_id: versionId,
        ...(options.expectedLastModified
          ? { expected_last_modified: options.expectedLastModified }
          : {}),
        ...(options.force ? { force: true } : {})
      }
    );
  }

  /** Publish the notebook as it is on disk. */
  publish(path: string): Promise<IPublished> {
    return this._json<IPublished>('PUT', ['publish', path]);
  }

  /** Make a new file from a version. */
  clone(bucket: string, version: IVersion, targetPath: string): Promise<ICloned> {
    return this._json<ICloned>(
      'POST',
      ['clone'],
      {},
      {
        s3_bucket: bucket,
        s3_key: version.key,
        s3_version_id: version.version_id,
        target_path: targetPath
      }
    );
  }

  /** Ship what waits, now. */
  flush(): Promise<{ remaining: number; archive: IArchiveStatus }> {
    return this._json('POST', ['flush'], {}, { timeout: 10 });
  }

  /** The address of the page that asks whether to clone a version. */
  clonePageUrl(bucket: string, key: string, versionId: string | null): string {
    return this._page('bookstore/clone', {
      s3_bucket: bucket,
      s3_key: key,
      ...(versionId ? { s3_version_id: versionId } : {})
    });
  }

  /**
   * The address of the page that shows a version.
   *
   * @param isEmbedded - Whether it is for a frame: without its head, and links, which would not work there.
   */
  viewPageUrl(path: string, versionId: string, isEmbedded = false): string {
    const place = URLExt.join('bookstore/view', URLExt.encodeParts(path));
    return this._page(place, {
      version_id: versionId,
      ...(isEmbedded ? { embedded: 'true' } : {})
    });
  }

  private _page(place: string, query: Record<string, string>): string {
    const url = URLExt.join(this._settings.baseUrl, place) + queryString(query);
    return new URL(url, window.location.href).href;
  }

  private async _json<T>(
    method: string,
    parts: string[],
    query: Record<string, string> = {},
    body?: object
  ): Promise<T> {
    const response = await this._request(method, parts, query, body);
    try {
      return (await response.json()) as T;
    } catch {
      // The page of a proxy that wants people to sign in, for instance, may come as if all was well.
      throw new ApiError(response.status, 'The answer is not one of bookstore.', '', 'NoJson');
    }
  }

  private async _request(
    method: string,
    parts: string[],
    query: Record<string, string>,
    body?: object
  ): Promise<Response> {
    const url =
      URLExt.join(this._settings.baseUrl, 'api/bookstore', ...parts.map(encoded)) +
      queryString(query);
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        url,
        { method, ...(body ? { body: JSON.stringify(body) } : {}) },
        this._settings
      );
    } catch (error) {
      throw new ApiError(0, error instanceof Error ? error.message : String(error), '', 'NoAnswer');
    }
    if (!response.ok) {
      throw await errorOf(response);
    }
    return response;
  }
}

/** A path within an address; one that would lead elsewhere is none of the server's documents. */
function encoded(path: string): string {
  if (path.split('/').some(part => part === '.' || part === '..')) {
    throw new ApiError(400, `There is no such path: ${path}`, '', 'PathInvalid');
  }
  return URLExt.encodeParts(path);
}

function queryString(query: Record<string, string>): string {
  const text = new URLSearchParams(query).toString();
  return text ? `?${text}` : '';
}

/** What a response says that is none. */
async function errorOf(response: Response): Promise<ApiError> {
  let said: { message?: unknown; hint?: unknown; code?: unknown } = {};
  try {
    said = ((await response.json()) as typeof said | null) ?? {};
  } catch {
    // A proxy's page, for instance: its status is all that there is to tell.
  }
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return new ApiError(
    response.status,
    text(said.message) || `${response.status} ${response.statusText}`.trim(),
    text(said.hint),
    text(said.code)
  );
}
