/**
 * What can be done with a version, and the care that is taken over it.
 */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import { PathExt } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ApiError } from './api';
import type { BookstoreApi } from './api';
import { behindCurtain } from './curtain';
import { askLabel, confirm, copyText, paragraphs, showFailure, tell } from './dialogs';
import type { DocumentContext, Documents } from './documents';
import type { HistoryModel } from './history';
import type { IPublished, IVersion } from './interfaces';
import { copyName, versionName } from './labels';
import type { ArchiveMonitor } from './monitor';

/**
 * Whether a document may hold what no file does. A shared one does not tell: what somebody typed a moment ago is on its
 * way to the server.
 */
function isToBeSaved(context: DocumentContext): boolean {
  return context.model.dirty || context.model.collaborative === true;
}

/** How often a document is saved that changes while it is saved, as some do that are formatted by it. */
const SAVES = 3;

/** What people type: of a notebook the sources, since outputs come from the kernel while nobody types. */
function typedIn(context: DocumentContext): string {
  if (context.contentsModel?.type !== 'notebook') {
    return context.model.toString();
  }
  const { cells } = context.model.toJSON() as { cells?: { cell_type: string; source: unknown }[] };
  return JSON.stringify((cells ?? []).map(cell => [cell.cell_type, cell.source]));
}

/** What the actions work with. */
export interface IParts {
  api: BookstoreApi;
  documents: Documents;
  history: HistoryModel;
  manager: IDocumentManager;
  monitor: ArchiveMonitor;
  trans: TranslationBundle;
  /** In which times are written. */
  locale: string;
}

/** What can be done with a version. */
export class Actions {
  constructor(private readonly _parts: IParts) {}

  /**
   * Bring a version back. Nothing is thrown away: what was typed and not saved is saved first, what the file holds is
   * archived first, and nothing can be typed while it is done.
   */
  async restore(path: string, version: IVersion): Promise<void> {
    const { documents, history, locale, monitor, trans } = this._parts;
    const name = versionName(version, locale);
    const file = PathExt.basename(path);
    const isDirty = documents.open(path).some(context => context.model.dirty);
    const accepted = await confirm(
      trans.__('Restore %1?', file),
      paragraphs(
        trans.__('The file will be again as it was in the version “%1”.', name),
        (await documents.exists(path))
          ? ''
          : trans.__('There is no file of this name any more: it is made anew.'),
        isDirty
          ? trans.__(
              'It has changes that are not saved: they are saved first, as a version of their own.'
            )
          : '',
        trans.__('This adds a version to the history; all others stay, so that you can go back.')
      ),
      isDirty ? trans.__('Save and Restore') : trans.__('Restore'),
      trans
    );
    if (!accepted) {
      return;
    }
    const isRestored = await behindCurtain(trans.__('Restoring %1…', file), async () => {
      const contexts = documents.open(path);
      const saved = await this._save(contexts);
      if (saved === null || !(await this._restoreOnServer(path, version, contexts))) {
        return false;
      }
      let isShown = true;
      for (const context of contexts) {
        isShown = (await this._reload(context, version, saved.get(context))) && isShown;
      }
      return isShown;
    });
    monitor.notice();
    await history.refresh();
    if (isRestored) {
      tell(trans.__('%1 is as it was in the version “%2”.', file, name));
    }
  }

  /** Ask for a version's name and note, until they are written or given up. */
  async label(path: string, version: IVersion): Promise<void> {
    const { api, history, locale, trans } = this._parts;
    const title = trans.__(
      'Name the version of %1',
      versionName({ ...version, label: null }, locale)
    );
    let label = { name: version.label?.name ?? '', note: version.label?.note ?? '' };
    for (let isWritten = false; !isWritten;) {
      const asked = await askLabel(title, label, trans);
      if (asked === null) {
        return;
      }
      label = asked;
      isWritten = await this._guarded(trans.__('The version could not be named'), async () => {
        history.replace(path, await api.label(path, version.version_id, asked));
      });
    }
  }

  /** Pin a version, or let it go. */
  async togglePin(path: string, version: IVersion): Promise<void> {
    const { api, history, trans } = this._parts;
    const pinned = !version.label?.pinned;
    const title = pinned
      ? trans.__('The version could not be pinned')
      : trans.__('The version could not be unpinned');
    await this._guarded(title, async () => {
      history.replace(path, await api.label(path, version.version_id, { pinned }));
    });
  }

  /** Copy the address of the page that offers a version to others. */
  copyLink(version: IVersion): void {
    const { api, monitor, trans } = this._parts;
    copyText(
      api.clonePageUrl(monitor.bucket, version.key, version.version_id),
      trans.__(
        'The link is in the clipboard. Whoever may read the bucket can clone the version with it.'
      )
    );
  }

  /** Make a new file from a version, beside the file, and open it. */
  async openAsNew(path: string, version: IVersion): Promise<void> {
    const { api, manager, monitor, trans } = this._parts;
    await this._guarded(trans.__('The version could not be opened as a new file'), async () => {
      const cloned = await api.clone(monitor.bucket, version, copyName(path, version));
      manager.openOrReveal(cloned.path);
      tell(trans.__('The version is the new file %1.', cloned.path));
    });
  }

