/**
 * The questions that are asked before something is done, and what is told after it.
 */

import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import * as React from 'react';

import { ApiError } from './api';
import type { ILabel } from './interfaces';

/** Milliseconds for which a short message stays. */
const MESSAGE_STAYS = 4000;

/** Paragraphs of a dialog. */
export function paragraphs(...texts: string[]): React.ReactElement {
  return (
    <div className="jp-bookstore-dialog">
      {texts.filter(Boolean).map(text => (
        <p key={text}>{text}</p>
      ))}
    </div>
  );
}

/** Ask whether to go on. */
export async function confirm(
  title: string,
  body: React.ReactElement,
  accept: string,
  trans: TranslationBundle,
  warn = false
): Promise<boolean> {
  const button = warn ? Dialog.warnButton : Dialog.okButton;
  const result = await showDialog({
    title,
    body,
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), button({ label: accept })],
    // What cannot be taken back is not what Enter does.
    defaultButton: warn ? 0 : 1
  });
  return result.button.accept;
}

/** Tell what failed, and the next step. */
export async function showFailure(
  title: string,
  error: unknown,
  trans: TranslationBundle
): Promise<void> {
  const hint = error instanceof ApiError ? failureHint(error, trans) : '';
  const message = error instanceof Error ? error.message : String(error);
  await showDialog({
    title,
    body: paragraphs(message, hint),
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
}

/** The next step after a request that failed. */
export function failureHint(error: ApiError, trans: TranslationBundle): string {
  if (error.hint !== '') {
    return error.hint;
  }
  if (error.status === 0) {
    return trans.__('Check your connection, and that Jupyter is running.');
  }
  return error.status === 401 || error.status === 403 || error.code === 'NoJson'
    ? trans.__('Reload the page, and sign in if you are asked to.')
    : '';
}

/** Put a text into the clipboard, and say so. */
export function copyText(text: string, said: string): void {
  Clipboard.copyToSystem(text);
  Notification.info(said, { autoClose: MESSAGE_STAYS });
}

/** Say that something is done. */
export function tell(said: string): void {
  Notification.success(said, { autoClose: MESSAGE_STAYS });
}

/** The fields of a label. */
class LabelBody extends Widget implements Dialog.IBodyWidget<Pick<ILabel, 'name' | 'note'>> {
  constructor(label: Pick<ILabel, 'name' | 'note'>, trans: TranslationBundle) {
    super();
    this.addClass('jp-bookstore-dialog');
    this._name = document.createElement('input');
    this._name.value = label.name;
    this._name.maxLength = 200;
    this._name.className = 'jp-mod-styled';
    this._note = document.createElement('textarea');
    this._note.value = label.note;
    this._note.maxLength = 4000;
    this._note.rows = 4;
    this._note.className = 'jp-mod-styled';
    this._add(trans.__('Name'), this._name);
    this._add(trans.__('Note'), this._note);
  }

  getValue(): Pick<ILabel, 'name' | 'note'> {
    return { name: this._name.value.trim(), note: this._note.value.trim() };
  }

  private _add(text: string, field: HTMLElement): void {
    const label = document.createElement('label');
    label.append(text, field);
    this.node.append(label);
  }

  private readonly _name: HTMLInputElement;
  private readonly _note: HTMLTextAreaElement;
}

/**
 * Ask for a version's name and note.
 *
 * @returns What was written; null if nothing is to be changed.
 */
export async function askLabel(
  title: string,
  label: Pick<ILabel, 'name' | 'note'>,
  trans: TranslationBundle
): Promise<Pick<ILabel, 'name' | 'note'> | null> {
  const result = await showDialog({
    title,
    body: new LabelBody(label, trans),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Save') })
    ],
    focusNodeSelector: 'input'
  });
  return result.button.accept ? result.value : null;
}
