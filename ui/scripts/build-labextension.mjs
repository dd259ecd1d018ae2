// Bundles the compiled extension as a prebuilt one, with what JupyterLab's own packages are taken from the npm registry:
// no Python and no installed JupyterLab is needed.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const core = join(here, 'build', 'core');

mkdirSync(core, { recursive: true });
copyFileSync(
  require.resolve('@jupyterlab/core-meta/core.package.json'),
  join(core, 'package.json')
);
const builder = require.resolve('@jupyterlab/builder/lib/build-labextension.js');
const result = spawnSync(
  process.execPath,
  [builder, '--core-path', core, ...process.argv.slice(2), here],
  { stdio: 'inherit' }
);
process.exit(result.status ?? 1);