  /**
   * Publish a notebook as it is in the editor.
   *
   * @param ask - Whether to ask before.
   */
  async publish(path: string, ask: boolean): Promise<void> {
    const { trans } = this._parts;
    const file = PathExt.basename(path);
    const { api, documents } = this._parts;
    const isDirty = documents.open(path).some(context => context.model.dirty);
    const accepted =
      !ask ||
      (await confirm(
        trans.__('Publish %1?', file),
        paragraphs(
          trans.__(
            'It becomes the newest version of its publication, for all who may read the bucket.'
          ),
          isDirty ? trans.__('Changes that are not saved are saved first.') : ''
        ),
        trans.__('Publish'),
        trans
      ));
    if (!accepted) {
      return;
    }
    await this._guarded(trans.__('%1 could not be published', file), async () => {
      const published = await behindCurtain(trans.__('Publishing %1…', file), async () =>
        (await this._save(documents.open(path))) === null ? null : api.publish(path)
      );
      if (published !== null) {
        await this._showPublished(file, published);
      }
    });
  }

  private async _showPublished(file: string, published: IPublished): Promise<void> {
    const { api, monitor, trans } = this._parts;
    const link = monitor.canClone
      ? api.clonePageUrl(monitor.bucket, published.key, published.versionID)
      : '';
    const copyAddress = Dialog.createButton({ label: trans.__('Copy Address') });
    const copyLink = Dialog.createButton({ label: trans.__('Copy Link') });
    const result = await showDialog({
      title: trans.__('%1 is published', file),
      body: (
        <div className="jp-bookstore-dialog jp-bookstore-published">
          <p>{trans.__('Its address is')}</p>
          <p>
            <code>{published.s3_path}</code>
          </p>
          {published.versionID !== null && (
            <p>
              {trans.__('Version')} <code>{published.versionID}</code>
            </p>
          )}
          {link !== '' && (
            <p>
              <a href={link} target="_blank" rel="noreferrer">
                {trans.__('The page to clone it')}
              </a>
            </p>
          )}
        </div>
      ),
      buttons: [
        copyAddress,
        ...(link === '' ? [] : [copyLink]),
        Dialog.okButton({ label: trans.__('Close') })
      ]
    });
    if (result.button === copyAddress) {
      copyText(published.s3_path, trans.__('The address is in the clipboard.'));
    } else if (result.button === copyLink) {
      copyText(link, trans.__('The link is in the clipboard.'));
    }
  }

  /**
   * Save what is not saved.
   *
   * @returns What each document holds that was typed; null if one of them still is not saved.
   */
  private async _save(contexts: DocumentContext[]): Promise<Map<DocumentContext, string> | null> {
    const { trans } = this._parts;
    const saved = new Map<DocumentContext, string>();
    for (const context of contexts) {
      let typed = typedIn(context);
      if (isToBeSaved(context)) {
        // A save takes the content at its beginning and calls the document saved at its end, whatever came between.
        for (let turn = 0; turn < SAVES; turn += 1) {
          typed = typedIn(context);
          try {
            await context.save();
          } catch {
            return null; // JupyterLab has told why, or was told to leave it
          }
          if (typedIn(context) === typed) {
            break;
          }
        }
        if (context.model.dirty) {
          await showFailure(
            trans.__('%1 is not saved', PathExt.basename(context.localPath)),
            new Error(
              trans.__('It still has changes that are not saved, so that nothing was done.')
            ),
            trans
          );
          return null;
        }
      }
      saved.set(context, typed);
    }
    return saved;
  }

  /** Have the server write the version; false if it did not. */
  private async _restoreOnServer(
    path: string,
    version: IVersion,
    contexts: DocumentContext[]
  ): Promise<boolean> {
    const { api, trans } = this._parts;
    const file = PathExt.basename(path);
    const title = trans.__('%1 could not be restored', file);
    // Of several editors the one that saved last has seen what the file holds.
    const seen = contexts
      .map(context => context.contentsModel?.last_modified ?? '')
      .sort()
      .pop();
    try {
      await api.restore(path, version.version_id, { expectedLastModified: seen });
      return true;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) {
        await showFailure(title, error, trans);
        return false;
      }
    }
    const accepted = await confirm(
      trans.__('%1 was changed on disk', file),
      paragraphs(
        trans.__('The file is not the one that is open here: something else has written it since.'),
        trans.__(
          'If you restore, what it holds now is archived first, so that it stays in the history.'
        )
      ),
      trans.__('Restore Anyway'),
      trans,
      true
    );
    return (
      accepted &&
      this._guarded(title, async () => {
        await api.restore(path, version.version_id, { force: true });
      })
    );
  }

  /**
   * Show the restored file in an editor that is open.
   *
   * @param saved - What the editor held when it was saved: something else came from a program, or another person.
   */
  private async _reload(
    context: DocumentContext,
    version: IVersion,
    saved: string | undefined
  ): Promise<boolean> {
    const { trans } = this._parts;
    if (context.isDisposed) {
      return true;
    }
    if (typedIn(context) !== saved) {
      const accepted = await confirm(
        trans.__('Show the restored file?'),
        paragraphs(
          trans.__(
            'The file is restored. Something was typed meanwhile, which would be lost in the editor.'
          )
        ),
        trans.__('Show the Restored File'),
        trans,
        true
      );
      if (!accepted) {
        return false;
      }
    }
    const title = trans.__('The file is restored, but the editor does not show it');
    return this._guarded(title, async () => {
      await context.revert();
      if (version.size === 0 && context.model.toString() !== '') {
        // JupyterLab takes an empty content for none.
        context.model.fromString('');
        context.model.dirty = false;
      }
    });
  }

  /** Do something; if it fails, tell why. */
  private async _guarded(title: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      await showFailure(title, error, this._parts.trans);
      return false;
    }
  }
}
