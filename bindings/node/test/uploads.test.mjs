// Uploads to a real server (examples/upload, multipart to files): each is stored whole or not at all.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { startExample } from './support/example.mjs';
import { assertNames, assertReport, assertVerdict } from './support/report.mjs';
import { sleep } from './support/server.mjs';

const CONTENT = 'x'.repeat(300_000);
const FORM = `--edge\r\nContent-Disposition: form-data; name="file"; filename="report.txt"\r\nContent-Type: text/plain\r\n\r\n${CONTENT}\r\n--edge--\r\n`;
const HEAD = head('/', { method: 'POST', headers: { 'Content-Type': 'multipart/form-data; boundary=edge', 'Content-Length': FORM.length } });

/** A server and a client that has sent half of a file. */
async function halfway(t, env) {
  const server = await startExample(t, 'upload/server.mjs', { env: { ...env, UPLOADS: 'uploads' } });
  const conn = await connect(server.port);
  conn.write(HEAD + FORM.slice(0, 150_000));
  const files = () => readdirSync(join(server.folder, 'uploads'));
  while (files().length === 0) await sleep(10);
  return { server, conn, files };
}

test('an upload that goes on is stored whole', async (t) => {
  const { server, conn, files } = await halfway(t);
  server.signal();
  await server.says(/window ended/);
  conn.write(FORM.slice(150_000));
  const { status, text } = await conn.response();
  assert.deepEqual({ status, text }, { status: 201, text: '["report.txt"]' });
  const end = await server.end();
  assertReport(end, 0);
  assert.deepEqual(files(), ['report.txt']);
  assert.equal(readFileSync(join(server.folder, 'uploads/report.txt'), 'utf8'), CONTENT);
});

test('one that stalls is answered before the deadline, and nothing of it is stored', async (t) => {
  const { server, conn, files } = await halfway(t, { LAMEDUCK_GRACE: '2', LAMEDUCK_WINDOW: '0.3', LAMEDUCK_RESERVE: '0.4' });
  server.signal();
  const { status, closes } = await conn.response();
  assert.deepEqual({ status, closes }, { status: 503, closes: true });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
  assert.deepEqual(files(), []);
  assertNames(end.report, /abort signals fired/);
});

test('one whose client goes away leaves nothing', async (t) => {
  const { server, conn, files } = await halfway(t);
  server.signal();
  await server.says(/window begins/);
  conn.destroy();
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'client_gone', 1);
  assert.deepEqual(files(), []);
});
