// The helpers' types against those of the clients.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const tsc = createRequire(new URL('../../bindings/node/package.json', import.meta.url)).resolve('typescript/bin/tsc');

test('each helper takes what its client makes, by their own types', () => {
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--module', 'node16', '--types', 'node'];
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...flags, 'consumer.mts'], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
});
