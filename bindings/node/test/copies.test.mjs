// Several ducks in one process, and several copies of the package (two versions of it, in two packages that need it): they agree
// on when the process ends, on what is attached, and on whose an error is.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from './support/client.mjs';

const home = fileURLToPath(new URL('..', import.meta.url));
/** Attached with `first` and `second`, two servers whose routes take `ms`. */
const SERVERS = `
  const answer = (req, res) => setTimeout(() => res.end('answered'), Number(new URL(req.url, 'http://test').searchParams.get('ms')));
  const servers = [http.createServer(answer), http.createServer(answer)];
  const ducks = [first(servers[0], { grace: '6s', window: 200, quiet: 100 }), second(servers[1], { grace: '6s', window: 1200, quiet: 100 })];
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening');
  ducks.forEach((duck, number) => duck.on('report', () => console.log('report ' + number)));
  console.log('ports ' + JSON.stringify(servers.map((server) => server.address().port)));
`;

/** Runs `code`, an ES module that may use `first` and `second`: `lameduck()` of this copy, and of another when `copy` is true. */
async function run(t, copy, code) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-copies-'));
  if (copy) for (const name of ['index.cjs', 'index.mjs', 'package.json', 'dist', 'native']) cpSync(join(home, name), join(folder, name), { recursive: true });
  const source = `
    import http from 'node:http';
    import { once } from 'node:events';
    import { createRequire } from 'node:module';
    import { lameduck as first } from ${JSON.stringify(join(home, 'index.mjs'))};
    const { lameduck: second } = createRequire(import.meta.url)(${JSON.stringify(join(copy ? folder : home, 'index.cjs'))});
    ${code}
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '' } });
  const it = { child, out: '', err: '' };
  child.stdout.on('data', (text) => (it.out += text));
  child.stderr.on('data', (text) => (it.err += text));
  it.ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const timer = setTimeout(() => child.kill('SIGKILL'), 12_000);
  t.after(async () => {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await it.ended;
    rmSync(folder, { recursive: true, force: true });
  });
  it.ports = async () => {
    while (!/^ports .*$/m.test(it.out)) await once(child.stdout, 'data');
    return JSON.parse(/^ports (.*)$/m.exec(it.out)[1]);
  };
  return it;
}

for (const [what, copy] of [['two ducks', false], ['two copies of the package', true]]) {
  test(`${what}: SIGTERM stops both, and the process waits for the later one`, async (t) => {
    const it = await run(t, copy, SERVERS + `console.log('same ' + (first === second));`);
    const ports = await it.ports();
    const conns = [await connect(ports[0]), await connect(ports[1])];
    const answers = [conns[0].request('/?ms=300'), conns[1].request('/?ms=1500')];
    it.child.kill('SIGTERM');
    for (const answer of answers) assert.equal((await answer).text, 'answered');
    assert.deepEqual(await it.ended, { code: 0, signal: null }, it.err);
    assert.match(it.out, /^report 0\nreport 1$/m);
    assert.match(it.out, new RegExp(`^same ${!copy}$`, 'm'));
  });

  test(`${what}: an error that nobody catches ends both, after their requests`, async (t) => {
    const it = await run(t, copy, `${SERVERS} setTimeout(() => { throw new Error('boom'); }, 300);`);
    const conns = await Promise.all((await it.ports()).map((port) => connect(port)));
    const answers = conns.map((conn) => conn.request('/?ms=800'));
    for (const answer of answers) assert.equal((await answer).text, 'answered');
    assert.deepEqual(await it.ended, { code: 1, signal: null }, it.err);
    assert.match(it.out, /^report 0$/m);
    assert.match(it.out, /^report 1$/m);
  });

  test(`${what}: a program that decides about errors itself goes on deciding`, async (t) => {
    const it = await run(t, copy, `
      ${SERVERS}
      process.on('uncaughtException', (error) => console.log('mine: ' + error.message));
      setTimeout(() => { throw new Error('boom'); });
      setTimeout(() => process.kill(process.pid, 'SIGTERM'), 200);
    `);
    assert.deepEqual(await it.ended, { code: 0, signal: null }, it.err);
    assert.match(it.out, /^mine: boom$/m);
  });

  test(`${what}: the same server twice is refused`, async (t) => {
    const it = await run(t, copy, `
      const server = http.createServer();
      first(server, { signals: [], exit: false });
      try { second(server); } catch (error) { console.log(error.message); }
    `);
    assert.deepEqual(await it.ended, { code: 0, signal: null }, it.err);
    assert.match(it.out, /^lameduck: this server is attached already/);
  });
}
