/**
 * Shows one version of a notebook or file, to be read only: nothing in it is trusted, and nothing in it runs.
 */

import { MainAreaWidget } from '@jupyterlab/apputils';
import type { IEditorServices } from '@jupyterlab/codeeditor';
import { PathExt } from '@jupyterlab/coreutils';
import type { ILanguageInfoMetadata, INotebookContent } from '@jupyterlab/nbformat';
import { Notebook, NotebookModel, StaticNotebook } from '@jupyterlab/notebook';
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { IFrame } from '@jupyterlab/ui-components';
import { Panel, Widget } from '@lumino/widgets';

import type { BookstoreApi } from './api';
import { failureHint } from './dialogs';
import { ApiError } from './api';
import { historyIcon } from './icons';
import type { IVersion } from './interfaces';
import { versionName } from './labels';
import { FAILED } from './presenter';

/** What a preview works with. */
export interface IPreviewParts {
  api: BookstoreApi;
  editorServices: IEditorServices;
  rendermime: IRenderMimeRegistry;
  translator: ITranslator;
  trans: TranslationBundle;
  locale: string;
  /** Whether the interface is dark now. */
  isDark: () => boolean;
}

/** The buttons above a version. */
export interface IToolbarButton {
  name: string;
  widget: Widget;
}

/**
 * A notebook as nobody trusts it: marks by which its author, or somebody else, called it trusted are taken off.
 *
 * Jupyter's server takes them off when it reads a file that the person has not signed; the bytes of a version come as
 * they were stored.
 */
export function untrusted(content: INotebookContent): INotebookContent {
  return {
    ...content,
    metadata: { ...content.metadata, language_info: languageOf(content) },
    cells: content.cells.map(cell => {
      const metadata = isObject(cell.metadata) ? { ...cell.metadata } : {};
      delete metadata.trusted;
      delete metadata['__proto__'];
      return { ...cell, metadata: { ...metadata, editable: false, deletable: false } };
    })
  };
}

