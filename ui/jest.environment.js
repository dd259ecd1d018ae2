/**
 * The pretended browser, with what it lacks of the requests that every real one has. A test file may say where it is:
 * `@timezone Europe/Berlin`, in the comment that it begins with.
 */
const { TestEnvironment } = require('jest-environment-jsdom');

module.exports = class extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    Object.assign(this.global, { fetch, Headers, Request, Response });
    process.env.TZ = context.docblockPragmas.timezone ?? 'UTC';
  }
};
