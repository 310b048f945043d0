// Runs the suite under each Node version that the binding supports:
//   node all-nodes.mjs [20 22 24 26] [-- file.test.mjs …]
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const argv = process.argv.slice(2);
const cut = argv.includes('--') ? argv.indexOf('--') : argv.length;
const versions = cut > 0 ? argv.slice(0, cut) : ['20', '22', '24', '26'];
const files = argv.slice(cut + 1);
if (files.length === 0) files.push(...readdirSync(here).filter((name) => name.endsWith('.test.mjs')));

const binary = (version) => join(here, 'runtimes', 'node_modules', `node${version}`, 'bin', 'node');

if (!versions.every((version) => existsSync(binary(version)))) {
  const npm = spawnSync('npm', ['install', '--no-audit', '--no-fund'], { cwd: join(here, 'runtimes'), stdio: 'inherit' });
  if (npm.status !== 0) {
    console.error('all-nodes: the Node versions could not be installed; nothing was tested.');
    process.exit(2);
  }
}

const failed = [];
for (const version of versions) {
  console.log(`\n== Node ${version}`);
  const run = spawnSync(binary(version), ['--test', '--test-concurrency=4', ...files], { cwd: here, stdio: 'inherit' });
  if (run.status !== 0) failed.push(version);
}
console.log(failed.length === 0 ? `\nall-nodes: passed on ${versions.join(', ')}` : `\nall-nodes: failed on ${failed.join(', ')}`);
process.exit(failed.length === 0 ? 0 : 1);
