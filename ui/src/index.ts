/**
 * The versions of a document where it is edited: in JupyterLab 4 and Notebook 7.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ILabShell, ILayoutRestorer } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager, Notification } from '@jupyterlab/apputils';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Actions } from './actions';
import { BookstoreApi } from './api';
import { addCommands, CommandIDs, Views } from './commands';
import type { ICommandParts } from './commands';
import { Documents } from './documents';
import { Follower } from './follow';
import { localeOf } from './format';
import { HistoryModel } from './history';
import { ArchiveMonitor } from './monitor';
import { HistoryPanel } from './panel';
import { Presenter } from './presenter';
import { StatusItem } from './status';
import { Troubles } from './troubles';

/** Its settings are stored under this name. */
export const PLUGIN_ID = 'jupyterlab-bookstore:plugin';

/** Places among the other items of the same kind. */
const RANK = { panel: 250, statusBar: 20, notebook: 10_000 };

/** Milliseconds for which the settings are waited for. */
const SETTLED = 3000;

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'History, compare, restore and publish for the document in front.',
  autoStart: true,
  requires: [IDocumentManager, IEditorServices, IRenderMimeRegistry],
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    ISettingRegistry,
    IStatusBar,
    IThemeManager,
    ITranslator
  ],
  activate
};

function activate(
  app: JupyterFrontEnd,
  manager: IDocumentManager,
  editorServices: IEditorServices,
  rendermime: IRenderMimeRegistry,
  labShell: ILabShell | null,
  restorer: ILayoutRestorer | null,
  palette: ICommandPalette | null,
  registry: ISettingRegistry | null,
  statusBar: IStatusBar | null,
  themes: IThemeManager | null,
  anyTranslator: ITranslator | null
): void {
  const translator = anyTranslator ?? nullTranslator;
  const trans = translator.load('jupyterlab_bookstore');
  // JupyterLab 4.0 does not tell the language.
  const locale = localeOf((translator as Partial<ITranslator>).languageCode ?? 'en');
  const { serviceManager } = app;

  const api = new BookstoreApi(serviceManager.serverSettings);
  const monitor = new ArchiveMonitor(api);
  const history = new HistoryModel(api);
  const documents = new Documents(app.shell, manager, serviceManager.contents);
  const follower = new Follower(api, documents, history, monitor);
  const presenter = new Presenter(app.shell, labShell, trans);
  const actions = new Actions({ api, documents, history, manager, monitor, trans, locale });
  const settings = registry === null ? Promise.resolve(null) : registry.load(PLUGIN_ID);
  const settled = Promise.race([
    settings.then(
      () => undefined,
      () => undefined
    ),
    new Promise<void>(resolve => setTimeout(resolve, SETTLED))
  ]);
  const troubles = new Troubles(monitor, trans, settled);
  let asksBeforePublishing = true;

  const parts: ICommandParts = {
    actions,
    api,
    asksBeforePublishing: () => asksBeforePublishing,
    documents,
    editorServices,
    history,
    isDark: () => themes !== null && themes.theme !== null && !themes.isLight(themes.theme),
    locale,
    manager,
    monitor,
    presenter,
    rendermime,
    reveal: () => app.shell.activateById(panel.id),
    trans,
    translator
  };
  const views = new Views(parts);
  const verbs = addCommands(app, parts, views);
  const panel = new HistoryPanel({
    compare: (one, other) => views.compare(history.path, one, other),
    history,
    locale,
    monitor,
    trans,
    verbs
  });
  let isSettled = false;
  const watch = () => {
    // How many versions are asked for is a setting.
    follower.isWatched = isSettled && panel.isVisible;
  };
  panel.visibility.connect(watch);
  app.shell.add(panel, 'right', { rank: RANK.panel, type: 'History' });
  restorer?.add(panel, panel.id);

  const item = new StatusItem({ api, documents, follower, locale, monitor, trans });
  if (statusBar !== null) {
    statusBar.registerStatusItem(PLUGIN_ID, {
      item,
      align: 'left',
      rank: RANK.statusBar,
      isActive: () => item.isActive,
      activeStateChanged: item.activeStateChanged
    });
  } else {
    // Notebook has no status bar; what it tells of the document stands at the right end of its menu bar.
    item.id = 'jp-bookstore-status-item';
    app.shell.add(item, 'menu', { rank: RANK.notebook });
  }

  const category = trans.__('Versions');
  for (const command of [CommandIDs.openHistory, CommandIDs.publish, CommandIDs.showState]) {
    palette?.addItem({ command, category });
  }

  void settings
    .then(loaded => {
      if (loaded === null) {
        return;
      }
      const follow = () => {
        const { announceTrouble, confirmPublish, pageSize, showStatus } = loaded.composite;
        asksBeforePublishing = confirmPublish as boolean;
        history.pageSize = pageSize as number;
        troubles.isAnnouncing = announceTrouble as boolean;
        item.isActive = showStatus as boolean;
      };
      loaded.changed.connect(follow);
      follow();
    })
    .catch((error: Error) => {
      Notification.error(
        trans.__('The settings of bookstore could not be read: %1', error.message)
      );
    });
  void settled.then(() => {
    isSettled = true;
    watch();
  });

  monitor.listen(serviceManager.events);
  void monitor.ready;
}

export default plugin;
