// What is open and holds the process: named at the drain deadline, and when the process stays although all is done.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { TIGHT, sleep, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';

/** Somebody who accepts and never answers. */
async function silentDatabase(t) {
  const server = net.createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server.address().port;
}

/** A server whose one request waits for the database, beside a child process, timers and whatever else a program has. */
const busy = (database) => `({ route, require, say, duck }) => {
  const { spawn } = require('node:child_process');
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  process.on('exit', () => child.kill());
  const udp = require('node:dgram').createSocket('udp4').bind(0, '127.0.0.1');
  setInterval(() => {}, 60_000);
  setInterval(() => {}, 60_000).unref();
  require('node:net').createServer().listen(0, '127.0.0.1', function () { say('other', { port: this.address().port, child: child.pid, udp: udp.address().port }); });
  route('/query', () => {
    require('node:net').connect(${database}, '127.0.0.1', () => say('query')).on('error', () => {});
  });
}`;

test('at the drain deadline: the log and the report name what else is open, without the servers own connections', async (t) => {
  const database = await silentDatabase(t);
  const server = await start(t, { options: TIGHT, setup: busy(database) });
  const other = await server.event('other');
  const conn = await connect(server.port);
  conn.request('/query').catch(() => {});
  await server.event('query');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  const open = end.report.open_handles;
  for (const expected of [
    `connection to 127.0.0.1:${database}`,
    `child process ${other.child} (sleep)`,
    `UDP socket on 127.0.0.1:${other.udp}`,
    `server on 127.0.0.1:${other.port}`,
  ]) assert.ok(open.includes(expected), `${expected} is not in ${JSON.stringify(open)}`);
  assert.ok(open.some((what) => /^(\d+ × )?timer$/.test(what)), JSON.stringify(open));
  assert.ok(!open.some((what) => what.includes(`:${server.port}`)), `its own connections are blockers: ${JSON.stringify(open)}`);
  assert.ok(end.stderr.includes(`lameduck: also open at the drain deadline: ${open.join('; ')}\n`), end.stderr);
});

test('a drain in time names nothing', async (t) => {
  const server = await start(t, { options: TIGHT, setup: busy(await silentDatabase(t)) });
  await server.event('other');
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.equal(end.report.open_handles, undefined);
  assert.doesNotMatch(end.stderr, /also open/);
});

test('a Node that does not list its handles still counts them by kind', async (t) => {
  const database = await silentDatabase(t);
  const server = await start(t, { options: TIGHT, setup: `(ctx) => { process._getActiveHandles = undefined; (${busy(database)})(ctx); }` });
  await server.event('other');
  const conn = await connect(server.port);
  conn.request('/query').catch(() => {});
  await server.event('query');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  for (const kind of [/TCPSocketWrap/, /ProcessWrap/, /UDPWrap/, /timer/]) assert.match(end.report.open_handles.join('; '), kind);
});

test('exit: false: a process that stays is told what keeps it', async (t) => {
  const database = await silentDatabase(t);
  const server = await start(t, { options: { ...TIGHT, exit: false }, setup: busy(database) });
  await server.event('other');
  server.signal();
  await server.event('report');
  for (let n = 0; n < 100 && !server.stderr.includes('the process stays'); n++) await sleep(50);
  assert.match(server.stderr, /^lameduck: done, but the process stays: .*child process \d+ \(sleep\)/m);
});

test('exit: false: a process that goes is neither held up nor told anything', async (t) => {
  const server = await start(t, { options: { ...TIGHT, exit: false } });
  server.signal();
  const { at } = await server.event('report');
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(server.signalled + end.after - at < 700, 'it waited');
  assert.doesNotMatch(end.stderr, /the process stays/);
});
