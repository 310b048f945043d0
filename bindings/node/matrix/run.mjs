// Every situation under every library and protocol:
//   node run.mjs                                          prints the tables (about twenty minutes)
//   node run.mjs --write                                  puts them into docs/scenarios.md
//   node run.mjs --only lameduck --races 1                one column, under a minute
//   node run.mjs --only stoppable,lameduck --protocol h2 --scenario upload
// Exit status 1 when lameduck loses, lies or is late.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { certificate } from '../test/support/certificate.mjs';
import { contenders } from './contenders.mjs';
import { scenarios } from './scenarios.mjs';

const DEADLINE = 3_000;
/** How late an exit may be seen here, beside the machine's other work. */
const TOLERANCE = 250;
/** When waiting for a server ends. */
const PATIENCE = 4_000;
const AT_ONCE = 5;

const { values: asked } = parseArgs({
  options: { only: { type: 'string' }, protocol: { type: 'string' }, scenario: { type: 'string' }, races: { type: 'string', default: '5' }, write: { type: 'boolean' } },
});
const chosen = (all, list, what) => {
  const names = list?.split(',') ?? all;
  const unknown = names.find((name) => !all.includes(name));
  if (unknown === undefined) return names;
  console.error(`matrix: there is no ${what} '${unknown}'; there are ${all.join(', ')}`);
  process.exit(2);
};
const columns = chosen(Object.keys(contenders), asked.only, 'contender');
const protocols = chosen(['http', 'https', 'h2c', 'h2'], asked.protocol, 'protocol');
const rows = scenarios.filter(({ name }) => new RegExp(asked.scenario ?? '').test(name));
certificate();

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url));
const here = fileURLToPath(new URL('.', import.meta.url));

/** A server of its own for one run; everything about it that a scenario may ask. */
async function startServer(contender, protocol) {
  const child = spawn(process.execPath, [SERVER, contender, protocol, String(DEADLINE)], {
    cwd: here, env: { ...process.env, NODE_ENV: 'production' }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines = [];
  const waiting = new Set();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  child.stdout.setEncoding('utf8').on('data', (text) => {
    lines.push(...text.split('\n'));
    for (const look of waiting) look();
  });
  const says = (what) => new Promise((resolve, reject) => {
    const look = () => {
      const line = lines.find((one) => one.startsWith(what));
      if (line !== undefined) resolve(line);
    };
    waiting.add(look);
    look();
    child.once('exit', () => reject(new Error(`the server ended before it said ${what}: ${stderr.slice(0, 300)}`)));
  });
  const server = { protocol, says };
  server.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal, at: performance.now() })));
  server.signal = () => {
    server.signalled = performance.now();
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), DEADLINE + PATIENCE).unref();
  };
  server.kill = () => child.kill('SIGKILL');
  server.port = Number((await says('port ')).split(' ')[1]);
  return server;
}

/** One run: what was lost, how the process ended and when. */
async function once({ run, unanswerable = false }, contender, protocol) {
  const server = await startServer(contender, protocol);
  try {
    const { lost, of } = await run(server);
    const { code, signal, at } = await server.exited;
    const after = at - server.signalled;
    const late = signal === 'SIGKILL' || after > DEADLINE + TOLERANCE;
    const lossy = unanswerable || lost > 0;
    // Who dies of the signal claims nothing.
    const lies = code !== null && (code === 0) === lossy;
    return { lost: unanswerable ? 0 : lost, of, code, signal, after, late, lies };
  } finally {
    server.kill();
  }
}

/** One cell: races are run several times and added up. */
async function cell(scenario, contender, protocol) {
  const results = [];
  for (let n = 0; n < (scenario.race ? Number(asked.races) : 1); n++) {
    try {
      results.push(await once(scenario, contender, protocol));
    } catch (error) {
      return { bad: true, text: `**${error.message.split('\n', 1)[0].slice(0, 60)}**` };
    }
  }
  const sum = (of) => results.reduce((total, result) => total + of(result), 0);
  const lost = sum((result) => result.lost);
  const faults = [];
  if (lost > 0) faults.push(`lost ${lost}${scenario.race ? '' : `/${sum(({ of }) => of)}`}`);
  const lie = results.find(({ lies }) => lies);
  if (lie) faults.push(`exit ${lie.code}`);
  const slowest = Math.max(...results.map(({ after }) => after));
  const never = results.some(({ signal }) => signal === 'SIGKILL');
  const time = never ? `not in ${(DEADLINE + PATIENCE) / 1_000} s` : `${(slowest / 1_000).toFixed(1)} s`;
  const late = results.some((result) => result.late);
  const bad = faults.length > 0 || late;
  return { bad, text: [...faults.map((fault) => `**${fault}**`), late ? `**${time}**` : time].join(', ') };
}

const cells = new Map();
const key = (...parts) => parts.join('\n');
const jobs = protocols.flatMap((protocol) => rows
  .filter((scenario) => scenario.protocols?.includes(protocol) ?? true)
  .flatMap((scenario) => columns.map((contender) => ({ scenario, contender, protocol }))));

/** Only waiting can be done at once: races have the machine to themselves. */
async function work(list, atOnce) {
  const queue = [...list];
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let job = queue.shift(); job; job = queue.shift()) {
      const { scenario, contender, protocol } = job;
      cells.set(key(protocol, scenario.name, contender), await cell(scenario, contender, protocol));
      process.stderr.write(`\r${cells.size} of ${jobs.length} `);
    }
  }));
}
await work(jobs.filter(({ scenario }) => !scenario.race), AT_ONCE);
await work(jobs.filter(({ scenario }) => scenario.race), 1);
process.stderr.write('\n');

const versionOf = (name) => {
  const { package: its } = contenders[name];
  if (its === undefined) return '';
  const path = its === 'lameduck' ? '../package.json' : `node_modules/${its}/package.json`;
  return ` ${JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version}`;
};
const text = protocols.map((protocol) => {
  const its = rows.filter(({ name }) => cells.has(key(protocol, name, columns[0])));
  const lines = its.map(({ name }) => `| ${name} | ${columns.map((column) => cells.get(key(protocol, name, column)).text).join(' | ')} |`);
  return [`## ${protocol}`, '', `| | ${columns.map((name) => name + versionOf(name)).join(' | ')} |`, `|---|${columns.map(() => '---|').join('')}`, ...lines].join('\n');
}).join('\n\n');
console.log(text);

if (asked.write) {
  writeFileSync(new URL('../../../docs/scenarios.md', import.meta.url), `# When a Node server stops: what its clients see

Printed by \`node bindings/node/matrix/run.mjs --write\` on Node ${process.versions.node}; do not edit. Each cell is a server of its own that
gets SIGTERM in the situation of its row and, where its library can be told, has ${DEADLINE / 1_000} s. It says when the process was gone. **Bold** is a fault: a
request, stream or socket that was lost; an exit code that hides a loss or claims one (**exit 0**, **exit 1**); an exit later than the ${DEADLINE / 1_000} s. Of
the keep-alive clients the losses of ${asked.races} runs are added up; a connection that is refused is not one of them, nor is an HTTP/2
stream that the server's GOAWAY says it never saw. How each library is used: [contenders.mjs](../bindings/node/matrix/contenders.mjs).

${text}
`);
}
const faulty = [...cells].filter(([which, { bad }]) => bad && which.endsWith('\nlameduck'));
for (const [which, { text: cause }] of faulty) console.error(`lameduck: ${which.split('\n').slice(0, 2).join(', ')}: ${cause}`);
process.exit(faulty.length > 0 ? 1 : 0);
