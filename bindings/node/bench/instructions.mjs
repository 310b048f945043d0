// Instructions that a request costs the server, counted by valgrind's callgrind, which no busy machine disturbs:
//   node bench/instructions.mjs [--seconds 8] [--protocol http|h2c] [contender …]
// The server is warmed until V8 has compiled what is hot; then three slices are counted, of which the least is taken: what a garbage
// collection or a late compilation adds to one is no request's.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { contenders } from './contenders.mjs';
import { load } from './load.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '8' }, protocol: { type: 'string', default: 'http' } },
});
const { protocol } = values;
const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const WARM = 16_000;
const SLICES = 3;
const CONNECTIONS = 8;

if (spawnSync('callgrind_control', ['--version']).status !== 0) {
  console.error('bench: install valgrind (apt-get install valgrind); it counts the instructions');
  process.exit(2);
}

async function count(name) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-instructions-'));
  const command = ['--tool=callgrind', '--smc-check=all-non-file', `--callgrind-out-file=${join(folder, 'out')}`, process.execPath, '--single-threaded-gc', SERVER, name, protocol];
  const child = spawn('valgrind', command, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, NODE_ENV: 'production' } });
  try {
    const [{ port }] = await once(child, 'message');
    const slice = async () => (await load(port, { connections: CONNECTIONS, ms: Number(values.seconds) * 1000, protocol })).answered;
    const control = (what) => {
      const { status, stderr } = spawnSync('callgrind_control', [what, String(child.pid)], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`callgrind_control ${what}: ${stderr}`);
    };
    for (let warm = 0; warm < WARM;) warm += await slice();
    const counted = [];
    for (let n = 1; n <= SLICES; n++) {
      control('-z');
      const answered = await slice();
      control('-d');
      const dump = readdirSync(folder).find((file) => file.endsWith(`.${n}`));
      const total = Number(/^(?:summary|totals): (\d+)/m.exec(readFileSync(join(folder, dump), 'utf8'))[1]);
      counted.push(total / answered);
    }
    return Math.min(...counted);
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, maxRetries: 3 });
  }
}

const names = positionals.length > 0 ? positionals : Object.keys(contenders);
for (const name of names) if (!(name in contenders)) throw new Error(`no contender ${name}; there are ${Object.keys(contenders).join(', ')}`);
console.log(`\`node bench/instructions.mjs${process.argv.slice(2).map((arg) => ` ${arg}`).join('')}\` · Node ${process.version} · ${protocol}\n`);
console.log('| | instructions per request |\n|---|---|');
for (const name of names) console.log(`| ${name} | ${Math.round((await count(name)) / 100) / 10} thousand |`);
