// The report as a file: whole or not at all, also when the event loop never comes back and nobody reads the log.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';
import { lameduck } from './support/subject.mjs';

/** A folder of its own, and what lies in it. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'lameduck-report-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return { in: (name) => join(path, name), names: () => readdirSync(path) };
}

test('the report is in its file, alone in its folder, in place of the one before', async (t) => {
  const place = folder(t);
  const reportFile = place.in('shutdown.json');
  writeFileSync(reportFile, 'the one before');
  const server = await start(t, { options: { ...BUDGET, reportFile } });
  assert.equal(readFileSync(reportFile, 'utf8'), 'the one before', 'serving changes nothing');
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  const written = readFileSync(reportFile, 'utf8');
  assert.deepEqual(JSON.parse(written), end.report);
  assert.match(written, /^\{.*\}\n$/);
  assert.ok(end.stderr.trim().endsWith(`lameduck: report ${written.trim()}`), 'the log ends with the same');
  assert.deepEqual(place.names(), ['shutdown.json']);
});

test('{pid} is the number of the process, and LAMEDUCK_REPORT_FILE beats the option', async (t) => {
  const place = folder(t);
  const server = await start(t, {
    options: { ...BUDGET, reportFile: place.in('from-code.json') },
    env: { LAMEDUCK_REPORT_FILE: place.in('shutdown-{pid}.json') },
  });
  server.signal();
  assertReport(await server.end(), 0);
  assert.deepEqual(place.names(), [`shutdown-${server.pid}.json`]);
});

for (const when of ['before', 'after']) {
  test(`an event loop blocked ${when} the signal, and a log that nobody reads: the file is there and says so`, async (t) => {
    const place = folder(t);
    const reportFile = place.in('shutdown.json');
    // A window in which a busy machine gets to the request.
    const server = await start(t, { options: { ...TIGHT, window: 900, reportFile } });
    const conn = await connect(server.port);
    const block = async () => {
      conn.write(head('/block'));
      await server.event('block');
    };
    if (when === 'before') await block();
    // What fills standard error has to be on its way before the loop is blocked.
    server.child.stderr.pause();
    server.signal();
    if (when === 'after') {
      await server.event('phase', ({ name }) => name === 'draining');
      await block();
    }
    const end = await server.end();
    assert.equal(end.code, 1);
    assertGoneByT(end, TIGHT);
    const report = JSON.parse(readFileSync(reportFile, 'utf8'));
    assert.equal(report.schema, 'lameduck-report/1');
    assert.equal(report.cause, 'terminate');
    assert.equal(report.requests.in_flight, 1);
    assert.equal(report.exit_code, 1);
    assert.ok(report.event_loop_blocked_ms > 500, `${report.event_loop_blocked_ms}`);
    if (when === 'after') {
      assert.equal(report.cause_detail, 'SIGTERM');
      assert.equal(report.blockers.oldest[0].label, 'GET /block');
    }
    assert.deepEqual(place.names(), ['shutdown.json']);
  });
}

test('a hook that hangs to the very end is in the file, too', async (t) => {
  const place = folder(t);
  const server = await start(t, {
    options: { ...TIGHT, reportFile: place.in('shutdown.json') },
    setup: ({ duck }) => duck.onFlush('hung-logs', () => new Promise(() => {})),
  });
  server.signal();
  const end = await server.end();
  assert.equal(end.code, 1);
  assert.match(readFileSync(place.in('shutdown.json'), 'utf8'), /hung-logs/);
});

test('a folder that goes away costs the file, not the shutdown, and the log says so', async (t) => {
  const place = folder(t);
  mkdirSync(place.in('logs'));
  const server = await start(t, { options: { ...BUDGET, reportFile: place.in('logs/shutdown.json') } });
  rmSync(place.in('logs'), { recursive: true });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.match(end.stderr, /lameduck: the report could not be written to .*logs\/shutdown\.json: No such file/);
});

test('a path that cannot be written is refused at start, with a sentence, and nothing is attached', (t) => {
  const place = folder(t);
  const server = http.createServer();
  const listeners = () => ['SIGTERM', 'SIGINT', 'uncaughtException'].map((event) => process.listenerCount(event));
  const before = listeners();
  for (const [reportFile, expected] of [
    [place.in('missing/shutdown.json'), { name: 'RangeError', message: /^lameduck: the report cannot be written to '.*missing\/shutdown\.json' \(No such file or directory.*\): name a file in a folder that is there/ }],
    [place.in(''), { name: 'RangeError', message: /no ordinary file/ }],
    ['/dev/null', { name: 'RangeError', message: /no ordinary file/ }],
    ['', { name: 'TypeError', message: /reportFile is a path/ }],
    [true, { name: 'TypeError', message: /reportFile is a path/ }],
  ]) assert.throws(() => lameduck(server, { reportFile, signals: [] }), expected);
  assert.deepEqual(listeners(), before);
  assert.deepEqual(place.names(), []);
  lameduck(server, { signals: [], exit: false, logger: false });
});
