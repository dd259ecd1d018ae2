/**
 * Unit tests: what stands in *.spec.ts beside the module it tests, in a browser that is only pretended.
 */

// ES modules that Jest has to be given as CommonJS: all that a bundler would take as they are.
const esModules = [
  '@codemirror',
  '@fortawesome',
  '@jupyter',
  '@jupyterlab',
  '@lezer',
  '@lumino',
  '@marijn',
  '@microsoft',
  '@rjsf',
  'crelt',
  'exenv-es6',
  'lib0',
  'nanoid',
  'nbdime',
  'style-mod',
  'vscode-ws-jsonrpc',
  'w3c-keyname',
  'y-protocols',
  'y-websocket',
  'yjs'
];

module.exports = {
  testEnvironment: '<rootDir>/jest.environment.js',
  testRegex: '/src/.*\\.spec\\.tsx?$',
  setupFiles: ['<rootDir>/jest.setup.js'],
  moduleNameMapper: {
    '\\.css$': '<rootDir>/jest.style.js',
    '\\.svg$': '<rootDir>/jest.text.js'
  },
  transform: {
    '\\.(ts|tsx|js|mjs)$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', tsx: true },
          transform: { react: { runtime: 'classic' } }
        },
        module: { type: 'commonjs' }
      }
    ]
  },
  transformIgnorePatterns: [`/node_modules/(?!(${esModules.join('|')})[/-])`],
  clearMocks: true,
  // A test that leaves something running would hold up the next one.
  testTimeout: 10_000
};
