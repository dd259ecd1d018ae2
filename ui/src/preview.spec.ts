import type { INotebookContent } from '@jupyterlab/nbformat';
import { NotebookModel } from '@jupyterlab/notebook';

import { notice, parsedNotebook, untrusted } from './preview';

const notebook = (other: object) =>
  JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [], ...other });
const code = { cell_type: 'code', source: '1', outputs: [], execution_count: null, metadata: {} };

describe('parsedNotebook', () => {
  it('gives a notebook of the format that JupyterLab shows', () => {
    expect(parsedNotebook(notebook({ cells: [code] }))?.cells).toEqual([code]);
  });

  it.each([
    ['no JSON', '{"cells": ['],
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '5'],
    ['a list', '[]'],
    ['an older format', notebook({ nbformat: 3, worksheets: [] })],
    ['a format to come', notebook({ nbformat: 5 })],
    ['a format of another type', notebook({ nbformat: '4' })],
    ['no cells', notebook({ cells: null })],
    ['cells that are no list', notebook({ cells: { length: 1 } })],
    ['a cell that is null', notebook({ cells: [code, null] })],
    ['a cell that is a text', notebook({ cells: ['code'] })],
    ['a cell that is a list', notebook({ cells: [[]] })],
    ['no metadata', notebook({ metadata: null })],
    ['metadata that are a list', notebook({ metadata: [] })],
    ['metadata that are a text', notebook({ metadata: 'x' })]
  ])('gives none where there is %s', (_, text) => {
    expect(parsedNotebook(text)).toBeNull();
  });
});

describe('untrusted', () => {
  it('takes the marks of trust off every cell, and changes nothing of what was given', () => {
    const content = JSON.parse(
      notebook({
        cells: [
          { ...code, metadata: { trusted: true, tags: ['x'] } },
          { ...code, metadata: { trusted: 'yes' } },
          { cell_type: 'markdown', source: '', metadata: { trusted: true } },
          { cell_type: 'raw', source: '', metadata: {} }
        ]
      })
    ) as INotebookContent;
    const before = JSON.stringify(content);
    const cells = untrusted(content).cells;
    expect(cells.length).toBe(4);
    expect(cells.filter(cell => 'trusted' in cell.metadata)).toEqual([]);
    expect(cells[0].metadata).toEqual({ tags: ['x'], editable: false, deletable: false });
    expect(JSON.stringify(content)).toBe(before);
  });

  it.each([
    ['missing', undefined],
    ['null', null],
    ['a list', ['trusted']],
    ['a text', 'trusted']
  ])('bears metadata of a cell that are %s', (_, metadata) => {
    const content = JSON.parse(notebook({ cells: [{ ...code, metadata }] })) as INotebookContent;
    const [cell] = untrusted(content).cells;
    expect(cell.metadata).toEqual({ editable: false, deletable: false });
  });

  it.each([
    [{}, ''],
    [{ kernelspec: { name: 'r', language: 'R' } }, 'R'],
    [{ kernelspec: { name: 'r', language: 5 } }, ''],
    [{ kernelspec: 'x' }, ''],
    [{ kernelspec: { language: 'R' }, language_info: { name: 'julia' } }, 'julia'],
    [{ language_info: null }, ''],
    [{ language_info: 'python' }, ''],
    [{ language_info: { name: 5 } }, '']
  ])('knows the language of the code from %p', (metadata, name) => {
    const content = JSON.parse(notebook({ metadata })) as INotebookContent;
    expect(untrusted(content).metadata.language_info?.name).toBe(name);
  });
});

describe('JupyterLab trusts no cell of a version', () => {
  const output = { output_type: 'display_data', data: { 'text/html': '<b>' }, metadata: {} };
  const cell = (metadata: string, outputs: object[] = [output]) =>
    `{"cell_type": "code", "source": "1", "outputs": ${JSON.stringify(outputs)}, "metadata": ${metadata}}`;
  const text = (cells: string, metadata = '{}') =>
    `{"nbformat": 4, "nbformat_minor": 5, "metadata": ${metadata}, "cells": [${cells}]}`;

  function trustOf(content: INotebookContent): boolean[] {
    // Yjs warns of cells that are looked at before they are in their document, as JupyterLab does it.
    jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const model = new NotebookModel();
    model.fromJSON(untrusted(content));
    return [...model.cells].map(shown => shown.trusted);
  }

  it.each([
    ['the mark itself', text(cell('{"trusted": true}'))],
    ['a mark that is a text', text(cell('{"trusted": "true"}'))],
    ['a mark in a prototype', text(cell('{"__proto__": {"trusted": true}}'))],
    ['a prototype of a prototype', text(cell('{"__proto__": {"__proto__": {"trusted": true}}}'))],
    ['an escaped prototype', text(cell('{"__pr\\u006fto__": {"trusted": true}}'))],
    [
      'a mark of the notebook',
      text(cell('{}'), '{"trusted": true, "__proto__": {"trusted": true}}')
    ],
    [
      'a mark of an output',
      text(cell('{}', [{ ...output, trusted: true, metadata: { trusted: true } }]))
    ]
  ])('for %s', (_, written) => {
    expect(JSON.stringify(parsedNotebook(written))).not.toContain('__proto__');
    expect(trustOf(parsedNotebook(written)!)).toEqual([false]);
    // The two ways to take it off hold each by itself.
    expect(trustOf(JSON.parse(written) as INotebookContent)).toEqual([false]);
  });
});

describe('notice', () => {
  it('makes no HTML of a text, and leaves out empty ones', () => {
    const { node } = notice('<img src=x onerror=alert(1)>', '', 'two');
    expect([...node.children].map(child => [child.tagName, child.textContent])).toEqual([
      ['P', '<img src=x onerror=alert(1)>'],
      ['P', 'two']
    ]);
  });
});
