/**
 * nbdime's view of two notebooks side by side; loaded when it is needed.
 */

import type { CodeEditor } from '@jupyterlab/codeeditor';
import type { INotebookContent } from '@jupyterlab/nbformat';
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ITranslator } from '@jupyterlab/translation';
import type { IDiffEntry } from 'nbdime/lib/diff/diffentries';
import { NotebookDiffModel } from 'nbdime/lib/diff/model';
import { NotebookDiffWidget } from 'nbdime/lib/diff/widget';

import 'nbdime/lib/common/collapsible.css';
import 'nbdime/lib/styles/variables.css';
import 'nbdime/lib/styles/common.css';
import 'nbdime/lib/styles/diff.css';

/** What nbdime's widgets work with. */
export interface INbdimeParts {
  editorFactory: CodeEditor.Factory;
  rendermime: IRenderMimeRegistry;
  translator: ITranslator;
}

/**
 * Make nbdime's widget; its `init` draws it.
 *
 * @param base - The older notebook, in the form that the difference is of.
 * @param diff - In nbdime's format.
 */
export function makeNotebookDiff(
  base: INotebookContent,
  diff: object[],
  parts: INbdimeParts
): NotebookDiffWidget {
  const model = new NotebookDiffModel(base, diff as IDiffEntry[]);
  const widget = new NotebookDiffWidget({ model, collapseIdentical: true, ...parts });
  // nbdime's own styles lay out what stands below this class.
  widget.addClass('nbdime-root');
  return widget;
}
