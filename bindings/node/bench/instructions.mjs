// Instructions that a request costs the server, counted by valgrind's callgrind, which no busy machine disturbs:
//   node bench/instructions.mjs [--runs 3] [--protocol http|h2c] [contender …]
// In each run V8 has another seed, and leaves nothing to other threads: what it compiles and when is the same for all contenders. The server is
// warmed until everything hot is compiled; then slices of as many requests each are counted, so that all have as many garbage
// collections, and the median is taken.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { contenders } from './contenders.mjs';
import { connect } from './load.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '3' }, protocol: { type: 'string', default: 'http' } },
});
const { protocol } = values;
const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const WARM = 40_000;
const SLICES = 5;
const SLICE = 3_000;
const CONNECTIONS = 8;

if (spawnSync('callgrind_control', ['--version']).status !== 0) {
  console.error('bench: install valgrind (apt-get install valgrind); it counts the instructions');
  process.exit(2);
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

async function count(name, seed) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-instructions-'));
  const valgrind = ['--tool=callgrind', '--instr-atstart=no', '--smc-check=all-non-file', `--callgrind-out-file=${join(folder, 'out')}`];
  const node = [process.execPath, '--single-threaded', `--random-seed=${seed}`, `--hash-seed=${seed}`, SERVER, name, protocol];
  const child = spawn('valgrind', [...valgrind, ...node], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, NODE_ENV: 'production' } });
  let clients;
  try {
    const [{ port }] = await once(child, 'message');
    clients = await connect(port, { connections: CONNECTIONS, protocol });
    const control = (...what) => {
      const { status, stderr } = spawnSync('callgrind_control', [...what, String(child.pid)], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`callgrind_control ${what}: ${stderr}`);
    };
    await clients.ask(WARM);
    control('-i', 'on');
    const counted = [];
    for (let n = 1; n <= SLICES; n++) {
      control('-z');
      await clients.ask(SLICE);
      control('-d');
      const dump = readdirSync(folder).find((file) => file.endsWith(`.${n}`));
      const total = Number(/^(?:summary|totals): (\d+)/m.exec(readFileSync(join(folder, dump), 'utf8'))[1]);
      counted.push(total / SLICE);
    }
    return median(counted);
  } finally {
    clients?.leave();
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, maxRetries: 3 });
  }
}

const names = positionals.length > 0 ? positionals : Object.keys(contenders);
for (const name of names) if (!(name in contenders)) throw new Error(`no contender ${name}; there are ${Object.keys(contenders).join(', ')}`);
console.log(`\`node bench/instructions.mjs${process.argv.slice(2).map((arg) => ` ${arg}`).join('')}\` · Node ${process.version} · ${protocol}\n`);
console.log('| | thousand instructions per request: median (min–max) |\n|---|---|');
for (const name of names) {
  const runs = [];
  for (let seed = 1; seed <= Number(values.runs); seed++) runs.push(await count(name, seed));
  const [middle, least, most] = [median(runs), Math.min(...runs), Math.max(...runs)].map((figure) => (figure / 1000).toFixed(2));
  console.log(`| ${name} | ${middle} (${least}–${most}) |`);
}
