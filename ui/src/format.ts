/**
 * Times and sizes as people read them.
 */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { IVersion } from './interfaces';

/** Versions of one day, in the order of the history. */
export interface IDay {
  /**
   * The day by the calendar of the browser, `2026-11-20`; with a number behind it where the history comes back to a day
   * that it has left, since the clocks of those who saved need not agree.
   */
  id: string;
  title: string;
  versions: IVersion[];
}

/**
 * The locale in which times are written.
 *
 * @param languageCode - Of the interface, as JupyterLab names it: `de_DE`, or `default`.
 */
export function localeOf(languageCode: string): string {
  const code = languageCode.replace(/_/g, '-');
  if (code === 'default' || !isKnown(code)) {
    return 'en';
  }
  const browser = typeof navigator === 'undefined' ? '' : navigator.language;
  // English as the person writes it: day before month, or month before day.
  return browser.toLowerCase().startsWith(`${code.toLowerCase()}-`) && isKnown(browser)
    ? browser
    : code;
}

/** Whether times can be written in a language; its tag may be no tag at all. */
function isKnown(tag: string): boolean {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf(tag).length > 0;
  } catch (error) {
    if (error instanceof RangeError) {
      return false;
    }
    throw error;
  }
}

/** When a version was saved; when the store took it, where that is not known. */
export function timeOf(version: Pick<IVersion, 'saved_at' | 'last_modified'>): Date {
  const saved = new Date(version.saved_at);
  return version.saved_at && !Number.isNaN(saved.getTime())
    ? saved
    : new Date(version.last_modified);
}

/** The time of day, `14:05`. */
export function timeOfDay(time: Date, locale: string): string {
  return format(time, locale, { timeStyle: 'medium' });
}

/** Day and time, short. */
export function dayAndTime(time: Date, locale: string): string {
  return format(time, locale, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Day and time where there is little room. */
export function dayAndMinute(time: Date, locale: string): string {
  return format(time, locale, { dateStyle: 'medium', timeStyle: 'short' });
}

function format(time: Date, locale: string, options: Intl.DateTimeFormatOptions): string {
  return Number.isNaN(time.getTime()) ? '' : new Intl.DateTimeFormat(locale, options).format(time);
}

/** The day by the calendar of the browser. */
export function dayOf(time: Date): string {
  if (Number.isNaN(time.getTime())) {
    return '';
  }
  const two = (value: number) => `${value}`.padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

/**
 * Versions by the day on which they were saved; the order stays.
 *
 * @param versions - As the history has them.
 * @param today - As `dayOf` tells it.
 * @param locale - For the names of days.
 * @param trans - For today and yesterday.
 */
export function byDay(
  versions: readonly IVersion[],
  today: string,
  locale: string,
  trans: TranslationBundle
): IDay[] {
  const days: IDay[] = [];
  const times = new Map<string, number>();
  let last: string | undefined;
  for (const version of versions) {
    const time = timeOf(version);
    const date = dayOf(time);
    if (date !== last) {
      const before = times.get(date) ?? 0;
      times.set(date, before + 1);
      // Counted from the top, so that neither a new version nor a further page makes another day of it.
      const id = before === 0 ? date : `${date} ${before + 1}`;
      days.push({ id, title: dayTitle(time, today, locale, trans), versions: [] });
      last = date;
    }
    days[days.length - 1].versions.push(version);
  }
  return days;
}

function dayTitle(time: Date, today: string, locale: string, trans: TranslationBundle): string {
  const id = dayOf(time);
  if (id === '') {
    return trans.__('Time not known');
  }
  if (id === today) {
    return trans.__('Today');
  }
  const next = new Date(time.getFullYear(), time.getMonth(), time.getDate() + 1);
  if (dayOf(next) === today) {
    return trans.__('Yesterday');
  }
  return format(time, locale, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}

/** A number of bytes, in units of a thousand: `1.4 MB`. */
export function humanSize(bytes: number, locale: string): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
  let amount = bytes;
  let unit = 0;
  // What is more would be rounded to 1,000.
  while (unit < units.length - 1 && amount >= (unit === 0 ? 1000 : 999.95)) {
    amount /= 1000;
    unit += 1;
  }
  return new Intl.NumberFormat(locale, {
    style: 'unit',
    unit: units[unit],
    unitDisplay: unit === 0 ? 'long' : 'short',
    maximumFractionDigits: unit === 0 ? 0 : 1
  }).format(amount);
}
