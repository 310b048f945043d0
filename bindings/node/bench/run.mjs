// Requests per second and CPU per request of each contender beside the bare server:
//   node bench/run.mjs [--quick] [--rounds 5] [--pairs 6] [--seconds 0.8] [--connections 50] [--protocol http|h2c] [contender …]
// Each round starts a bare server and the contender afresh and loads them in turn, A B B A A B …; each pair gives one ratio. Many
// short pairs, because the noise of a shared machine is slower than they are.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { contenders } from './contenders.mjs';
import { load } from './load.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    pairs: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '0.8' },
    connections: { type: 'string', default: '50' },
    protocol: { type: 'string', default: 'http' },
  },
});
const rounds = Number(values.rounds ?? (values.quick ? 2 : 6));
const seconds = Number(values.seconds);
const pairsPerRound = Number(values.pairs);
const connections = Number(values.connections);
const { protocol } = values;
if (!['http', 'h2c'].includes(protocol)) throw new Error(`no protocol ${protocol}; there are http and h2c`);
const names = positionals.length > 0 ? positionals : Object.keys(contenders).filter((name) => name !== 'bare');
for (const name of names) if (!(name in contenders)) throw new Error(`no contender ${name}; there are ${Object.keys(contenders).join(', ')}`);

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const pinned = cpus().length > 1 && spawnSync('taskset', ['-V']).status === 0;
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

async function start(name) {
  const [command, args] = pinned ? ['taskset', ['-c', '0', process.execPath, SERVER, name, protocol]] : [process.execPath, [SERVER, name, protocol]];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, NODE_ENV: 'production' } });
  children.add(child);
  const [message] = await Promise.race([once(child, 'message'), once(child, 'exit').then(() => [])]);
  if (!message) throw new Error(`its server did not start; \`node bench/server.mjs ${name}\` says why`);
  const cpu = async () => {
    child.send('cpu');
    return (await once(child, 'message'))[0].cpu;
  };
  return {
    async measure(ms) {
      const before = await cpu();
      const { answered, seconds: took } = await load(message.port, { connections, ms, protocol });
      return { rate: answered / took, cpu: ((await cpu()) - before) / answered };
    },
    stop() {
      children.delete(child);
      child.kill('SIGKILL');
    },
  };
}

/** One round of one contender. Who is started first alternates from round to round, and who goes first from pair to pair. */
async function round(name, bareFirst) {
  const servers = [];
  for (const which of bareFirst ? [0, 1] : [1, 0]) servers[which] = await start(['bare', name][which]);
  for (const server of servers) await server.measure(700);
  const pairs = [];
  for (let n = 0; n < pairsPerRound; n++) {
    const taken = [];
    for (const which of n % 2 === 0 ? [0, 1] : [1, 0]) taken[which] = await servers[which].measure(seconds * 1000);
    const [bare, other] = taken;
    pairs.push({ bare, other, rate: other.rate / bare.rate, cpu: other.cpu / bare.cpu });
  }
  for (const server of servers) server.stop();
  return pairs;
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) => `${median(list).toFixed(3)} (${Math.min(...list).toFixed(3)}–${Math.max(...list).toFixed(3)})`;

if (pinned) spawnSync('taskset', ['-cp', '1', String(process.pid)]);
/** Name → rounds → pairs. */
const results = new Map(names.map((name) => [name, []]));
const skipped = new Map();
for (let n = 0; n < rounds; n++) {
  for (const name of names) {
    if (skipped.has(name)) continue;
    process.stderr.write(`\rround ${n + 1}/${rounds}: ${name.padEnd(24)}`);
    try {
      results.get(name).push(await round(name, n % 2 === 0));
    } catch (error) {
      skipped.set(name, error.message);
      children.forEach((child) => child.kill('SIGKILL'));
      children.clear();
    }
  }
}
process.stderr.write('\r\x1b[K');

console.log(`\`node bench/run.mjs${process.argv.slice(2).map((arg) => ` ${arg}`).join('')}\` · Node ${process.version} · ${cpus().length} × ${cpus()[0].model.trim()} · ${connections} keep-alive connections · ${rounds} rounds of ${pairsPerRound} pairs of ${seconds} s${pinned ? ' · server and load pinned to one core each' : ''}`);
console.log('\n| | requests/s, as a ratio to bare: median (min–max) | CPU per request, as a ratio to bare: median (min–max) | the same, from the quietest slice of each round | CPU µs per request over bare: median |\n|---|---|---|---|---|');
for (const [name, taken] of results) {
  if (skipped.has(name)) continue;
  const pairs = taken.flat();
  // Whatever disturbs a server adds to its CPU time and never takes away: the least is the nearest to the truth.
  const quietest = taken.map((of) => Math.min(...of.map(({ other }) => other.cpu)) / Math.min(...of.map(({ bare }) => bare.cpu)));
  const over = median(pairs.map(({ bare, other }) => other.cpu - bare.cpu));
  console.log(`| ${name} | ${spread(pairs.map(({ rate }) => rate))} | ${spread(pairs.map(({ cpu }) => cpu))} | ${spread(quietest)} | ${over >= 0 ? '+' : '−'}${Math.abs(over).toFixed(2)} |`);
}
const bare = [...results.values()].flat(2).map((pair) => pair.bare);
if (bare.length > 0) console.log(`\nbare: ${Math.round(median(bare.map(({ rate }) => rate)))} requests/s, ${median(bare.map(({ cpu }) => cpu)).toFixed(2)} µs of CPU per request (medians)`);
for (const [name, reason] of skipped) console.log(`\n${name} was left out: ${reason}.`);