/** The language of the code; a notebook that no kernel has run yet names it in another place. */
function languageOf(content: INotebookContent): ILanguageInfoMetadata {
  const told: unknown = content.metadata.kernelspec?.language;
  const info: unknown = content.metadata.language_info;
  return isObject(info) && typeof info.name === 'string'
    ? (info as ILanguageInfoMetadata)
    : { name: typeof told === 'string' ? told : '' };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The notebook that a text is, if JupyterLab can show it; older formats and broken ones it cannot. */
export function parsedNotebook(text: string): INotebookContent | null {
  let content: INotebookContent;
  try {
    // Without what would become the prototype of a copy: it would be found as if it stood in the copy itself.
    content = JSON.parse(text, (name, value: unknown) =>
      name === '__proto__' ? undefined : value
    ) as INotebookContent;
  } catch {
    return null; // the server's page shows what it is
  }
  const isShown =
    isObject(content) &&
    content.nbformat === 4 &&
    Array.isArray(content.cells) &&
    content.cells.every(isObject) &&
    isObject(content.metadata);
  return isShown ? content : null;
}

/** Make the widget that shows a version. */
export function makePreview(
  path: string,
  version: IVersion,
  buttons: IToolbarButton[],
  parts: IPreviewParts
): MainAreaWidget<Panel> {
  const panel = new Panel();
  panel.addClass('jp-bookstore-preview');
  holdForms(panel);
  const name = versionName(version, parts.locale);
  return makeView(panel, fill(panel, path, version, parts), buttons, {
    // First what tells one tab from another.
    label: `${name} · ${PathExt.basename(path)}`,
    caption: parts.trans.__('%1 as it was in the version “%2”', path, name)
  });
}

/** A tab with buttons above it, which shows its content once that is there. */
export function makeView(
  content: Panel,
  reveal: Promise<void>,
  buttons: IToolbarButton[],
  title: { label: string; caption: string }
): MainAreaWidget<Panel> {
  const widget = new MainAreaWidget({ content, reveal });
  widget.title.label = title.label;
  widget.title.caption = title.caption;
  widget.title.icon = historyIcon;
  for (const button of buttons) {
    widget.toolbar.addItem(button.name, button.widget);
  }
  return widget;
}

async function fill(
  panel: Panel,
  path: string,
  version: IVersion,
  parts: IPreviewParts
): Promise<void> {
  panel.addWidget(notice(parts.trans.__('A version, to be read only. Nothing in it runs.')));
  let shown: Widget;
  try {
    const content =
      PathExt.extname(version.path || path) === '.ipynb'
        ? parsedNotebook(await parts.api.text(path, version.version_id))
        : null;
    if (panel.isDisposed) {
      return;
    }
    shown =
      (content === null ? null : staticNotebook(content, parts)) ?? pageOf(path, version, parts);
  } catch (error) {
    shown = failureOf(error, parts.trans);
  }
  addIfOpen(panel, shown);
}

/** Add a widget to a panel that may have been closed meanwhile. */
export function addIfOpen(panel: Panel, widget: Widget): void {
  if (panel.isDisposed) {
    widget.dispose();
  } else {
    panel.addWidget(widget);
    if (widget.hasClass(FAILED)) {
      panel.parent?.addClass(FAILED);
    }
  }
}

/** What is shown in place of what could not be had. */
export function failureOf(error: unknown, trans: TranslationBundle): Widget {
  const widget = notice(
    error instanceof Error ? error.message : String(error),
    error instanceof ApiError ? failureHint(error, trans) : ''
  );
  widget.addClass(FAILED);
  widget.node.setAttribute('role', 'alert');
  return widget;
}

/** Forms in what others wrote lead nowhere: sent, they would take the whole page away, with all that is not saved. */
export function holdForms(widget: Widget): void {
  widget.node.addEventListener('submit', event => event.preventDefault(), true);
}

/** Lines of text above, or instead of, what is shown. */
export function notice(...texts: string[]): Widget {
  const widget = new Widget();
  widget.addClass('jp-bookstore-notice');
  for (const text of texts.filter(Boolean)) {
    const paragraph = document.createElement('p');
    paragraph.textContent = text;
    widget.node.append(paragraph);
  }
  return widget;
}

/** The server's page of a version, which may do nothing but be shown. */
function pageOf(path: string, version: IVersion, parts: IPreviewParts): Widget {
  const frame = new IFrame({ sandbox: [] });
  frame.addClass('jp-bookstore-page');
  frame.title.label = path;
  frame.url = parts.api.viewPageUrl(path, version.version_id, true);
  const page = frame.node.querySelector('iframe');
  if (page !== null) {
    page.title = path;
    // The page asks the browser for light or dark, and is told what its frame is.
    page.style.colorScheme = parts.isDark() ? 'dark' : 'light';
  }
  return frame;
}

/** The notebook in JupyterLab's own widget; null if that cannot take it, such as cells without a source. */
function staticNotebook(content: INotebookContent, parts: IPreviewParts): StaticNotebook | null {
  const model = new NotebookModel({ translator: parts.translator });
  try {
    model.fromJSON(untrusted(content));
  } catch {
    model.dispose();
    return null; // the server's page shows what it is
  }
  // Whatever it was that said so: nothing here is trusted.
  for (const cell of model.cells) {
    cell.trusted = false;
  }
  const config = StaticNotebook.defaultEditorConfig;
  const readOnly = { readOnly: true };
  const notebook = new StaticNotebook({
    contentFactory: new Notebook.ContentFactory({
      editorFactory: parts.editorServices.factoryService.newInlineEditor
    }),
    editorConfig: {
      code: { ...config.code, ...readOnly },
      markdown: { ...config.markdown, ...readOnly },
      raw: { ...config.raw, ...readOnly }
    },
    mimeTypeService: parts.editorServices.mimeTypeService,
    notebookConfig: { ...StaticNotebook.defaultNotebookConfig, windowingMode: 'defer' },
    // Its own: without the resolver of a document no relative address leads anywhere.
    rendermime: parts.rendermime.clone(),
    translator: parts.translator
  });
  notebook.model = model;
  // It scrolls: the keyboard has to reach it.
  notebook.outerNode.tabIndex = 0;
  notebook.disposed.connect(() => model.dispose());
  return notebook;
}
