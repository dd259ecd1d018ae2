/**
 * What JupyterLab's packages take for granted and jsdom does not have.
 */
const util = require('node:util');
const { webcrypto } = require('node:crypto');

Object.defineProperties(globalThis, {
  TextEncoder: { value: util.TextEncoder, writable: true },
  TextDecoder: { value: util.TextDecoder, writable: true }
});
if (!globalThis.crypto?.subtle) {
  Object.defineProperty(globalThis, 'crypto', { value: webcrypto, writable: true });
}

class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
  takeRecords() {
    return [];
  }
}
globalThis.ResizeObserver ??= Observer;
globalThis.IntersectionObserver ??= Observer;
globalThis.DragEvent ??= class DragEvent extends MouseEvent {};
globalThis.matchMedia ??= query => ({
  matches: false,
  media: query,
  addEventListener() {},
  addListener() {},
  removeEventListener() {},
  removeListener() {}
});
globalThis.requestIdleCallback ??= callback => setTimeout(callback);
globalThis.cancelIdleCallback ??= id => clearTimeout(id);
Element.prototype.scrollIntoView ??= function () {};
navigator.clipboard ??= { readText: async () => '', writeText: async () => {} };
