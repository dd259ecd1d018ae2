import { Views } from './commands';
import type { ICommandParts } from './commands';
import { HistoryModel } from './history';
import { FakeHistory, FakeServer, FakeShell, makeVersion, trans, until } from './testing/doubles';

it('compares the older version with the newer one, also where both were stored in the same second', async () => {
  const server = new FakeServer();
  const last_modified = '2026-11-20T10:00:00Z';
  const versions = [3, 2, 1].map(number => makeVersion(number, { last_modified }));
  new FakeHistory(server, versions);
  server.on('GET', 'diff/*', () => ({ kind: 'text', text_diff: '', identical: true }));
  const history = new HistoryModel(server.api, 10);
  await history.open('a.ipynb');
  const views = new Views({
    actions: {},
    api: server.api,
    documents: new FakeShell().documents(),
    history,
    locale: 'en',
    presenter: { show: (_: string, make: () => unknown) => make(), leave: jest.fn() },
    trans
  } as unknown as ICommandParts);
  views.compare('a.ipynb', versions[0], versions[2]);
  views.compare('a.ipynb', versions[2], versions[0]);
  await until(() => server.requests('GET', 'diff/a.ipynb').length === 2);
  const asked = server.requests('GET', 'diff/a.ipynb').map(({ query }) => query);
  expect(asked.map(({ before, after }) => [before, after])).toEqual([
    ['v1', 'v3'],
    ['v1', 'v3']
  ]);
});
