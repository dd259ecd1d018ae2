import type { IArchiveStatus, ILastVersion } from './interfaces';
import type { State } from './monitor';
import { ApiError } from './api';
import { shownState } from './status';
import { makeStatus, makeVersion, trans } from './testing/doubles';

const problem = {
  code: 'StoreUnreachable',
  message: 'No way to S3.',
  hint: 'Check it.',
  since: null
};
const at = (hour: number) => new Date(2026, 10, 20, hour, 0, 0).toISOString();

function shown(
  state: State,
  status: Partial<IArchiveStatus> | null,
  {
    newest = null as ReturnType<typeof makeVersion> | null,
    error = null as ApiError | null,
    path = 'a.ipynb'
  } = {}
) {
  const told = status === null ? null : makeStatus(status);
  return shownState({ state, status: told, error }, newest, path, 'en-GB', trans);
}

const last = (hour: number, other: Partial<ILastVersion> = {}): ILastVersion => ({
  path: 'a.ipynb',
  key: 'k',
  version_id: 'v9',
  saved_at: at(hour),
  archived_at: at(hour),
  how: 'archived',
  ...other
});

describe('shownState', () => {
  it('tells that there is no archive, and why', () => {
    const { text, title, icon } = shown('off', { problems: [problem] });
    expect([text, title, icon.name]).toEqual([
      'Not archived',
      'No way to S3.\nCheck it.',
      'bookstore:waiting'
    ]);
  });

  it('tells how much waits, first of all', () => {
    expect(shown('trouble', { waiting: 3, problems: [problem] }).text).toBe('3 saves wait');
    expect(shown('trouble', { waiting: 3, problems: [problem] }).title).toBe(
      'No way to S3.\nCheck it.'
    );
    expect(shown('trouble', { waiting: 3, problems: [problem] }).icon.name).toBe(
      'bookstore:trouble'
    );
    expect(shown('waiting', { waiting: 1 }).text).toBe('1 save waits');
    expect(shown('waiting', { waiting: 1 }).title).toBe('On the way to s3://bucket/archive');
    expect(shown('waiting', { waiting: 1 }).icon.name).toBe('bookstore:waiting');
  });

  it('tells of trouble while nothing waits, with and without a hint', () => {
    expect(shown('trouble', { problems: [problem] }).text).toBe('Archive: trouble');
    expect(shown('trouble', { problems: [{ ...problem, hint: '' }] }).title).toBe('No way to S3.');
    expect(shown('trouble', {}).title).toBe('The archive is in trouble.');
  });

  it('tells that there is no answer', () => {
    const away = shown('away', { waiting: 2 }, { error: new ApiError(0, 'Failed to fetch') });
    expect([away.text, away.title, away.icon.name]).toEqual([
      'Archive: no answer',
      'Failed to fetch',
      'bookstore:trouble'
    ]);
    expect(shown('unknown', null).text).toBe('Archive: not known');
    expect(shown('unknown', null).title).toBe('');
  });

  it('is ready before there is a version', () => {
    expect(shown('ok', {}).text).toBe('Archive: ready');
    expect(shown('ok', { last_version: last(14, { path: 'b.ipynb' }) }).text).toBe(
      'Archive: ready'
    );
    expect(
      shown('ok', {}, { newest: makeVersion(1, { saved_at: 'x', last_modified: 'x' }) }).text
    ).toBe('Archive: ready');
  });

  it('tells when the document in front was saved, and as which version', () => {
    const newest = makeVersion(7, { saved_at: at(14) });
    const { text, title, icon } = shown('ok', {}, { newest });
    expect(text).toBe('Archived 14:00:00');
    expect(title).toBe('Saved 20 Nov 2026, 14:00:00, version v7');
    expect(icon.name).toBe('bookstore:archived');
    expect(
      shown('ok', {}, { newest: makeVersion(7, { saved_at: '', last_modified: at(13) }) }).text
    ).toBe('Archived 13:00:00');
  });

  it('goes by the later of what the state and the history tell', () => {
    const newest = makeVersion(7, { saved_at: at(14) });
    expect(shown('ok', { last_version: last(15) }, { newest }).text).toBe('Archived 15:00:00');
    expect(shown('ok', { last_version: last(15) }, { newest }).title).toMatch(/v9$/);
    expect(shown('ok', { last_version: last(13) }, { newest }).text).toBe('Archived 14:00:00');
    expect(shown('ok', { last_version: last(15, { path: 'b.ipynb' }) }, { newest }).text).toBe(
      'Archived 14:00:00'
    );
    expect(shown('ok', { last_version: last(15) }).text).toBe('Archived 15:00:00');
    expect(shown('ok', { last_version: last(15, { version_id: null }) }).title).toMatch(
      /version $/
    );
  });
});
