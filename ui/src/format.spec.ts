import type { TranslationBundle } from '@jupyterlab/translation';

import { byDay, dayOf, humanSize, localeOf, timeOf } from './format';
import type { IVersion } from './interfaces';

const trans = { __: (text: string) => text } as TranslationBundle;

function version(saved: Date | null, stored = new Date(2026, 10, 20)): IVersion {
  return {
    saved_at: saved?.toISOString() ?? '',
    last_modified: stored.toISOString()
  } as IVersion;
}

describe('byDay', () => {
  const now = new Date(2026, 10, 20, 0, 30);

  it('keeps the order and names the last two days', () => {
    const times = [
      new Date(2026, 10, 20, 0, 10),
      new Date(2026, 10, 19, 23, 50),
      new Date(2026, 10, 19, 0, 0),
      new Date(2026, 10, 2, 12, 0)
    ];
    const days = byDay(
      times.map(time => version(time)),
      dayOf(now),
      'en-GB',
      trans
    );
    expect(days.map(day => day.id)).toEqual(['2026-11-20', '2026-11-19', '2026-11-02']);
    expect(days.map(day => day.versions.length)).toEqual([1, 2, 1]);
    expect(days[0].title).toBe('Today');
    expect(days[1].title).toBe('Yesterday');
    expect(days[2].title).toMatch(/^Monday.* 2 November 2026$/);
  });

  it('says where a time is not known', () => {
    const unknown = { saved_at: 'nonsense', last_modified: 'nonsense' } as IVersion;
    expect(byDay([unknown], dayOf(now), 'en', trans)[0].title).toBe('Time not known');
  });

  it('gives each stretch of a day an id of its own, counted from the newest', () => {
    const times = [20, 19, 20, 19].map(day => version(new Date(2026, 10, day, 12)));
    const ids = (versions: IVersion[]) =>
      byDay(versions, dayOf(now), 'en', trans).map(day => day.id);
    expect(ids(times)).toEqual(['2026-11-20', '2026-11-19', '2026-11-20 2', '2026-11-19 2']);
    // A new version and a further page leave them as they are.
    expect(ids([version(new Date(2026, 10, 20, 13)), ...times, times[3]])).toEqual(ids(times));
  });
});

describe('timeOf', () => {
  it('is the time of the save, else that of the store', () => {
    const saved = new Date(2026, 10, 19);
    const stored = new Date(2026, 10, 20);
    expect(timeOf(version(saved, stored))).toEqual(saved);
    expect(timeOf(version(null, stored))).toEqual(stored);
  });
});

describe('dayOf', () => {
  it('goes by the calendar of the browser, not by UTC', () => {
    expect(dayOf(new Date(2026, 0, 2, 0, 0))).toBe('2026-01-02');
    expect(dayOf(new Date(2026, 0, 2, 23, 59))).toBe('2026-01-02');
  });
});

describe('humanSize', () => {
  it.each([
    [0, '0 bytes'],
    [999, '999 bytes'],
    [1000, '1 kB'],
    [999_949, '999.9 kB'],
    [999_950, '1 MB'],
    [1_430_000, '1.4 MB']
  ])('writes %d as %s', (bytes, written) => {
    expect(humanSize(bytes, 'en')).toBe(written);
  });
});

describe('localeOf', () => {
  it('follows the language of the interface', () => {
    expect(localeOf('default')).toBe('en');
    expect(localeOf('de_DE')).toBe('de-DE');
    expect(localeOf('')).toBe('en');
  });

  it('is the person’s own form of that language, where the browser knows one', () => {
    const language = jest.spyOn(navigator, 'language', 'get');
    language.mockReturnValue('en-GB');
    expect(localeOf('en')).toBe('en-GB');
    expect(localeOf('de_DE')).toBe('de-DE');
    language.mockReturnValue('de-AT');
    expect(localeOf('de')).toBe('de-AT');
    expect(localeOf('de_DE')).toBe('de-DE');
    expect(localeOf('en')).toBe('en');
    language.mockReturnValue('enm-GB');
    expect(localeOf('en')).toBe('en');
  });

  it('takes the script of a language too', () => {
    expect(localeOf('sr_Latn_RS')).toBe('sr-Latn-RS');
    expect(localeOf('zh_Hant_TW')).toBe('zh-Hant-TW');
  });

  it.each(['ca@valencia', 'not a language', '_', 'C', 'tlh'])(
    'is English for %p, in which no browser writes times',
    code => {
      expect(localeOf(code)).toBe('en');
    }
  );

  it('does without the form of a browser that gives no language', () => {
    jest.spyOn(navigator, 'language', 'get').mockReturnValue('en-US@posix');
    expect(localeOf('en')).toBe('en');
  });
});
