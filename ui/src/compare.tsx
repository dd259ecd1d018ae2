/**
 * Shows what is different between two versions, or a version and the document: notebooks by nbdime's own widgets.
 */

import type { MainAreaWidget } from '@jupyterlab/apputils';
import type { IEditorServices } from '@jupyterlab/codeeditor';
import { PathExt } from '@jupyterlab/coreutils';
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { Panel, Widget } from '@lumino/widgets';

import { humanSize } from './format';
import type { ICellChange, IComparison, ISide } from './interfaces';
import { addIfOpen, failureOf, holdForms, makeView, notice } from './preview';
import type { IToolbarButton } from './preview';

/** What a comparison works with. */
export interface ICompareParts {
  editorServices: IEditorServices;
  rendermime: IRenderMimeRegistry;
  translator: ITranslator;
  trans: TranslationBundle;
  locale: string;
}

/** Two sides, by the names that people give them. */
export interface ISides {
  path: string;
  before: string;
  after: string;
}

/** Make the widget that shows a comparison. */
export function makeComparison(
  sides: ISides,
  compare: () => Promise<IComparison>,
  buttons: IToolbarButton[],
  parts: ICompareParts
): MainAreaWidget<Panel> {
  const panel = new Panel();
  panel.addClass('jp-bookstore-compare');
  holdForms(panel);
  return makeView(panel, fill(panel, sides, compare, parts), buttons, {
    label: `${sides.before} → ${sides.after}`,
    caption: parts.trans.__('Compare %1', PathExt.basename(sides.path))
  });
}

async function fill(
  panel: Panel,
  sides: ISides,
  compare: () => Promise<IComparison>,
  parts: ICompareParts
): Promise<void> {
  const { trans } = parts;
  panel.addWidget(heads(sides));
  try {
    const comparison = await compare();
    if (panel.isDisposed) {
      return;
    }
    if (comparison.identical) {
      panel.addWidget(notice(trans.__('There is no difference.')));
    } else if (comparison.kind === 'notebook') {
      await addNotebooks(panel, comparison, parts);
    } else if (comparison.kind === 'text') {
      panel.addWidget(unifiedDiff(comparison.text_diff));
    } else {
      panel.addWidget(binary(comparison, parts));
    }
  } catch (error) {
    addIfOpen(panel, failureOf(error, trans));
  }
}

function heads(sides: ISides): Widget {
  const widget = new Widget();
  widget.addClass('jp-bookstore-sides');
  for (const [name, text] of [
    ['before', sides.before],
    ['after', sides.after]
  ]) {
    const side = document.createElement('div');
    side.dataset.side = name;
    side.textContent = text;
    widget.node.append(side);
  }
  return widget;
}

async function addNotebooks(
  panel: Panel,
  comparison: IComparison,
  parts: ICompareParts
): Promise<void> {
  const { trans } = parts;
  if (!comparison.base) {
    addSources(
      panel,
      comparison,
      trans.__('So much is different that only the sources are compared.'),
      trans
    );
    return;
  }
  if (comparison.nbdime.length === 0) {
    panel.addWidget(
      notice(trans.__('The notebooks say the same; only the way they are written is different.'))
    );
    return;
  }
  // Loaded when it is needed: it is larger than all the rest of the extension.
  const { makeNotebookDiff } = await import('./nbdime');
  if (panel.isDisposed) {
    return;
  }
  let diff: ReturnType<typeof makeNotebookDiff>;
  try {
    diff = makeNotebookDiff(comparison.base, comparison.nbdime, {
      editorFactory: parts.editorServices.factoryService.newInlineEditor,
      rendermime: parts.rendermime.clone(),
      translator: parts.translator
    });
  } catch (error) {
    // Keys that mean something else in JavaScript, for instance.
    const why = error instanceof Error ? error.message : String(error);
    addSources(
      panel,
      comparison,
      trans.__('nbdime cannot show them (%1): only the sources are compared.', why),
      trans
    );
    return;
  }
  panel.addWidget(unchangedToggle(diff, trans));
  panel.addWidget(diff);
  await diff.init();
}

/** Compare what nbdime's widgets do not: cell by cell, what was typed. */
function addSources(
  panel: Panel,
  comparison: IComparison,
  why: string,
  trans: TranslationBundle
): void {
  panel.addWidget(notice(why));
  comparison.cells.forEach(cell => panel.addWidget(cellChange(cell, trans)));
}

/** A box to leave out what is the same on both sides. */
function unchangedToggle(diff: Widget, trans: TranslationBundle): Widget {
  const widget = new Widget();
  widget.addClass('jp-bookstore-toggle');
  const label = document.createElement('label');
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = true;
  const follow = () => diff.toggleClass('jp-bookstore-changes-only', box.checked);
  box.addEventListener('change', follow);
  follow();
  label.append(box, ' ', trans.__('Only what is different'));
  widget.node.append(label);
  return widget;
}

/** A unified diff, with its lines coloured. */
export function unifiedDiff(text: string): Widget {
  const widget = new Widget({ node: document.createElement('pre') });
  widget.addClass('jp-bookstore-diff');
  widget.node.tabIndex = 0;
  let isHead = true;
  for (const line of text.split('\n')) {
    // Lines that begin like a head, such as a removed comment of SQL, come after the first mark of a place.
    isHead &&= !line.startsWith('@@');
    const row = document.createElement('span');
    row.textContent = `${line}\n`;
    row.dataset.kind = isHead ? 'head' : kindOf(line);
    widget.node.append(row);
  }
  return widget;
}

function kindOf(line: string): string {
  const kinds: Record<string, string> = { '+': 'added', '-': 'removed', '@': 'head' };
  return kinds[line.charAt(0)] ?? 'same';
}

function cellChange(cell: ICellChange, trans: TranslationBundle): Widget {
  const panel = new Panel();
  const place = (cell.index_after ?? cell.index_before ?? 0) + 1;
  const titles = {
    added: trans.__('Cell %1 was added', place),
    removed: trans.__('Cell %1 was removed', place),
    changed: trans.__('Cell %1 was changed: %2', place, cell.changed.join(', '))
  };
  panel.addWidget(notice(titles[cell.kind]));
  if (cell.source_diff !== '') {
    panel.addWidget(unifiedDiff(cell.source_diff));
  }
  return panel;
}

function binary(comparison: IComparison, { locale, trans }: ICompareParts): Widget {
  const told = (side: ISide) =>
    trans.__('%1, SHA-256 %2', humanSize(side.size, locale), side.sha256);
  return notice(
    trans.__('The two are different, and no text that could be compared.'),
    trans.__('Before: %1', told(comparison.before)),
    trans.__('After: %1', told(comparison.after))
  );
}
