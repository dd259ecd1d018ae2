import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import { makeComparison, unifiedDiff } from './compare';
import type { ICompareParts } from './compare';
import type { IComparison } from './interfaces';
import { trans, until } from './testing/doubles';

const hostile = '<img src=x onerror="window.ran = true"><script>window.ran = true</script>';
const side = { path: 'a', version_id: 'v', size: 1500, sha256: 'abc', saved_at: '' };
const parts = {
  editorServices: { factoryService: { newInlineEditor: () => undefined } },
  locale: 'en',
  rendermime: { clone: () => undefined },
  trans
} as unknown as ICompareParts;

function compared(other: Partial<IComparison>): IComparison {
  return {
    before: side,
    after: { ...side, size: 2_500_000, sha256: 'def' },
    kind: 'text',
    identical: false,
    cells: [],
    metadata_changed: false,
    text_diff: '',
    nbdime: [],
    base: null,
    ...other
  };
}

async function shown(comparison: Promise<IComparison>): Promise<HTMLElement> {
  const sides = { path: 'x/a.ipynb', before: `before ${hostile}`, after: 'after' };
  const widget = makeComparison(sides, () => comparison, [], parts);
  Widget.attach(widget, document.body);
  await until(() => widget.content.widgets.length > 1);
  expect(widget.title.caption).toBe('Compare a.ipynb');
  expect(widget.title.label).toBe(`before ${hostile} → after`);
  return widget.content.node;
}

it('takes no form that others wrote out of the page', async () => {
  const node = await shown(Promise.resolve(compared({ identical: true })));
  const form = node.appendChild(document.createElement('form'));
  const sent = new SubmitEvent('submit', { bubbles: true, cancelable: true });
  expect(form.dispatchEvent(sent)).toBe(false);
});

it('bears to be closed while it is asked for', async () => {
  let answer: (comparison: IComparison) => void = () => undefined;
  const sides = { path: 'a.ipynb', before: 'before', after: 'after' };
  const asked = new Promise<IComparison>(resolve => {
    answer = resolve;
  });
  const widget = makeComparison(sides, () => asked, [], parts);
  const { content } = widget;
  widget.dispose();
  answer(compared({ identical: true }));
  await asked;
  await until(() => content.isDisposed);
  expect(content.node.textContent).not.toContain('no difference');
});

describe('unifiedDiff', () => {
  it('takes no line of the texts for a head, whatever it begins with', () => {
    const text = '--- a\n+++ b\n@@ -1,2 +1,1 @@\n--- a comment of SQL\n-x\n+++y';
    const rows = [...unifiedDiff(text).node.children] as HTMLElement[];
    const kinds = ['head', 'head', 'head', 'removed', 'removed', 'added'];
    expect(rows.map(row => row.dataset.kind)).toEqual(kinds);
  });

  it('tells lines by their kind', () => {
    const { node } = unifiedDiff('--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\n');
    const rows = [...node.children] as HTMLElement[];
    expect(rows.map(row => row.dataset.kind)).toEqual([
      'head',
      'head',
      'head',
      'same',
      'removed',
      'added',
      'same'
    ]);
    expect(node.tabIndex).toBe(0);
  });

  it('makes no HTML of the text', () => {
    const { node } = unifiedDiff(`+${hostile}\n &amp;`);
    expect(node.querySelector('img, script')).toBeNull();
    expect(node.textContent).toBe(`+${hostile}\n &amp;\n`);
  });
});

describe('a comparison', () => {
  it('names the two sides, without HTML', async () => {
    const node = await shown(Promise.resolve(compared({ identical: true })));
    expect(node.querySelector('[data-side=before]')?.textContent).toBe(`before ${hostile}`);
    expect(node.querySelector('[data-side=after]')?.textContent).toBe('after');
    expect(node.querySelector('img, script')).toBeNull();
    expect(node.textContent).toContain('There is no difference.');
  });

  it('of texts is a unified diff', async () => {
    const node = await shown(Promise.resolve(compared({ text_diff: `+${hostile}` })));
    expect(node.querySelector('.jp-bookstore-diff')?.textContent).toBe(`+${hostile}\n`);
    expect(node.querySelector('img, script')).toBeNull();
  });

  it('of other files tells their sizes and sums', async () => {
    const node = await shown(Promise.resolve(compared({ kind: 'binary' })));
    expect(node.textContent).toContain('Before: 1.5 kB, SHA-256 abc');
    expect(node.textContent).toContain('After: 2.5 MB, SHA-256 def');
  });

  it('of notebooks that are very different tells the sources, cell by cell', async () => {
    const cell = {
      cell_type: 'code',
      changed: ['source', 'outputs'],
      outputs_before: 0,
      outputs_after: 1
    };
    const cells = [
      {
        ...cell,
        kind: 'added' as const,
        index_before: null,
        index_after: 0,
        source_diff: `+${hostile}`
      },
      { ...cell, kind: 'removed' as const, index_before: 4, index_after: null, source_diff: '' },
      { ...cell, kind: 'changed' as const, index_before: 1, index_after: 2, source_diff: '-x' }
    ];
    const node = await shown(Promise.resolve(compared({ kind: 'notebook', cells })));
    const text = node.textContent ?? '';
    expect(text).toContain('So much is different that only the sources are compared.');
    expect(text).toContain('Cell 1 was added');
    expect(text).toContain('Cell 5 was removed');
    expect(text).toContain('Cell 3 was changed: source, outputs');
    expect(node.querySelectorAll('.jp-bookstore-diff').length).toBe(2);
    expect(node.querySelector('img, script')).toBeNull();
  });

  it('that nbdime cannot show tells why, and the sources', async () => {
    const base = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };
    const cell = { kind: 'added', index_before: null, index_after: 0, cell_type: 'code' } as const;
    const changes = { changed: [], source_diff: '+x = 1', outputs_before: 0, outputs_after: 0 };
    const node = await shown(
      Promise.resolve(
        compared({
          kind: 'notebook',
          base,
          cells: [{ ...cell, ...changes }],
          nbdime: [{ op: 'patch', key: 'metadata', diff: [{ op: 'remove', key: 'nosuch' }] }]
        })
      )
    );
    await until(() => node.textContent?.includes('Cell 1 was added') === true);
    expect(node.textContent).toContain('nbdime cannot show them (');
    expect(node.querySelector('.jp-bookstore-diff')?.textContent).toBe('+x = 1\n');
  });

  it('of notebooks that differ in their bytes only says so', async () => {
    const base = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };
    const node = await shown(Promise.resolve(compared({ kind: 'notebook', base })));
    expect(node.textContent).toContain('The notebooks say the same');
  });

  it('that fails says why, and the next step', async () => {
    const node = await shown(Promise.reject(new ApiError(503, `No way. ${hostile}`, 'Check it.')));
    expect(node.textContent).toContain(`No way. ${hostile}`);
    expect(node.textContent).toContain('Check it.');
    expect(node.querySelector('img, script')).toBeNull();
  });
});
