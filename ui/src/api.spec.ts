import { ServerConnection } from '@jupyterlab/services';

import { ApiError, BookstoreApi } from './api';
import { FakeServer, makeVersion, Refusal, SILENCE } from './testing/doubles';

/** An interface to a server that gives one answer to everything. */
function answeredBy(response: () => Response): BookstoreApi {
  return new BookstoreApi(
    ServerConnection.makeSettings({
      baseUrl: 'http://localhost:8888/base/',
      fetch: async () => response()
    })
  );
}

async function failureOf(work: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

describe('an address', () => {
  let server: FakeServer;

  beforeEach(() => {
    server = new FakeServer();
    server.on('GET', '*', () => ({ versions: [] }));
  });

  it.each([
    ['a.ipynb', 'versions/a.ipynb'],
    ['my files/a b.ipynb', 'versions/my%20files/a%20b.ipynb'],
    ['50%/a#1?x=y&z.ipynb', 'versions/50%25/a%231%3Fx%3Dy%26z.ipynb'],
    ['%2e%2e/a.ipynb', 'versions/%252e%252e/a.ipynb'],
    ['Über/ノート.ipynb', 'versions/%C3%9Cber/%E3%83%8E%E3%83%BC%E3%83%88.ipynb'],
    ['a+b;c.ipynb', 'versions/a%2Bb%3Bc.ipynb']
  ])('names the path %s as it is', async (path, place) => {
    await server.api.versions(path, 50);
    expect(server.asked[0].place).toBe(place);
    expect(decodeURIComponent(server.asked[0].place)).toBe(`versions/${path}`);
  });

  it('does not lead out of what is bookstore’s', async () => {
    for (const path of [
      '../../contents/a.ipynb',
      'x/../../../../api/contents',
      '..',
      'a/./b',
      '%2e%2e/../..'
    ]) {
      const before = server.asked.length;
      await server.api.versions(path, 50).catch(() => undefined);
      for (const asked of server.asked.slice(before)) {
        expect(asked.place).toMatch(/^versions\//);
      }
    }
  });

  it('stands below the base of the server, and in full where it leaves the page', () => {
    const clone = new URL(server.api.clonePageUrl('my bucket', 'archive/a #1.ipynb', 'v 1'));
    expect(clone.origin + clone.pathname).toBe('http://localhost:8888/base/bookstore/clone');
    expect(Object.fromEntries(clone.searchParams)).toEqual({
      s3_bucket: 'my bucket',
      s3_key: 'archive/a #1.ipynb',
      s3_version_id: 'v 1'
    });
    expect(new URL(server.api.clonePageUrl('b', 'k', null)).searchParams.has('s3_version_id')).toBe(
      false
    );

    const view = new URL(server.api.viewPageUrl('my files/50%#.ipynb', 'v+1'));
    expect(view.pathname).toBe('/base/bookstore/view/my%20files/50%25%23.ipynb');
    expect(Object.fromEntries(view.searchParams)).toEqual({ version_id: 'v+1' });
  });

  it('is in full also where the base is only a path', () => {
    const api = new BookstoreApi({ ...ServerConnection.makeSettings(), baseUrl: '/user/ada/' });
    expect(api.clonePageUrl('b', 'k', null)).toBe(
      'http://localhost/user/ada/bookstore/clone?s3_bucket=b&s3_key=k'
    );
  });
});

describe('a request', () => {
  let server: FakeServer;
  const version = makeVersion(7, { key: 'archive/a.ipynb' });

  beforeEach(() => {
    server = new FakeServer();
    for (const method of ['GET', 'POST', 'PUT', 'PATCH']) {
      server.on(method, '*', () => ({ versions: [version] }));
    }
  });

  it.each<[string, (api: BookstoreApi) => Promise<unknown>, string, string, object, unknown]>([
    ['about', api => api.about(), 'GET', '', {}, undefined],
    ['status', api => api.status(), 'GET', 'status', {}, undefined],
    [
      'the first page',
      api => api.versions('a', 50),
      'GET',
      'versions/a',
      { limit: '50' },
      undefined
    ],
    [
      'a further page',
      api => api.versions('a', 5, 'c=/+'),
      'GET',
      'versions/a',
      { limit: '5', cursor: 'c=/+' },
      undefined
    ],
    ['the pinned ones', api => api.pinned('a'), 'GET', 'versions/a', { pinned: 'true' }, undefined],
    ['a text', api => api.text('a', 'v+1'), 'GET', 'content/a', { version_id: 'v+1' }, undefined],
    [
      'two versions',
      api => api.compare('a', 'v1', 'v2'),
      'GET',
      'diff/a',
      { before: 'v1', after: 'v2', notebook: 'true' },
      undefined
    ],
    [
      'version and file',
      api => api.compareWithFile('a', 'v1'),
      'GET',
      'diff/a',
      { before: 'v1', notebook: 'true' },
      undefined
    ],
    [
      'version and editor',
      api => api.compareWithEditor('a', 'v1', { type: 'file', format: 'text', content: 'x' }),
      'POST',
      'diff/a',
      {},
      { before: 'v1', notebook: true, type: 'file', format: 'text', content: 'x' }
    ],
    [
      'a pin',
      api => api.label('a', 'v1', { pinned: true }),
      'PATCH',
      'label/a',
      {},
      { version_id: 'v1', pinned: true }
    ],
    ['a restore', api => api.restore('a', 'v1'), 'POST', 'restore/a', {}, { version_id: 'v1' }],
    [
      'a careful restore',
      api => api.restore('a', 'v1', { expectedLastModified: 'then' }),
      'POST',
      'restore/a',
      {},
      { version_id: 'v1', expected_last_modified: 'then' }
    ],
    [
      'a forced restore',
      api => api.restore('a', 'v1', { force: true }),
      'POST',
      'restore/a',
      {},
      { version_id: 'v1', force: true }
    ],
    ['a publication', api => api.publish('a'), 'PUT', 'publish/a', {}, undefined],
    [
      'a clone',
      api => api.clone('bucket', version, 'new.ipynb'),
      'POST',
      'clone',
      {},
      {
        s3_bucket: 'bucket',
        s3_key: 'archive/a.ipynb',
        s3_version_id: 'v7',
        target_path: 'new.ipynb'
      }
    ],
    ['a flush', api => api.flush(), 'POST', 'flush', {}, { timeout: 10 }]
  ])('for %s says what is wanted, and no more', async (_, ask, method, place, query, body) => {
    await ask(server.api);
    expect(server.asked).toEqual([{ method, place, query, body }]);
  });

  it('gives the pinned versions without their page, and a text as it is', async () => {
    expect(await server.api.pinned('a')).toEqual([version]);
    expect(await answeredBy(() => new Response('{"a": <b>}')).text('a', 'v')).toBe('{"a": <b>}');
  });
});

describe('a failure', () => {
  it('is what the server says: the message, the hint and the code', async () => {
    const server = new FakeServer();
    server.on(
      'GET',
      'status',
      () => new Refusal(503, { message: 'm', hint: 'h', code: 'StoreUnreachable' })
    );
    const error = await failureOf(server.api.status());
    expect([error.status, error.message, error.hint, error.code]).toEqual([
      503,
      'm',
      'h',
      'StoreUnreachable'
    ]);
  });

  it.each([
    ['a page of a proxy', '<html>502</html>', '502 Bad Gateway'],
    ['nothing', '', '502 Bad Gateway'],
    ['JSON of another make', '{"message": {"a": 1}, "hint": 5}', '502 Bad Gateway']
  ])('is the status where there is %s', async (_, text, message) => {
    const error = await failureOf(
      answeredBy(() => new Response(text, { status: 502, statusText: 'Bad Gateway' })).about()
    );
    expect([error.status, error.message, error.hint, error.code]).toEqual([502, message, '', '']);
  });

  it.each(['null', '"text"', '5', '[]'])('is the status where the JSON is %s', async text => {
    const error = await failureOf(
      answeredBy(() => new Response(text, { status: 500, statusText: 'Bad' })).about()
    );
    expect([error.status, error.message]).toEqual([500, '500 Bad']);
  });

  it('has no status where there is no answer', async () => {
    const server = new FakeServer();
    server.on('GET', 'status', () => SILENCE);
    const error = await failureOf(server.api.status());
    expect([error.status, error.message, error.code]).toEqual([0, 'Failed to fetch', 'NoAnswer']);
  });

  it('is told also where an answer that should be JSON is a page: a sign-in, for instance', async () => {
    const error = await failureOf(answeredBy(() => new Response('<html>Sign in</html>')).about());
    expect(error.status).toBe(200);
  });
});
