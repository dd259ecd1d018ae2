/**
 * Times as they are read in a place that changes its clocks.
 *
 * @timezone Europe/Berlin
 */

import { byDay, dayAndTime, dayOf, timeOf, timeOfDay } from './format';
import { copyName } from './labels';
import { makeVersion, trans } from './testing/doubles';

const titles = (now: string, ...saved: string[]) =>
  byDay(
    saved.map(saved_at => makeVersion(1, { saved_at })),
    dayOf(new Date(now)),
    'en-GB',
    trans
  ).map(day => day.title);

it('is there', () => {
  expect(new Date('2026-07-01T12:00:00Z').getHours()).toBe(14);
});

it('goes by the calendar of the person, not of UTC', () => {
  expect(dayOf(new Date('2026-11-19T23:30:00Z'))).toBe('2026-11-20');
  expect(dayOf(new Date('2026-11-19T22:59:59Z'))).toBe('2026-11-19');
  expect(titles('2026-11-20T00:30:00Z', '2026-11-19T23:30:00Z', '2026-11-19T22:30:00Z')).toEqual([
    'Today',
    'Yesterday'
  ]);
});

it('knows yesterday after a day of 23 hours and after one of 25', () => {
  expect(titles('2026-03-29T22:10:00Z', '2026-03-29T21:50:00Z', '2026-03-28T22:50:00Z')).toEqual(
    ['Today', 'Yesterday', expect.stringMatching(/^Saturday,? 28 March 2026$/)].slice(1)
  );
  expect(titles('2026-10-26T22:30:00Z', '2026-10-24T22:10:00Z', '2026-10-24T21:50:00Z')).toEqual([
    'Yesterday',
    expect.stringMatching(/^Saturday,? 24 October 2026$/)
  ]);
});

it('knows yesterday over the turn of the year', () => {
  expect(titles('2026-12-31T23:10:00Z', '2026-12-31T22:50:00Z')).toEqual(['Yesterday']);
});

it('keeps the order of the history also where the clock goes back', () => {
  const times = ['2026-10-25T01:30:00Z', '2026-10-25T00:30:00Z'];
  const days = byDay(
    times.map(saved_at => makeVersion(1, { saved_at })),
    '2026-11-20',
    'en-GB',
    trans
  );
  expect(days.length).toBe(1);
  expect(days[0].versions.map(version => timeOfDay(timeOf(version), 'de'))).toEqual([
    '02:30:00',
    '02:30:00'
  ]);
});

it('takes times with another offset as what they are', () => {
  const version = makeVersion(1, { saved_at: '2026-11-20T03:00:00+05:30' });
  expect(dayAndTime(timeOf(version), 'de-DE')).toBe('19.11.2026, 22:30:00');
  expect(copyName('a.ipynb', version)).toBe('a-20261119-223000.ipynb');
});

it('writes as the language has it, and nothing for a time that is none', () => {
  const time = new Date('2026-11-20T13:05:01Z');
  expect(timeOfDay(time, 'de-DE')).toBe('14:05:01');
  expect(timeOfDay(time, 'en-US')).toMatch(/^2:05:01\sPM$/);
  expect(dayAndTime(time, 'ja')).toBe('2026/11/20 14:05:01');
  expect([
    timeOfDay(new Date('x'), 'de'),
    dayAndTime(new Date('x'), 'de'),
    dayOf(new Date('x'))
  ]).toEqual(['', '', '']);
});
