/**
 * The commands of the interface, which menus, palette, toolbars and the panel call.
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { ToolbarButton } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { CommandRegistry } from '@lumino/commands';

import type { Actions, IParts } from './actions';
import { makeComparison } from './compare';
import type { ICompareParts } from './compare';
import { idOf } from './history';
import { historyIcon, publishIcon } from './icons';
import type { IComparison, IVersion } from './interfaces';
import { versionName } from './labels';
import type { IVersionVerb } from './panel';
import type { Presenter } from './presenter';
import { makePreview } from './preview';
import type { IPreviewParts, IToolbarButton } from './preview';
import { showState } from './status';

/** The names of the commands. */
export const CommandIDs = {
  openHistory: 'bookstore:open-history',
  publish: 'bookstore:publish',
  showState: 'bookstore:show-state',
  preview: 'bookstore:preview-version',
  compareCurrent: 'bookstore:compare-with-current',
  comparePrevious: 'bookstore:compare-with-previous',
  compareOther: 'bookstore:compare-with-other',
  restore: 'bookstore:restore-version',
  label: 'bookstore:label-version',
  pin: 'bookstore:pin-version',
  copyLink: 'bookstore:copy-link',
  openAsNew: 'bookstore:open-as-new',
  viewPage: 'bookstore:view-as-page'
} as const;

/** What people come to the history for. */
const PRIMARY: ReadonlySet<string> = new Set([
  CommandIDs.preview,
  CommandIDs.compareCurrent,
  CommandIDs.restore
]);

/** What the commands work with. */
export interface ICommandParts extends IParts, IPreviewParts, ICompareParts {
  actions: Actions;
  presenter: Presenter;
  /** Bring the panel to the front. */
  reveal: () => void;
  /** Whether to ask before something is published. */
  asksBeforePublishing: () => boolean;
}

/** What can be done with one version. */
interface IVerb {
  id: string;
  label: (version: IVersion | undefined) => string;
  isEnabled?: (version: IVersion) => boolean;
  execute: (path: string, version: IVersion) => void | Promise<void>;
}

/** Shows versions and comparisons, wherever the application has room. */
export class Views {
  constructor(private readonly _parts: ICommandParts) {}

  /** Show a version. */
  preview(path: string, version: IVersion): void {
    const { actions, documents, presenter, trans } = this._parts;
    const now = documents.follow(path);
    presenter.show(`bookstore-preview-${idOf(version)}`, () =>
      makePreview(
        path,
        version,
        [
          this._button('restore', trans.__('Restore…'), () => void actions.restore(now(), version)),
          this._button('compare', trans.__('Compare with Current'), () =>
            this.compareWithCurrent(now(), version)
          )
        ],
        this._parts
      )
    );
  }

  /** Compare a version with the document: as it is in the editor, if it is open and has changes. */
  compareWithCurrent(path: string, version: IVersion): void {
    const { api, documents, trans } = this._parts;
    const dirty = documents.open(path).find(context => context.model.dirty);
    const file = PathExt.basename(path);
    if (dirty === undefined) {
      this._compare(path, version, trans.__('%1 now', file), () =>
        api.compareWithFile(path, version.version_id)
      );
      return;
    }
    const isNotebook = dirty.contentsModel?.type === 'notebook';
    const content = isNotebook ? dirty.model.toJSON() : dirty.model.toString();
    this._compare(path, version, trans.__('%1 now, with changes that are not saved', file), () =>
      api.compareWithEditor(path, version.version_id, {
        type: isNotebook ? 'notebook' : 'file',
        format: isNotebook ? 'json' : 'text',
        content
      })
    );
  }

  /** Compare two versions, the older one first. */
  compare(path: string, one: IVersion, other: IVersion): void {
    const { api, history, locale } = this._parts;
    const [before, after] = history.isOlder(one, other) ? [one, other] : [other, one];
    this._compare(
      path,
      before,
      versionName(after, locale),
      () => api.compare(path, before.version_id, after.version_id),
      idOf(after)
    );
  }

  private _compare(
    path: string,
    before: IVersion,
    after: string,
    compare: () => Promise<IComparison>,
    afterId = `now-${Date.now()}`
  ): void {
    const { actions, documents, locale, presenter, trans } = this._parts;
    const sides = { path, before: versionName(before, locale), after };
    const now = documents.follow(path);
    presenter.show(`bookstore-compare-${idOf(before)}-${afterId}`, () =>
      makeComparison(
        sides,
        compare,
        [
          this._button(
            'restore',
            trans.__('Restore the Older One…'),
            () => void actions.restore(now(), before)
          )
        ],
        this._parts
      )
    );
  }

  private _button(name: string, label: string, onClick: () => void): IToolbarButton {
    const { presenter } = this._parts;
    return { name, widget: new ToolbarButton({ label, onClick: () => presenter.leave(onClick) }) };
  }
}

