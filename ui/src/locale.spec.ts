import { Gettext } from '@jupyterlab/translation';

import { byDay } from './format';
import { reasonText } from './labels';
import { shownState } from './status';
import { makeStatus, makeVersion } from './testing/doubles';

/** German as JupyterLab makes it of the file that its server serves. */
function german(): Gettext {
  const domain = 'jupyterlab_bookstore';
  const gettext = new Gettext({ domain, locale: 'de-DE' });
  gettext.loadJSON(
    jest.requireActual<never>(`../../bookstore/locale/de_DE/LC_MESSAGES/${domain}.json`),
    domain
  );
  return gettext;
}

it('is taken by JupyterLab, with its forms for one and for many', () => {
  const trans = german();
  expect(trans.__('Restore %1?', 'a.ipynb')).toBe('a.ipynb wiederherstellen?');
  expect([0, 1, 2].map(count => trans._n('%1 save waits', '%1 saves wait', count, count))).toEqual([
    '0 Versionen warten',
    '1 Version wartet',
    '2 Versionen warten'
  ]);
  expect(trans._p('settings', 'Announce trouble')).toBe('Störungen melden');
  expect(trans.__('not there')).toBe('not there');
});

it('is what the interface says then', () => {
  const trans = german();
  const saved_at = new Date(2026, 10, 19, 12).toISOString();
  const version = makeVersion(1, { saved_at, reason: 'rename', previous_key: 'x/b.ipynb' });
  expect(reasonText(version, trans)).toBe('Umbenannt von b.ipynb');
  expect(byDay([version], '2026-11-20', 'de-DE', trans)[0].title).toBe('Gestern');
  const monitor = { state: 'ok' as const, status: makeStatus(), error: null };
  const inFront = { path: 'b.ipynb', isElsewhere: false, isArchived: true, newest: version };
  expect(shownState(monitor, inFront, 'de-DE', trans).text).toBe('Archiviert 12:00:00');
});
