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
   * archived first, and what was typed meanwhile stays in the editor.
   */
  async restore(path: string, version: IVersion): Promise<void> {
    const { trans, locale } = this._parts;
    const name = versionName(version, locale);
    const file = PathExt.basename(path);
    const contexts = this._parts.documents.open(path);
    const dirty = contexts.filter(context => context.model.dirty);
    const accepted = await confirm(
      trans.__('Restore %1?', file),
      paragraphs(
        trans.__('The file will be again as it was in the version “%1”.', name),
        dirty.length > 0
          ? trans.__(
              'It has changes that are not saved: they are saved first, as a version of their own.'
            )
          : '',
        trans.__('This adds a version to the history; all others stay, so that you can go back.')
      ),
      dirty.length > 0 ? trans.__('Save and Restore') : trans.__('Restore'),
      trans
    );
    if (!accepted || !(await this._allSaved(contexts.filter(isToBeSaved)))) {
      return;
    }
    if (!(await this._restoreOnServer(path, version, contexts))) {
      return;
    }
    for (const context of contexts) {
      await this._reload(context);
    }
    this._parts.monitor.notice();
    await this._parts.history.refresh();
    tell(trans.__('%1 is as it was in the version “%2”.', file, name));
  }

  /** Ask for a version's name and note. */
  async label(path: string, version: IVersion): Promise<void> {
    const { api, history, locale, trans } = this._parts;
    const label = await askLabel(
      trans.__('Name the version of %1', versionName({ ...version, label: null }, locale)),
      { name: version.label?.name ?? '', note: version.label?.note ?? '' },
      trans
    );
    if (label !== null) {
      await this._guarded(trans.__('The version could not be named'), async () => {
        history.replace(await api.label(path, version.version_id, label));
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
      history.replace(await api.label(path, version.version_id, { pinned }));
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
    const contexts = this._parts.documents.open(path);
    const dirty = contexts.filter(context => context.model.dirty);
    const accepted =
      !ask ||
      (await confirm(
        trans.__('Publish %1?', file),
        paragraphs(
          trans.__(
            'It becomes the newest version of its publication, for all who may read the bucket.'
          ),
          dirty.length > 0 ? trans.__('Changes that are not saved are saved first.') : ''
        ),
        trans.__('Publish'),
        trans
      ));
    if (!accepted || !(await this._allSaved(contexts.filter(isToBeSaved)))) {
      return;
    }
    await this._guarded(trans.__('%1 could not be published', file), async () => {
      await this._showPublished(file, await this._parts.api.publish(path));
    });
  }

  private async _showPublished(file: string, published: IPublished): Promise<void> {
    const { api, monitor, trans } = this._parts;
    const link = monitor.features?.s3_clone_valid
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

  /** Save documents; false if one of them still is not. */
  private async _allSaved(contexts: DocumentContext[]): Promise<boolean> {
    const { trans } = this._parts;
    for (const context of contexts) {
      const file = PathExt.basename(context.localPath);
      try {
        await context.save();
      } catch (error) {
        await showFailure(trans.__('%1 could not be saved', file), error, trans);
        return false;
      }
      if (context.model.dirty) {
        await showFailure(
          trans.__('%1 is not saved', file),
          new Error(trans.__('It still has changes that are not saved, so that nothing was done.')),
          trans
        );
        return false;
      }
    }
    return true;
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
    const seen = contexts[0]?.contentsModel?.last_modified;
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

  /** Show the restored file in an editor that is open. */
  private async _reload(context: DocumentContext): Promise<void> {
    const { trans } = this._parts;
    if (context.model.dirty) {
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
        return;
      }
    }
    await context.revert();
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
