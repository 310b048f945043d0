// What npm would publish, installed in an empty folder where there is no Rust.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { watch } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PLATFORMS, packageOf } from '../../scripts/platforms.mjs';

const require = createRequire(import.meta.url);
const binding = fileURLToPath(new URL('../..', import.meta.url));
const npm = join(dirname(realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())), 'npm-cli.js');

let folder;
let tarballs;
/** Only Node and the shell: no Rust, no compiler. */
let env;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lameduck-packaged-'));
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  symlinkSync('/bin/sh', join(bin, 'sh'));
  env = { ...process.env, PATH: bin, NODE_OPTIONS: '' };
  const packed = execFileSync(process.execPath, ['scripts/pack.mjs', '--as-built'], { cwd: binding, encoding: 'utf8' });
  tarballs = packed.trim().split('\n');
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** An empty project with these tarballs. What is not published yet is optional, and stays away. */
function install(name, files, ...flags) {
  const cwd = join(folder, name);
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), '{ "private": true }');
  const args = [npm, 'install', '--no-audit', '--no-fund', '--loglevel=error', '--prefer-offline', ...flags, ...files];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return cwd;
}

const README_SERVER = `
import { createServer } from 'node:http';
import { lameduck } from 'lameduck';
const server = createServer((req, res) => res.end('hello'));
const duck = lameduck(server, { grace: '3s', window: 100, quiet: 50, health: { livePath: '/livez', readyPath: '/readyz' } });
duck.onClose('database', () => console.log('closed'));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

test('the packages install without Rust, and the server of the README runs and stops', { timeout: 60_000 }, async () => {
  const cwd = install('reader', tarballs);
  assert.deepEqual(readdirSync(join(cwd, 'node_modules/lameduck/native')), ['index.d.ts'], 'the addon comes from its own package');
  writeFileSync(join(cwd, 'server.mjs'), README_SERVER);
  const child = spawn(process.execPath, ['server.mjs'], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const port = (await lines.next()).value;
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'hello');
  assert.equal((await fetch(`http://127.0.0.1:${port}/readyz`)).status, 200);
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, stderr);
  assert.equal((await lines.next()).value, 'closed');
});

test('npx lameduck is the command: its output, its exit status, and its end by a signal', { timeout: 60_000 }, async () => {
  const cwd = join(folder, 'reader');
  const npx = join(dirname(npm), 'npx-cli.js');
  const run = (...words) => spawnSync(process.execPath, [npx, '--offline', '--loglevel=error', 'lameduck', ...words], { cwd, env, encoding: 'utf8' });
  const { version } = JSON.parse(readFileSync(join(binding, 'package.json'), 'utf8'));
  assert.deepEqual([run('--version').status, run('--version').stdout], [0, `lameduck ${version}\n`]);
  writeFileSync(join(cwd, 'compose.yaml'), 'services: { web: { build: . } }');
  const plan = run('plan', 'compose.yaml');
  assert.deepEqual([plan.status, plan.stderr], [1, '']);
  assert.match(plan.stdout, /default-limit compose\.yaml:1/);
  const bad = run('plan', 'nowhere.yaml');
  assert.deepEqual([bad.status, bad.stdout], [2, '']);
  assert.match(bad.stderr, /^error: cannot read nowhere\.yaml/);
  const server = "require('node:fs').writeFileSync('started', ''); setInterval(() => {}, 1e6)";
  const started = watch(cwd);
  const child = spawn(process.execPath, ['node_modules/lameduck/bin/lameduck.js', 'drill', '--', process.execPath, '-e', server], { cwd, env, stdio: 'ignore' });
  for await (const { filename } of started) if (filename === 'started') break;
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  assert.equal(code, 143);
});

test('a strict TypeScript program compiles against the installed package, however it resolves modules', { timeout: 60_000 }, () => {
  const cwd = install('typed', [...tarballs, `@types/node@${require('@types/node/package.json').version}`]);
  for (const name of ['consumer.mts', 'consumer.cts']) copyFileSync(join(binding, 'test/packaging', name), join(cwd, name));
  const tsc = createRequire(join(binding, 'package.json')).resolve('typescript/bin/tsc');
  for (const [module, resolution] of [['node16', 'node16'], ['esnext', 'bundler']]) {
    const files = resolution === 'bundler' ? ['consumer.mts'] : ['consumer.mts', 'consumer.cts'];
    const flags = ['--noEmit', '--strict', '--target', 'es2022', '--module', module, '--moduleResolution', resolution];
    const { status, stdout } = spawnSync(process.execPath, [tsc, ...flags, '--types', 'node', ...files], { cwd, encoding: 'utf8' });
    assert.equal(status, 0, `${module}: ${stdout}`);
  }
});

test('publint and arethetypeswrong find nothing', { timeout: 60_000 }, () => {
  for (const [tool, ...flags] of [['publint', '--strict'], ['attw', '--no-color']]) {
    const { status, stdout, stderr } = spawnSync(join(binding, 'test/node_modules/.bin', tool), [...flags, tarballs[0]], { encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
    assert.doesNotMatch(stdout, /Suggestions|Warnings|Errors/, stdout);
  }
});

test('without the addon, or for a platform that has none, a sentence says what to do', { timeout: 60_000 }, () => {
  const cwd = install('bare', [tarballs[0]], '--omit=optional');
  const load = (before = '') => spawnSync(process.execPath, ['-e', `${before}; require('lameduck')`], { cwd, env, encoding: 'utf8' }).stderr;
  assert.match(load(), /lameduck's addon is not installed: it is in the optional dependency @lameduck\/.* Install without --omit=optional/);
  const elsewhere = "Object.defineProperty(process, 'platform', { value: 'sunos' })";
  assert.match(load(elsewhere), /lameduck has no addon for sunos-\w+; there is one for darwin-arm64, .* Build it from the repository/);
  const command = spawnSync(process.execPath, ['node_modules/lameduck/bin/lameduck.js', 'plan', 'x'], { cwd, env, encoding: 'utf8' });
  assert.equal(command.status, 2);
  assert.match(command.stderr, /^error: lameduck's command is not installed: it is in the optional dependency @lameduck\//);
  const own = PLATFORMS.filter(({ os, cpu }) => os === process.platform && cpu === process.arch);
  mkdirSync(join(cwd, 'node_modules', packageOf(own[0])), { recursive: true });
  writeFileSync(join(cwd, 'node_modules', packageOf(own[0]), 'index.js'), "throw new Error('GLIBC_2.99 not found')");
  assert.match(load(), /lameduck's addon @lameduck\/\S+ does not load here: GLIBC_2\.99 not found/);
});

test('the face knows every platform that is packed, and each has the version of the crate', () => {
  const face = readFileSync(join(binding, 'lib/packages.ts'), 'utf8');
  const known = [...new Set(face.match(/@lameduck\/[a-z0-9-]+/g))];
  assert.deepEqual(known.sort(), PLATFORMS.map(packageOf).sort());
  const { version } = JSON.parse(readFileSync(join(binding, 'package.json'), 'utf8'));
  assert.match(readFileSync(join(binding, '../../Cargo.toml'), 'utf8'), new RegExp(`^version = "${version}"$`, 'm'));
});
