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
      return renameText(version, trans);
    case 'copy':
      return trans.__('Copied');
    case 'clone':
      return trans.__('Cloned from %1', originOf(version.from_key, version));
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

function renameText(version: IVersion, trans: TranslationBundle): string {
  if (version.previous_key === '') {
    return trans.__('Renamed');
  }
  const origin = originOf(version.previous_key, version);
  return PathExt.basename(origin) === PathExt.basename(version.path)
    ? trans.__('Moved from %1', origin)
    : trans.__('Renamed from %1', origin);
}

/**
 * What another key is called beside a version: as short as tells them apart. What stands before the paths of a workspace
 * in its keys is left out as far as the version's own key and path tell what that is.
 */
function originOf(key: string, version: IVersion): string {
  const isBelow = version.key === version.path || version.key.endsWith(`/${version.path}`);
  const prefix = version.key.slice(0, version.key.length - version.path.length);
  const isNear = isBelow && key.startsWith(prefix);
  const path = isNear ? key.slice(prefix.length) : key;
  const name = PathExt.basename(path) || path;
  const isSameFolder = isNear && PathExt.dirname(path) === PathExt.dirname(version.path);
  if (name !== PathExt.basename(version.path)) {
    return isSameFolder || !isNear ? name : path;
  }
  // From the top folder the name alone would be the same again.
  return path === name ? `/${path}` : path;
}
