/**
 * What versions are called on the screen.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import { PathExt } from '@jupyterlab/coreutils';

import { dayAndTime, timeOf } from './format';
import type { IVersion } from './interfaces';

/** A version in few words: its name, or when it was saved. */
export function versionName(version: IVersion, locale: string): string {
  return version.label?.name || dayAndTime(timeOf(version), locale);
}

/** Why there is this version, where that is not simply a save; else empty. */
export function reasonText(version: IVersion, trans: TranslationBundle): string {
  if (version.is_delete_marker) {
    return trans.__('Hidden by a delete marker in the bucket');
  }
  switch (version.reason) {
    case 'restore':
      return trans.__('Restored');
    case 'rename':
      return trans.__('Renamed from %1', nameOfKey(version.previous_key));
    case 'copy':
      return trans.__('Copied');
    case 'clone':
      return trans.__('Cloned from %1', nameOfKey(version.from_key));
    case 'publish':
      return trans.__('Published');
    case 'backfill':
      return trans.__('Archived as it was');
    case 'schedule':
      return trans.__('Scheduled');
    case 'run':
      return trans.__('Written by a scheduled run');
    default:
      return '';
  }
}

/**
 * The name of the file that a version is to be opened as: `report-20261120-140501.ipynb`.
 *
 * @param path - Of the file whose version it is.
 */
export function copyName(path: string, version: IVersion): string {
  const time = timeOf(version);
  const two = (value: number) => `${value}`.padStart(2, '0');
  const stamp = Number.isNaN(time.getTime())
    ? 'version'
    : `${time.getFullYear()}${two(time.getMonth() + 1)}${two(time.getDate())}` +
      `-${two(time.getHours())}${two(time.getMinutes())}${two(time.getSeconds())}`;
  const extension = PathExt.extname(path);
  return `${path.slice(0, path.length - extension.length)}-${stamp}${extension}`;
}

function nameOfKey(key: string): string {
  return PathExt.basename(key) || key;
}
