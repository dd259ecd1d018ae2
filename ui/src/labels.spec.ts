import type { IVersion } from './interfaces';
import { copyName, reasonText, versionName } from './labels';
import { makeLabel, makeVersion, trans } from './testing/doubles';

describe('versionName', () => {
  it('is the name that people gave, else the time of the save', () => {
    expect(versionName(makeVersion(1, { label: makeLabel({ name: 'final' }) }), 'en')).toBe(
      'final'
    );
    const time = new Date(2026, 10, 20, 14, 5, 1).toISOString();
    const unnamed = makeVersion(1, { saved_at: time, label: makeLabel({ pinned: true }) });
    expect(versionName(unnamed, 'en-GB')).toBe('20 Nov 2026, 14:05:01');
  });
});

describe('reasonText', () => {
  it.each<[Partial<IVersion>, string]>([
    [{ reason: 'save' }, ''],
    [{ reason: '' }, ''],
    [{ reason: 'something new' }, ''],
    [{ reason: 'restore' }, 'Restored'],
    [{ reason: 'rename', previous_key: 'archive/b.ipynb' }, 'Renamed from b.ipynb'],
    [{ reason: 'rename', previous_key: 'archive/old/b.ipynb' }, 'Renamed from old/b.ipynb'],
    [{ reason: 'rename', previous_key: 'archive/old/a.ipynb' }, 'Moved from old/a.ipynb'],
    [{ reason: 'rename', previous_key: 'elsewhere/b.ipynb' }, 'Renamed from b.ipynb'],
    [{ reason: 'rename', previous_key: 'elsewhere/a.ipynb' }, 'Moved from elsewhere/a.ipynb'],
    [{ reason: 'rename', previous_key: '' }, 'Renamed'],
    [{ reason: 'copy' }, 'Copied'],
    [{ reason: 'clone', from_key: 'published/c.ipynb' }, 'Cloned from c.ipynb'],
    [{ reason: 'clone', from_key: 'published/a.ipynb' }, 'Cloned from published/a.ipynb'],
    [{ reason: 'publish' }, 'Published'],
    [{ reason: 'backfill' }, 'Archived as it was'],
    [{ reason: 'schedule' }, 'Scheduled'],
    [{ reason: 'run' }, 'Written by a scheduled run'],
    [{ reason: 'save', is_delete_marker: true }, 'Hidden by a delete marker in the bucket']
  ])('of %p is “%s”', (version, text) => {
    expect(reasonText(makeVersion(1, version), trans)).toBe(text);
  });

  it.each([
    // the key, the path, the key before, the text
    ['w/ann/x/a.ipynb', 'x/a.ipynb', 'w/ann/a.ipynb', 'Moved from /a.ipynb'],
    ['w/ann/x/a.ipynb', 'x/a.ipynb', 'w/ann/y/a.ipynb', 'Moved from y/a.ipynb'],
    ['w/ann/x/a.ipynb', 'x/a.ipynb', 'w/ann/x/b.ipynb', 'Renamed from b.ipynb'],
    ['w/ann/x/a.ipynb', 'x/a.ipynb', 'w/bob/x/a.ipynb', 'Moved from w/bob/x/a.ipynb'],
    // a workspace without a prefix
    ['x/a.ipynb', 'x/a.ipynb', 'y/a.ipynb', 'Moved from y/a.ipynb'],
    ['x/a.ipynb', 'x/a.ipynb', 'y/b.ipynb', 'Renamed from y/b.ipynb'],
    // a key from which no prefix can be told
    ['w/other.ipynb', 'a.ipynb', 'w/y/a.ipynb', 'Moved from w/y/a.ipynb']
  ])('of %s, shown as %s and before as %s, is “%s”', (key, path, previous_key, text) => {
    const version = makeVersion(1, { key, path, previous_key, reason: 'rename' });
    expect(reasonText(version, trans)).toBe(text);
  });
});

describe('copyName', () => {
  const at = new Date(2026, 10, 2, 4, 5, 6).toISOString();

  it.each([
    ['a.ipynb', 'a-20261102-040506.ipynb'],
    ['my.folder/a', 'my.folder/a-20261102-040506'],
    ['x/data.tar.gz', 'x/data.tar-20261102-040506.gz'],
    ['.hidden', '.hidden-20261102-040506'],
    ['a b/50%.py', 'a b/50%-20261102-040506.py']
  ])('of %s is %s', (path, name) => {
    expect(copyName(path, makeVersion(1, { saved_at: at }))).toBe(name);
  });

  it('does without a time that is not known', () => {
    const version = makeVersion(1, { saved_at: '', last_modified: 'nonsense' });
    expect(copyName('a.ipynb', version)).toBe('a-version.ipynb');
  });
});
