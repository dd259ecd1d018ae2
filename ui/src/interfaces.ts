/**
 * What the server answers; the OpenAPI document at `api/bookstore/openapi.json` explains each field.
 */

import type { INotebookContent } from '@jupyterlab/nbformat';
import type { Contents } from '@jupyterlab/services';

/** What people said about a version. */
export interface ILabel {
  name: string;
  note: string;
  pinned: boolean;
  by: string;
  at: string;
}

/** One version in the history of a path. */
export interface IVersion {
  path: string;
  key: string;
  version_id: string;
  size: number;
  last_modified: string;
  is_latest: boolean;
  is_delete_marker: boolean;
  is_unchanged: boolean;
  saved_at: string;
  user: string;
  host: string;
  root_dir: string;
  reason: string;
  sha256: string;
  from_key: string;
  from_version: string;
  previous_key: string;
  label: ILabel | null;
}

/** A page of a history, newest first. */
export interface IHistoryPage {
  path: string;
  key: string;
  versions: IVersion[];
  cursor: string | null;
  /** Whether saves of the path become versions, by `archive_globs`. */
  is_archived: boolean;
}

/** Something that is wrong, and the next step. */
export interface IProblem {
  code: string;
  message: string;
  hint: string;
  since: string | null;
}

/** The save that reached the store last. */
export interface ILastVersion {
  path: string;
  key: string;
  version_id: string | null;
  saved_at: string;
  archived_at: string;
  how: string;
}

/** The archive's state. */
export interface IArchiveStatus {
  state: 'off' | 'ok' | 'waiting' | 'trouble';
  destination: string;
  waiting: number;
  oldest_saved_at: string | null;
  unprotected: number;
  last_version: ILastVersion | null;
  problems: IProblem[];
  warnings: IProblem[];
}

/** What the settings allow. */
export interface IFeatures {
  bookstore_valid: boolean;
  archive_valid: boolean;
  publish_valid: boolean;
  s3_clone_valid: boolean;
  fs_clone_valid: boolean;
}

/** The release, the features and the archive's state. */
export interface IAbout {
  release: string;
  features: IFeatures;
  s3_bucket: string;
  /** Whether versions of the workspace can be cloned: cloning is on, and allowed from its bucket. */
  workspace_clonable: boolean;
  archive: IArchiveStatus;
}

/** One side of a comparison; without a version id it is the file, or the editor, as it is now. */
export interface ISide {
  path: string;
  version_id: string | null;
  size: number;
  sha256: string;
  saved_at: string;
}

/** What became of one cell. */
export interface ICellChange {
  kind: 'added' | 'removed' | 'changed';
  index_before: number | null;
  index_after: number | null;
  cell_type: string;
  changed: string[];
  source_diff: string;
  outputs_before: number;
  outputs_after: number;
}

/** What is different between two versions, or a version and the file. */
export interface IComparison {
  before: ISide;
  after: ISide;
  kind: 'notebook' | 'text' | 'binary';
  identical: boolean;
  cells: ICellChange[];
  metadata_changed: boolean;
  text_diff: string;
  nbdime: object[];
  base?: INotebookContent | null;
}

/** What became of archiving a file. */
export interface IArchived {
  path: string;
  key: string;
  version_id: string | null;
  how: string;
}

/** A version whose bytes are the file's again. */
export interface IRestored {
  path: string;
  archived: IArchived;
  model: Contents.IModel;
}

/** A notebook that was published. */
export interface IPublished {
  path: string;
  key: string;
  s3_path: string;
  versionID: string | null;
}

/** A file that was made from a version. */
export interface ICloned {
  path: string;
  name: string;
  type: string;
}

/** What an event of the archive says, under its short name. */
export interface IArchiveEvent {
  name: string;
  path: string;
  /** The version that the event tells of, if it has an id. */
  version_id: string | null;
  /** Empty where it is not told. */
  saved_at: string;
}
