// Proof that the tests can fail: runs the suite against libraries that lack what it asks for.
//   node can-fail.mjs [peer …]
// Peers write no report, so that would fail every test: with LAMEDUCK_TEST_LENIENT the suite takes a missing report as given,
// and only what the client saw, the exit code and the times count.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const SUBJECTS = ['inflight', 'flush', 'pipelining', 'idle', 'https', 'longlived', 'deadlines', 'window'];
const files = SUBJECTS.map((subject) => `${subject}.test.mjs`);
const asked = process.argv.slice(2);
const peers = asked.length > 0 ? asked : readdirSync(`${here}/peers`).map((file) => file.replace('.mjs', '')).filter((name) => name !== 'face');

/** Test name → whether it passed. */
function run(peer) {
  const { stdout } = spawnSync(process.execPath, ['--test', '--test-reporter=tap', '--test-concurrency=4', ...files], {
    cwd: here,
    encoding: 'utf8',
    env: { ...process.env, LAMEDUCK_TEST_LENIENT: '1', LAMEDUCK_TEST_SUBJECT: new URL(`./peers/${peer}.mjs`, import.meta.url).href },
    maxBuffer: 64e6,
  });
  const results = new Map();
  for (const [, not, name] of stdout.matchAll(/^ *(not )?ok \d+ - (.*)$/gm)) if (!name.endsWith('.test.mjs')) results.set(name, !not);
  return results;
}

const columns = peers.map(run);
const tests = [...columns[0].keys()];
console.log(`| scenario | ${peers.join(' | ')} |\n|---|${peers.map(() => '---|').join('')}`);
for (const test of tests) console.log(`| ${test} | ${columns.map((column) => (column.get(test) ? 'passes' : '**fails**')).join(' | ')} |`);
const toothless = tests.filter((test) => columns.every((column) => column.get(test)));
console.log(`\n${tests.length} scenarios; passed by every peer, so proven by none of them: ${toothless.length === 0 ? 'none' : toothless.join('; ')}`);