/**
 * Add the commands.
 *
 * @returns What the panel offers for a version.
 */
export function addCommands(
  app: JupyterFrontEnd,
  parts: ICommandParts,
  views: Views
): IVersionVerb[] {
  const { documents, history, monitor, trans } = parts;
  const { commands } = app;
  const hasDocument = () => documents.path !== '' || history.path !== '';
  const isNotebook = () => PathExt.extname(documents.path) === '.ipynb';

  commands.addCommand(CommandIDs.openHistory, {
    label: trans.__('Show History'),
    caption: trans.__('Show the versions of the document in front'),
    icon: historyIcon,
    isEnabled: hasDocument,
    execute: () => parts.reveal(),
    describedBy: NO_ARGUMENTS
  });
  commands.addCommand(CommandIDs.publish, {
    label: trans.__('Publish Notebook…'),
    caption: trans.__('Publish the notebook to the organisation'),
    icon: publishIcon,
    isEnabled: () => isNotebook() && monitor.features?.publish_valid === true,
    isVisible: () => monitor.features?.publish_valid !== false,
    execute: () => parts.actions.publish(documents.path, parts.asksBeforePublishing()),
    describedBy: NO_ARGUMENTS
  });
  commands.addCommand(CommandIDs.showState, {
    label: trans.__('Show the State of the Archive'),
    execute: () => showState(parts),
    describedBy: NO_ARGUMENTS
  });

  const verbs = versionVerbs(parts, views);
  for (const verb of verbs) {
    addVersionCommand(commands, verb, parts);
  }
  monitor.changed.connect(() => commands.notifyCommandChanged());
  documents.currentChanged.connect(() => commands.notifyCommandChanged());
  return verbs.map(verb => ({
    id: verb.id,
    label: verb.label,
    isPrimary: PRIMARY.has(verb.id),
    isEnabled: version => verb.isEnabled?.(version) ?? true,
    execute: version => void verb.execute(history.path, version)
  }));
}

const NO_ARGUMENTS = { args: { type: 'object', properties: {} } };

/** A command does its work for the version that is chosen in the panel. */
function addVersionCommand(commands: CommandRegistry, verb: IVerb, { history }: IParts): void {
  const chosen = () => {
    const version = history.find(history.selected);
    return version === undefined || version.is_delete_marker ? undefined : version;
  };
  commands.addCommand(verb.id, {
    label: () => verb.label(chosen()),
    isEnabled: () => {
      const version = chosen();
      return version !== undefined && (verb.isEnabled?.(version) ?? true);
    },
    execute: () => {
      const version = chosen();
      return version === undefined ? undefined : verb.execute(history.path, version);
    },
    describedBy: NO_ARGUMENTS
  });
}

function versionVerbs(parts: ICommandParts, views: Views): IVerb[] {
  const { actions, api, history, monitor, trans } = parts;
  const canClone = () => monitor.canClone;
  return [
    {
      id: CommandIDs.preview,
      label: () => trans.__('Preview'),
      execute: (path, version) => views.preview(path, version)
    },
    {
      id: CommandIDs.compareCurrent,
      label: () => trans.__('Compare with Current'),
      execute: (path, version) => views.compareWithCurrent(path, version)
    },
    {
      id: CommandIDs.restore,
      label: () => trans.__('Restore…'),
      execute: (path, version) => actions.restore(path, version)
    },
    {
      id: CommandIDs.comparePrevious,
      label: () => trans.__('Compare with Previous'),
      isEnabled: version => history.before(version) !== undefined,
      execute: (path, version) => {
        const before = history.before(version);
        if (before !== undefined) {
          views.compare(path, before, version);
        }
      }
    },
    {
      id: CommandIDs.compareOther,
      label: () => trans.__('Compare with…'),
      isEnabled: () => history.versions.length > 1,
      execute: (_, version) => {
        history.comparing = version;
      }
    },
    {
      id: CommandIDs.label,
      label: () => trans.__('Name…'),
      execute: (path, version) => actions.label(path, version)
    },
    {
      id: CommandIDs.pin,
      label: version => (version?.label?.pinned ? trans.__('Unpin') : trans.__('Pin')),
      execute: (path, version) => actions.togglePin(path, version)
    },
    {
      id: CommandIDs.copyLink,
      label: () => trans.__('Copy Link'),
      isEnabled: canClone,
      execute: (_, version) => actions.copyLink(version)
    },
    {
      id: CommandIDs.openAsNew,
      label: () => trans.__('Open as New File'),
      isEnabled: canClone,
      execute: (path, version) => actions.openAsNew(path, version)
    },
    {
      id: CommandIDs.viewPage,
      label: () => trans.__('View as Page'),
      execute: (path, version) => {
        window.open(api.viewPageUrl(path, version.version_id), '_blank', 'noopener');
      }
    }
  ];
}
