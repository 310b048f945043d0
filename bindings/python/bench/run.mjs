// Requests per second and CPU per request of uvicorn (httptools, uvloop) with lameduck, beside bare uvicorn:
//   node bench/run.mjs [--rounds 4] [--pairs 8] [--seconds 0.5] [--connections 50] [--python PROGRAM]
// Each round starts both afresh and loads them in turn, A B B A …; each pair gives one ratio. `twice` is the bare server against itself,
// `passed` has an empty wrapper, the least that one can cost.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { load } from '../../node/bench/load.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    pairs: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '0.5' },
    connections: { type: 'string', default: '50' },
    python: { type: 'string', default: 'python3' },
  },
});
const [rounds, pairsPerRound, seconds, connections] = ['rounds', 'pairs', 'seconds', 'connections'].map((name) => Number(values[name]));
const here = dirname(fileURLToPath(import.meta.url));
const pinned = cpus().length > 1 && spawnSync('taskset', ['-V']).status === 0;
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

const freePort = () => new Promise((resolve) => {
  const probe = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
const answers = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
  socket.unref().on('connect', () => socket.destroy());
});

async function start(name) {
  const port = await freePort();
  const uvicorn = [values.python, '-m', 'uvicorn', `app:${name}`, '--port', String(port), '--loop', 'uvloop', '--http', 'httptools', '--log-level', 'warning', '--no-access-log'];
  const [program, ...args] = pinned ? ['taskset', '-c', '0', ...uvicorn] : uvicorn;
  const child = spawn(program, args, { cwd: here, stdio: ['ignore', 'ignore', 'inherit'] });
  children.add(child);
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`uvicorn did not start: ${uvicorn.join(' ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  /** Microseconds on a processor, of all threads. */
  const cpu = () => readdirSync(`/proc/${child.pid}/task`)
    .map((thread) => Number(readFileSync(`/proc/${child.pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1000)
    .reduce((sum, one) => sum + one, 0);
  return {
    async measure(ms) {
      const before = cpu();
      const { answered, seconds: took } = await load(port, { connections, ms, protocol: 'http' });
      return { rate: answered / took, cpu: (cpu() - before) / answered };
    },
    stop() {
      children.delete(child);
      child.kill('SIGKILL');
    },
  };
}

async function round(name) {
  const servers = [await start('bare'), await start(name)];
  for (const server of servers) await server.measure(700);
  const pairs = [];
  for (let n = 0; n < pairsPerRound; n++) {
    const taken = [];
    for (const which of n % 2 === 0 ? [0, 1] : [1, 0]) taken[which] = await servers[which].measure(seconds * 1000);
    pairs.push(taken);
  }
  for (const server of servers) server.stop();
  return pairs;
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) => `${median(list).toFixed(3)} (${Math.min(...list).toFixed(3)}–${Math.max(...list).toFixed(3)})`;

if (pinned) spawnSync('taskset', ['-cp', '1', String(process.pid)]);
const results = { twice: [], passed: [], lameduck: [] };
for (let n = 0; n < rounds; n++) {
  for (const name in results) {
    process.stderr.write(`\rround ${n + 1}/${rounds}: ${name.padEnd(10)}`);
    results[name].push(...await round(name));
  }
}
process.stderr.write('\r\x1b[K');

const version = spawnSync(values.python, ['-c', 'import sys, uvicorn; print(f"CPython {sys.version.split()[0]}, uvicorn {uvicorn.__version__}")'], { encoding: 'utf8' }).stdout.trim();
console.log(`${version} · ${cpus().length} × ${cpus()[0].model.trim()} · ${connections} keep-alive connections · ${rounds * pairsPerRound} pairs of ${seconds} s${pinned ? ' · server and load pinned to one core each' : ''}`);
console.log('\n| | requests/s, ratio to bare: median (min–max) | CPU per request, ratio to bare: median (min–max) | CPU µs per request over bare |\n|---|---|---|---|');
for (const [name, pairs] of Object.entries(results)) {
  const over = median(pairs.map(([bare, other]) => other.cpu - bare.cpu));
  const label = { twice: 'bare, against itself', passed: 'with an empty wrapper' }[name] ?? `with ${name}`;
  console.log(`| ${label} | ${spread(pairs.map(([bare, other]) => other.rate / bare.rate))} | ${spread(pairs.map(([bare, other]) => other.cpu / bare.cpu))} | ${over >= 0 ? '+' : '−'}${Math.abs(over).toFixed(2)} |`);
}
const bare = Object.values(results).flat().map(([one]) => one);
console.log(`\nbare: ${Math.round(median(bare.map(({ rate }) => rate)))} requests/s, ${median(bare.map(({ cpu }) => cpu)).toFixed(2)} µs of CPU per request (medians)`);
