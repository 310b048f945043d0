// The types, as TypeScript programs of both kinds of module see them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const tsc = createRequire(new URL('../package.json', import.meta.url)).resolve('typescript/bin/tsc');
const fixture = (name) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

test('a strict TypeScript program compiles, as an ES module and as CommonJS', () => {
  const flags = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'node16', '--exactOptionalPropertyTypes'];
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...flags, fixture('consumer.mts'), fixture('consumer.cts')], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
});
